"""Parquet files with the pictures in them, as Hugging Face's Hub has them.

A column holds the bytes of a picture file, or {'bytes', 'path'}; another the
captions. An example is a row: finding it reads the group of rows that it is in,
which is slower than a file or a shard (`build_tfds` makes files that are not).

  pieces(root, file, fields, image)   what is looked through for the index
  fetch(path, row)                    the bytes of a picture
"""

import dataclasses
import functools
import os
from collections.abc import Iterator

from imagen_jax.data import caption_fields, images, index, indexing, tables
from imagen_jax.files import plain

_BATCH = 16  # rows at a time: pictures have megabytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
  """A Parquet file of a folder."""

  path: str  # below it


def is_one(name: str) -> bool:
  """Whether a file's name is one of Parquet."""
  return name.lower().endswith('.parquet')


def pieces(
  root, file: File, fields: caption_fields.Fields, image: str | None
) -> Iterator[indexing.Piece]:
  """What is looked through for the index: the file."""
  yield indexing.Piece(
    state=functools.partial(_state, root, file.path, image),
    scan=functools.partial(_scan, root, file.path, fields, image),
  )


def fetch(path, row, image: str | None = None) -> bytes:
  """The bytes of an example; raises BadPicture where the file is another."""
  try:
    about = os.stat(path)
    stamp = about.st_size, about.st_mtime_ns
    data = _picture(str(path), stamp, image, int(row['offset']))
  except (FileNotFoundError, plain.NotPlain):
    raise
  except Exception as e:  # Arrow raises errors of its own, and OSError
    raise images.BadPicture('changed since the index was made') from e
  if data is None or len(data) != int(row['size']):
    raise images.BadPicture('changed since the index was made')
  return data


def _picture(path, stamp, image, number):
  """The bytes in a row of a file, None where there are none."""
  first = 0
  for group, count in enumerate(_counts(path, stamp)):
    if number < first + count:
      return _bytes(_group(path, stamp, image, group)[number - first].as_py())
    first += count
  return None


@functools.lru_cache(1024)
def _counts(path, stamp):
  """Rows of each group; `stamp` is what makes a file another."""
  del stamp
  with plain.opened(path) as raw, _opened(raw, path) as file:
    groups = range(file.num_row_groups)
    return [file.metadata.row_group(group).num_rows for group in groups]


@functools.lru_cache(4)  # in order there is one at a time
def _group(path, stamp, image, group):
  """The pictures of a group of rows, as Arrow holds them."""
  del stamp
  with plain.opened(path) as raw, _opened(raw, path) as file:
    column = _column(file, image)
    return file.read_row_group(group, columns=[column]).column(0)


def _opened(raw, path):
  return tables.pyarrow_of(path).ParquetFile(raw)


def _state(root, path, image):
  about = os.stat(root / path)
  return [path, about.st_size, about.st_mtime_ns, image, _is_readable()]


def _is_readable():
  try:
    import pyarrow.parquet  # noqa: F401 (is it there?)
  except ImportError:
    return False
  return True


def _scan(root, path, fields, image):
  if not _is_readable():
    yield index.Passed(id=path, reason='Parquet, which needs pyarrow')
    return
  try:
    with plain.opened(root / path) as raw, _opened(raw, path) as file:
      yield from _examples(file, root / path, path, fields, image)
  except Exception as e:  # Arrow raises errors of its own, and OSError
    if type(e) is ValueError:  # ours, of what is missing
      raise
    raise tables.damaged(root / path, e) from e


def _examples(file, where, path, fields, image):
  column = _column(file, image)
  if column is None:
    yield index.Passed(id=path, reason='Parquet without pictures')
    return
  try:
    key = caption_fields.choose_key(file.schema_arrow.names, fields.caption)
  except KeyError as e:
    raise ValueError(f'{where}: {e.args[0]}; set caption') from e
  number = 0
  for batch in file.iter_batches(_BATCH, columns=[column, key]):
    for row in batch.to_pylist():
      yield _example(f'{path}/{number}', path, number, row[column], row[key])
      number += 1


def _example(name, path, number, picture, captions):
  data = _bytes(picture)
  try:
    captions = caption_fields.of_value(captions)
    if not captions or data is None:
      reason = 'no picture' if captions else 'no caption'
      return index.Reject(id=name, reason=reason)
    width, height = images.header(data)
  except (caption_fields.BadCaption, images.BadPicture) as e:
    return index.Reject(id=name, reason=str(e))
  return index.Entry(
    id=name,
    path=path,
    captions=captions,
    width=width,
    height=height,
    size=len(data),
    offset=number,
  )


def _column(file, image):
  """The column of the pictures: `image`, or the first that holds bytes."""
  schema = file.schema_arrow
  some = [
    name
    for name, kind in zip(schema.names, schema.types)
    if tables.holds_bytes(kind)
  ]
  if image in some:
    return image
  return some[0] if some else None


def _bytes(value):
  """Of a picture's value in a row, None where there are none."""
  if isinstance(value, dict):
    value = value.get('bytes')
  return value if isinstance(value, bytes) else None
