"""A folder of pictures as a set of examples.

Captions lie beside each picture: name.jpg with name.txt, .caption or .json. Or
a table, `metadata.jsonl`, `.csv`, `.tsv` or `.parquet`, whose rows name a
picture each by `file_name` (the imagefolder layout of Hugging Face), says those
of its folder and of all below; rows that name one picture are its captions.
Parquet files of other names hold the pictures themselves (`parquet_pictures`).

  pieces(directory, ...)       what is looked through for the index
  fetch(directory, text, row)  the bytes of a picture

Whatever lies there is an example, or rejected, or passed over under a reason.
"""

import functools
import hashlib
import os
import pathlib
import unicodedata
from collections.abc import Iterator

from imagen_jax.data import (
  caption_fields,
  folder_metadata,
  images,
  index,
  indexing,
  parquet_pictures,
)
from imagen_jax.files import plain, retrying

_PIECE = 512  # pictures looked at one after another, on average
_LARGEST = 4 * _PIECE
_OTHER = 'another kind of file'
Found = folder_metadata.Found


def pieces(
  directory,
  fields: caption_fields.Fields = caption_fields.USUAL,
  image: str | None = None,
  own=(),
) -> Iterator[indexing.Piece]:
  """What is looked through for the index: some hundred pictures each.

  They are ordered by path, or as the metadata has them. Where a piece ends
  follows from names alone, so that a new picture changes one piece.

  Args:
    directory: of the set.
    fields: where the captions are.
    image: column of the pictures' names in metadata; None = a usual one.
    own: directories in it that are ours.
  """
  root = pathlib.Path(directory)
  some = []
  for one in _walk(root, fields, image, set(map(os.path.realpath, own))):
    if isinstance(one, parquet_pictures.File):
      yield from parquet_pictures.pieces(root, one, fields, image)
      continue
    some.append(one)
    if _ends(one, len(some)):
      yield _piece(root, some, fields)
      some = []
  if some:
    yield _piece(root, some, fields)


def _piece(root, some, fields):
  return indexing.Piece(
    state=functools.partial(_state, root, some),
    scan=functools.partial(_scan, root, some, fields),
  )


def _ends(one, count):
  """Whether a piece ends behind this."""
  if count >= _LARGEST:
    return True
  if not isinstance(one, Found):
    return False
  name = one.path.encode('utf-8', 'surrogatepass')
  digest = hashlib.blake2b(name, digest_size=4).digest()
  return int.from_bytes(digest, 'little') % _PIECE == 0


def _state(root, some):
  """What an index of these pictures depends on, besides its settings."""
  return [
    [one.path, one.captions, one.beside, *_stamps(root, one)]
    if isinstance(one, Found)
    else [one.id, one.reason]
    for one in some
    if getattr(one, 'reason', None) != _OTHER
  ]


def _stamps(root, one):
  """Sizes and times of change of the files, None where there is none.

  Not of what changes when a set is packed and unpacked with its index.
  """
  for path in (one.path, one.beside):
    try:
      about = path and os.stat(root / path)
      yield about and [about.st_size, about.st_mtime_ns]
    except (OSError, ValueError):
      yield None


def _scan(root, some, fields):
  """`index.Entry`, `index.Reject` and `index.Passed` of what lies there."""
  for one in some:
    yield _look(root, one, fields) if isinstance(one, Found) else one


def fetch(root, text: index.Text, row, image: str | None = None) -> bytes:
  """The bytes of an example; raises BadPicture where the file is another.

  `image` is the column of Parquet files, as of `pieces`.
  """
  path = pathlib.Path(root) / text.path
  try:
    if parquet_pictures.is_one(text.path):
      return parquet_pictures.fetch(path, row, image)
    data = retrying.patiently(lambda: images.read(path), path)
  except FileNotFoundError as e:
    raise images.BadPicture('gone since the index was made') from e
  except plain.NotPlain as e:
    raise images.BadPicture('no plain file') from e
  except OSError as e:
    raise ValueError(f'{path} cannot be read: {e.strerror}') from e
  if len(data) != int(row['size']):
    raise images.BadPicture('changed since the index was made')
  return data


def _look(root, one, fields):
  """An Entry, or a Reject."""
  path, captions = one.path, one.captions
  try:
    if one.beside is not None:
      captions = _read_captions(root / one.beside, fields)
    if not captions:
      return index.Reject(id=path, reason='no caption')
    size, (width, height) = _measure(root / path)
  except (caption_fields.BadCaption, images.BadPicture) as e:
    return index.Reject(id=path, reason=str(e))
  except OSError as e:
    return index.Reject(id=path, reason=_reason(e))
  return index.Entry(
    id=path, path=path, captions=captions, width=width, height=height, size=size
  )


def _measure(path):
  """(bytes, (width, height)) of a picture file."""
  with plain.opened(path) as file:
    size = os.fstat(file.fileno()).st_size
    if size > images.MAX_BYTES:
      raise images.BadPicture('too large a file')
    return size, images.header(file if size else b'')


def _reason(error):
  if isinstance(error, FileNotFoundError):
    return 'no picture'
  if isinstance(error, plain.NotPlain | IsADirectoryError):
    return 'no plain file'
  return 'unreadable'


def _read_captions(path, fields):
  try:
    data = plain.read(path, caption_fields.MOST)
  except plain.TooLarge as e:
    raise caption_fields.BadCaption('caption is too long') from e
  except plain.NotPlain as e:
    raise caption_fields.BadCaption('caption is no plain file') from e
  except OSError as e:
    raise caption_fields.BadCaption('caption file is unreadable') from e
  return fields.read(_split(path.name)[1], data)


def _walk(root, fields, image, own):
  """All that lies below, folder by folder, links followed once."""
  seen, shut, table = set(), [], folder_metadata.Table(root, fields, image)
  for folder, folders, names in os.walk(
    root, followlinks=True, onerror=shut.append
  ):
    below = pathlib.Path(folder).relative_to(root)
    hidden = [name for name in folders if name[0] == '.']
    folders[:] = sorted(
      name
      for name in folders
      if name[0] != '.'
      and os.path.realpath(os.path.join(folder, name)) not in own
    )
    yield from _unreadable(root, shut)
    about = os.stat(folder)
    if (about.st_dev, about.st_ino) in seen:
      folders.clear()  # a circle of links has no end
      yield index.Reject(id=below.as_posix(), reason='folder occurs twice')
      continue
    seen.add((about.st_dev, about.st_ino))
    for name in sorted(hidden):
      if not name.startswith(index.FOLDER):
        yield index.Passed(id=(below / name).as_posix(), reason='hidden folder')
    yield from table.of(below, names)
    yield from _files(below, sorted(names), fields, table)
  yield from _unreadable(root, shut)


def _unreadable(root, errors):
  while errors:
    name = os.path.relpath(errors.pop().filename or root, root)
    yield index.Reject(id=name, reason='folder cannot be read')


def _files(below, names, fields, table):
  """What the files of one folder are."""
  governed = table.governs(below)
  captions = _Captions(names, fields.kinds)
  stems = set()
  for name in names:
    stem, kind = _split(name)
    path = (below / name).as_posix()
    if name[0] == '.':
      yield index.Passed(id=path, reason='hidden')
    elif parquet_pictures.is_one(name) and not folder_metadata.is_one(name):
      yield parquet_pictures.File(path=path)
    elif kind not in images.EXTENSIONS:
      continue
    elif governed:
      if not table.names(path):
        yield index.Passed(id=path, reason='not named in its metadata')
    else:
      stems.add(_plain(stem))
      beside = captions.of(stem)
      yield Found(path=path, beside=beside and (below / beside).as_posix())
  for name in names:
    if name[0] != '.':
      path = (below / name).as_posix()
      if not table.names(path):  # as a picture, whatever its ending
        yield from _left(path, *_split(name), stems, governed)


def _left(path, stem, kind, stems, governed):
  """What a file is that is no picture."""
  if kind in images.EXTENSIONS or parquet_pictures.is_one(path):
    return
  if folder_metadata.is_one(os.path.basename(path)):
    return
  if kind not in caption_fields.KINDS or not stem:
    yield index.Passed(id=path, reason=_OTHER)
  elif governed:
    yield index.Passed(id=path, reason='the metadata goes before it')
  elif _plain(stem) not in stems:
    if kind == 'json':  # as of a download that failed
      yield index.Passed(id=path, reason='no picture beside the .json')
    else:
      yield index.Reject(id=path, reason='no picture')


class _Captions:
  """The caption files of a folder, by what their pictures are called."""

  def __init__(self, names, kinds):
    self._kinds, self._exact, self._alike = kinds, {}, {}
    for name in names:
      stem, kind = _split(name)
      if kind in kinds and name[0] != '.':
        self._exact.setdefault((stem, kind), name)
        self._alike.setdefault((_plain(stem), kind), name)

  def of(self, stem) -> str | None:
    """The file of the first kind, its letters written alike or else alike."""
    for kind in self._kinds:
      found = self._exact.get((stem, kind))
      found = found or self._alike.get((_plain(stem), kind))
      if found:
        return found
    return None


def _split(name):
  """'a.b.JPG' -> ('a.b', 'jpg')."""
  stem, _, kind = name.rpartition('.')
  return stem, kind.lower()


def _plain(name):
  """A name as it is whether its accents are letters of their own or not."""
  return unicodedata.normalize('NFC', name)
