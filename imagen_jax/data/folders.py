"""A folder of pictures as a set of examples.

Captions lie in one file, `metadata.jsonl`, `.csv` or `.parquet`, whose rows
name a picture by `file_name` (the imagefolder layout of Hugging Face); or, if
there is none, beside each picture: name.jpg with name.txt or name.json.

  scan(directory, caption)   yields `index.Entry` and `index.Reject`
  fetch(directory, text, row)   the bytes of a picture
"""

import concurrent.futures
import csv
import json
import os
import pathlib
from collections.abc import Iterator

from imagen_jax.data import caption_fields, images, index

METADATA = ('metadata.jsonl', 'metadata.csv', 'metadata.parquet')
_AHEAD = 256  # files looked at together
_THREADS = 8  # waiting for the disk, mostly


def scan(directory, caption=None) -> Iterator[index.Entry | index.Reject]:
  """All that the folder holds, ordered by path (or as the metadata has it)."""
  root = pathlib.Path(directory)
  metadata = [name for name in METADATA if (root / name).is_file()]
  if len(metadata) > 1:
    raise ValueError(
      f'{directory} has {" and ".join(metadata)}; keep one of them'
    )
  if metadata:
    pairs = _from_metadata(root, metadata[0], caption)
  else:
    pairs = _beside(root, caption)
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    pending = []
    for pair in pairs:
      pending.append(pool.submit(_look, root, pair))
      if len(pending) >= _AHEAD:
        yield pending.pop(0).result()
    for future in pending:
      yield future.result()


def fetch(root, text: index.Text, row) -> bytes:
  """The bytes of an example; raises BadPicture where the file is another."""
  try:
    data = (pathlib.Path(root) / text.path).read_bytes()
  except FileNotFoundError as e:
    raise images.BadPicture('gone since the index was made') from e
  except OSError as e:
    raise ValueError(f'{root}/{text.path} cannot be read: {e.strerror}') from e
  if len(data) != int(row['size']):
    raise images.BadPicture('changed since the index was made')
  return data


def _look(root, pair):
  """An Entry of (path, captions), or a Reject."""
  if isinstance(pair, index.Reject):
    return pair
  path, captions = pair
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


def _beside(root, caption):
  """(path, captions) of every picture, by the files of the same name."""
  for folder, folders, names in os.walk(root, followlinks=True):
    folders[:] = sorted(name for name in folders if name[0] != '.')
    there = set(names)
    pictures = set()
    for name in sorted(names):
      stem, _, extension = name.rpartition('.')
      if name[0] == '.' or extension.lower() not in images.EXTENSIONS:
        continue
      pictures.add(stem)
      path = pathlib.Path(folder, name).relative_to(root).as_posix()
      yield _described(root, path, stem, there, caption)
    for name in sorted(there):
      stem, _, extension = name.rpartition('.')
      if extension == 'txt' and stem and stem not in pictures:
        path = pathlib.Path(folder, name).relative_to(root).as_posix()
        yield index.Reject(id=path, reason='no picture')


def _described(root, path, stem, there, caption):
  beside = (root / path).parent
  try:
    if f'{stem}.txt' in there:
      text = (beside / f'{stem}.txt').read_bytes()
      return path, caption_fields.of_text(text)
    if f'{stem}.json' in there:
      text = (beside / f'{stem}.json').read_bytes()
      return path, caption_fields.of_json(text, caption)
  except caption_fields.BadCaption as e:
    return index.Reject(id=path, reason=str(e))
  return path, ()


def _from_metadata(root, name, caption):
  """(path, captions) of every row; rows may name a picture several times."""
  chosen, seen = caption, set()
  for number, row in _rows(root / name):
    place = f'{name}:{number}'
    if not isinstance(row, dict):
      yield index.Reject(id=place, reason='not a row of JSON')
      continue
    if chosen is None or chosen not in row:
      try:
        chosen = caption_fields.choose_key(row, caption)
      except KeyError as e:
        raise ValueError(f'{root / name}: {e.args[0]}; set caption') from e
    path = row.get('file_name')
    if not isinstance(path, str) or not path:
      raise ValueError(
        f'{root / name}: row {number} has no file_name; its columns are '
        f'{sorted(row)}'
      )
    path = os.path.normpath(path)
    if path.startswith(('..', '/')):
      yield index.Reject(id=place, reason='path leaves the folder')
    elif path in seen:
      yield index.Reject(id=place, reason='picture named twice')
    else:
      seen.add(path)
      yield path, caption_fields.of_value(row[chosen])


def _rows(path):
  """(number from 1, row as a dict) of a metadata file."""
  if path.suffix == '.parquet':
    yield from enumerate(_parquet_rows(path), start=1)
  elif path.suffix == '.csv':
    with open(path, encoding='utf-8-sig', newline='') as file:
      yield from enumerate(csv.DictReader(file), start=1)
  else:
    with open(path, 'rb') as lines:
      for number, line in enumerate(lines, start=1):
        try:
          yield number, json.loads(line)
        except ValueError:
          if line.strip():
            yield number, None


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
