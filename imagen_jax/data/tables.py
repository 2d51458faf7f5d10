"""Tables that name pictures and their captions: JSON lines, CSV, Parquet.

  rows(path, names)   (number from 1, the row as a dict, or why it is none)

CSV may be separated by commas, semicolons, tabs or bars: what makes the first
line hold the columns. A row that is too long, or is no row, is told by its
number and costs no more memory than the bound.
"""

import csv
import io
import itertools
from collections.abc import Iterator, Sequence

from imagen_jax.data import caption_fields
from imagen_jax.files import json_files, plain

KINDS = ('jsonl', 'csv', 'tsv', 'parquet')
MOST = 4 << 20  # bytes of a row; with lists of captions some have thousands
_SEPARATORS = (',', ';', '\t', '|')
_BATCH = 1024  # rows of Parquet at a time


def kind_of(name: str) -> str | None:
  """The kind that a file's name says, whatever its case; None = no table."""
  kind = name.rpartition('.')[2].lower()
  return kind if kind in KINDS else None


def rows(path, names: Sequence[str]) -> Iterator[tuple[int, dict | str]]:
  """The rows of a table, in order.

  Args:
    path: of the file; its name says the kind.
    names: columns of which one should be there, to tell the separator by.

  Raises ValueError, on one line, where the file is no such table.
  """
  read = {'parquet': _parquet, 'jsonl': _json}.get(kind_of(str(path)), _csv)
  try:
    yield from enumerate(read(path, names), start=1)
  except OSError as e:
    raise ValueError(f'{path} cannot be read: {e.strerror or e}') from e


def _json(path, names):
  with plain.opened(path) as file:
    for line in plain.lines(file, MOST):
      if line is None:
        yield 'row is too long'
      elif line.strip():
        yield _json_row(line)


def _json_row(line):
  try:
    row = json_files.parse(line, 'the row')
  except ValueError:
    row = None
  return row if isinstance(row, dict) else 'not a row of JSON'


def _csv(path, names):
  try:
    with plain.opened(path) as file:
      text = io.TextIOWrapper(file, encoding='utf-8-sig', newline='')
      lines = _bounded(text, path)
      first = next(lines, '')
      separator = _separator(first, names)
      columns = [name.strip() for name in _cells(first, separator)]
      yield from csv.DictReader(lines, columns, delimiter=separator)
  except UnicodeDecodeError as e:
    raise ValueError(
      f'{path} is not UTF-8 ({e.reason}); convert it, for example by iconv -f '
      'latin1 -t utf-8'
    ) from e
  except csv.Error as e:
    raise ValueError(
      f'{path} is damaged ({e}); look for a quote that is not closed'
    ) from e


def _bounded(text, path):
  while line := text.readline(MOST):
    if len(line) == MOST and line[-1] not in '\r\n':
      raise ValueError(f'{path} is damaged (a line has more than {MOST:,})')
    yield line


def _separator(first, names):
  """Which makes a column of `names`; else that which makes most of them."""

  def fits(separator):
    cells = [cell.strip() for cell in _cells(first, separator)]
    return any(name in cells for name in names), len(cells)

  return max(_SEPARATORS, key=fits)


def _cells(line, separator):
  return next(csv.reader([line], delimiter=separator), [])


def _parquet(path, names):
  parquet = pyarrow_of(path)
  try:
    with plain.opened(path) as raw, parquet.ParquetFile(raw) as file:
      columns = [
        name
        for name, kind in zip(file.schema_arrow.names, file.schema_arrow.types)
        if not holds_bytes(kind)
      ]
      for batch in file.iter_batches(_BATCH, columns=columns):
        yield from batch.to_pylist()
  except Exception as e:  # Arrow raises errors of its own, and OSError
    raise damaged(path, e) from e


def holds_bytes(kind) -> bool:
  """Whether a type of Arrow's has the pictures themselves in it."""
  import pyarrow

  types = pyarrow.types
  if types.is_struct(kind):
    return any(holds_bytes(field.type) for field in kind)
  return types.is_binary(kind) or types.is_large_binary(kind)


def pyarrow_of(path):
  """pyarrow.parquet; ValueError where it is not there."""
  try:
    import pyarrow.parquet  # large, and for this layout alone
  except ImportError as e:
    raise ValueError(
      f"{path} needs pyarrow: pip install 'imagen-jax[data]'"
    ) from e
  return pyarrow.parquet


def damaged(path, error) -> ValueError:
  """What is said of a Parquet file that cannot be read."""
  if isinstance(error, OSError) and error.strerror:
    return ValueError(f'{path} cannot be read: {error.strerror}')
  first = (str(error).strip().splitlines() or [type(error).__name__])[0]
  return ValueError(f'{path} is damaged: {first[:200]}')


def chosen(row, image: str | None) -> str | None:
  """The column that names the picture: `image`, or a usual one."""
  wanted = IMAGES if image is None else (image,)
  return next((name for name in wanted if name in row), None)


IMAGES = ('file_name', 'image', 'filename', 'image_name', 'file', 'image_path',
          'path')  # fmt: skip


def check(path, row, image: str | None, caption: str | None) -> None:
  """Raises ValueError telling the columns, where one of the two is not there.

  What the first row of a table lacks is no slip of one row.
  """
  try:
    caption_fields.choose_key(row, caption)
  except KeyError as e:
    raise ValueError(f'{path}: {e.args[0]}; set caption') from e
  if chosen(row, image) is None:
    there = caption_fields.names(itertools.islice(row, 100))
    raise ValueError(f'{path}: no column {image or IMAGES[0]}; {there}')
