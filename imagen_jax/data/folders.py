"""A folder of pictures as a set of examples.

Captions lie in one file, `metadata.jsonl`, `.csv` or `.parquet`, whose rows
name a picture by `file_name` (the imagefolder layout of Hugging Face); or, if
there is none, beside each picture: name.jpg with name.txt or name.json.

  pieces(directory, caption)    what is looked through for the index
  fetch(directory, text, row)   the bytes of a picture
"""

import csv
import dataclasses
import functools
import itertools
import json
import os
import pathlib
from collections.abc import Iterator

from imagen_jax.data import caption_fields, images, index, indexing
from imagen_jax.files import retrying

METADATA = ('metadata.jsonl', 'metadata.csv', 'metadata.parquet')
_PIECE = 512  # pictures looked at one after another


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Found:
  """A picture, and where its captions are."""

  path: str  # below the folder
  captions: tuple[str, ...] = ()  # of the metadata
  beside: str | None = None  # or in this file


def pieces(directory, caption=None) -> Iterator[indexing.Piece]:
  """What is looked through for the index: some hundred pictures each.

  They are ordered by path, or as the metadata has them.
  """
  root = pathlib.Path(directory)
  metadata = [name for name in METADATA if (root / name).is_file()]
  if len(metadata) > 1:
    raise ValueError(
      f'{directory} has {" and ".join(metadata)}; keep one of them'
    )
  if metadata:
    found = _from_metadata(root, metadata[0], caption)
  else:
    kinds = ('txt', 'json')
    # A key that was asked for is not passed over for the .txt.
    found = _beside(root, kinds if caption is None else kinds[::-1])
  while some := list(itertools.islice(found, _PIECE)):
    yield indexing.Piece(
      state=functools.partial(_state, root, some),
      scan=functools.partial(_scan, root, some, caption),
    )


def _state(root, some):
  """What an index of these pictures depends on, besides its settings."""
  return [
    [one.id, one.reason]
    if isinstance(one, index.Reject)
    else [one.path, one.captions, one.beside, *_stamps(root, one)]
    for one in some
  ]


def _stamps(root, one):
  """Sizes and times of change of the files, None where there is none."""
  for path in (one.path, one.beside):
    try:
      about = path and os.stat(root / path)
      yield about and [about.st_size, about.st_mtime_ns]
    except OSError:
      yield None


def _scan(root, some, caption):
  """`index.Entry` and `index.Reject` of pictures."""
  for one in some:
    yield (one if isinstance(one, index.Reject) else _look(root, one, caption))


def fetch(root, text: index.Text, row) -> bytes:
  """The bytes of an example; raises BadPicture where the file is another."""
  try:
    path = pathlib.Path(root) / text.path
    data = retrying.patiently(path.read_bytes, path)
  except FileNotFoundError as e:
    raise images.BadPicture('gone since the index was made') from e
  except OSError as e:
    raise ValueError(f'{root}/{text.path} cannot be read: {e.strerror}') from e
  if len(data) != int(row['size']):
    raise images.BadPicture('changed since the index was made')
  return data


def _look(root, one, caption):
  """An Entry, or a Reject."""
  path, captions = one.path, one.captions
  try:
    if one.beside is not None:
      captions = _read_captions(root / one.beside, caption)
  except caption_fields.BadCaption as e:
    return index.Reject(id=path, reason=str(e))
  if not captions:
    return index.Reject(id=path, reason='no caption')
  try:
    with open(root / path, 'rb') as file:
      head = file.read(images.HEAD)
      size = os.fstat(file.fileno()).st_size
      try:
        width, height = images.header(head)
      except images.BadPicture:
        if size <= len(head):
          raise
        width, height = images.header(head + file.read())
  except images.BadPicture as e:
    return index.Reject(id=path, reason=str(e))
  except OSError as e:
    reason = 'no picture' if isinstance(e, FileNotFoundError) else 'unreadable'
    return index.Reject(id=path, reason=reason)
  return index.Entry(
    id=path, path=path, captions=captions, width=width, height=height, size=size
  )


def _read_captions(path, caption):
  try:
    data = path.read_bytes()
  except OSError as e:
    raise caption_fields.BadCaption('caption file is unreadable') from e
  if path.suffix == '.txt':
    return caption_fields.of_text(data)
  return caption_fields.of_json(data, caption)


def _beside(root, kinds):
  """Every picture, with the caption file of its name, the first of `kinds`."""
  seen = set()
  for folder, folders, names in os.walk(root, followlinks=True):
    folders[:] = sorted(name for name in folders if name[0] != '.')
    below = pathlib.Path(folder).relative_to(root)
    about = os.stat(folder)
    if (about.st_dev, about.st_ino) in seen:
      folders.clear()  # a circle of links has no end
      yield index.Reject(id=below.as_posix(), reason='folder occurs twice')
      continue
    seen.add((about.st_dev, about.st_ino))
    there = set(names)
    pictures = set()
    for name in sorted(names):
      stem, _, extension = name.rpartition('.')
      if name[0] == '.' or extension.lower() not in images.EXTENSIONS:
        continue
      pictures.add(stem)
      captions = (f'{stem}.{kind}' for kind in kinds)
      beside = next((name for name in captions if name in there), None)
      yield _Found(
        path=(below / name).as_posix(),
        beside=beside and (below / beside).as_posix(),
      )
    for name in sorted(there):
      stem, _, extension = name.rpartition('.')
      if extension == 'txt' and stem and stem not in pictures:
        path = (below / name).as_posix()
        yield index.Reject(id=path, reason='no picture')


def _from_metadata(root, name, caption):
  """The picture of every row; rows may name a picture several times."""
  seen, checked = set(), False
  for number, row in _rows(root / name):
    place = f'{name}:{number}'
    if not isinstance(row, dict):
      yield index.Reject(id=place, reason='not a row of JSON')
      continue
    if not checked:  # what the first row lacks is no slip of one row
      _check_columns(root / name, row, caption)
      checked = True
    path = row.get('file_name')
    if not isinstance(path, str) or not path:
      yield index.Reject(id=place, reason='no file_name')
      continue
    path = os.path.normpath(path)
    if path.startswith(('..', '/')):
      yield index.Reject(id=place, reason='path leaves the folder')
    elif path in seen:
      yield index.Reject(id=place, reason='picture named twice')
    else:
      seen.add(path)
      try:
        key = caption_fields.choose_key(row, caption)
        captions = caption_fields.of_value(row[key])
      except KeyError:
        yield index.Reject(id=path, reason='no caption')
      except caption_fields.BadCaption as e:
        yield index.Reject(id=path, reason=str(e))
      else:
        yield _Found(path=path, captions=captions)


def _check_columns(path, row, caption):
  """Raises ValueError telling the columns that there are."""
  try:
    caption_fields.choose_key(row, caption)
  except KeyError as e:
    raise ValueError(f'{path}: {e.args[0]}; set caption') from e
  if 'file_name' not in row:
    there = ', '.join(sorted(map(str, row))[:12])
    raise ValueError(f'{path}: no column file_name; there are: {there}')


def _rows(path):
  """(number from 1, row as a dict) of a metadata file."""
  if path.suffix == '.parquet':
    yield from enumerate(_parquet_rows(path), start=1)
  elif path.suffix == '.csv':
    yield from enumerate(_csv_rows(path), start=1)
  else:
    with open(path, 'rb') as lines:
      for number, line in enumerate(lines, start=1):
        try:
          yield number, json.loads(line)
        except ValueError:
          if line.strip():
            yield number, None


def _csv_rows(path):
  try:
    with open(path, encoding='utf-8-sig', newline='') as file:
      yield from csv.DictReader(file)
  except UnicodeDecodeError as e:
    raise ValueError(
      f'{path} is not UTF-8 ({e.reason}); convert it, for example by iconv -f '
      'latin1 -t utf-8'
    ) from e
  except csv.Error as e:
    raise ValueError(
      f'{path} is damaged ({e}); look for a quote that is not closed'
    ) from e


def _parquet_rows(path):
  try:
    import pyarrow.parquet  # large, and for this layout alone
  except ImportError as e:
    raise ValueError(
      f"{path} needs pyarrow: pip install 'imagen-jax[data]'"
    ) from e
  try:
    with pyarrow.parquet.ParquetFile(path) as file:
      for batch in file.iter_batches(1024):
        yield from batch.to_pylist()
  except pyarrow.ArrowException as e:
    raise ValueError(f'{path} is damaged: {str(e).splitlines()[0]}') from e
