"""Tar shards as img2dataset writes them: 000000042.jpg, .txt, .json.

Files of one name, up to its last dot, are one example, as in a folder; the
caption is the .txt, .caption or a key of the .json; a key that is named goes
before the texts. A shard is read through once, for the index; then any picture
in it is one read at a known offset. Nothing is ever unpacked but what is
compressed as a whole (`gzipped`).

  pieces(root, files, fields)   what is looked through for the index
  fetch(root, files, row)       the bytes of a picture
"""

import functools
import os
import posixpath
import tarfile
import unicodedata
from collections.abc import Iterator

from imagen_jax.data import caption_fields, gzipped, images, index, indexing
from imagen_jax.files import remote

_PADDING = 64 << 10  # zeros that may follow an archive's end
_HEADERS = 1 << 20  # bytes that a member's headers may have
_CAPTIONS = 1 << 30  # bytes of captions in a shard that are held together
_DAMAGED = 'shard ends early or is damaged'


def pieces(
  root: str,
  files: list,
  fields: caption_fields.Fields = caption_fields.USUAL,
  unpacked: str | os.PathLike = '',
) -> Iterator[indexing.Piece]:
  """What is looked through for the index: a shard each, in order.

  `unpacked` is the directory for shards that are compressed.
  """
  for number, (name, *about) in enumerate(files):
    yield indexing.Piece(
      state=functools.partial(list, (name, *about)),
      scan=functools.partial(_scan_shard, root, name, fields, unpacked),
      file=number,
    )


def fetch(root: str, files: list, row, unpacked='') -> bytes:
  """The bytes of an example's picture."""
  name, _, *stamp = files[int(row['file'])]
  path = _path(root, name, unpacked)
  return remote.read(path, int(row['offset']), int(row['size']), *stamp)


def _path(root, name, unpacked):
  path = remote.join(root, name)
  if not gzipped.is_one(name):
    return path
  return gzipped.opened_as(path, unpacked, name)


def _scan_shard(root, name, fields, unpacked):
  """The entries and rejects of one shard."""
  path = _path(root, name, unpacked)
  size = remote.size(path)
  with remote.open_file(path) as file:
    try:
      tar = tarfile.open(fileobj=_Bounded(file), mode='r:')
    except Exception as e:  # of its first header, whatever it is
      raise ValueError(
        f'{path} is no tar file that can be read at random ({e}); unpack it '
        'if it is compressed, or download it again'
      ) from e
    shard = _Shard(name, file, size, fields)
    for member in _members(tar, shard):
      shard.take(member)
    if size - tar.offset > _PADDING and not shard.damaged:
      shard.reject('', 'shard goes on after its end')
  return [*shard.found, *shard.examples()]


class _Bounded:
  """The file as tarfile sees it: of headers alone, which are small."""

  def __init__(self, file):
    self._file = file
    self.seek, self.tell = file.seek, file.tell

  def read(self, count):
    if not 0 <= count <= _HEADERS:
      raise tarfile.ReadError(f'a header of {count:,} bytes')
    return self._file.read(count)


def _members(tar, shard):
  """The members; a shard that is cut or damaged ends early, and says so."""
  at = -1
  try:
    while (member := tar.next()) is not None:
      if member.size < 0 or tar.offset <= at:
        raise tarfile.ReadError('a member of negative size')
      at = tar.offset
      yield member
      tar.members.clear()  # a list of all that were met
  except Exception:  # tarfile raises whatever a damaged header makes it
    shard.damaged = True
    shard.reject('', _DAMAGED)


class _Shard:
  """What one shard holds, member by member."""

  def __init__(self, name, file, size, fields):
    self.found, self.damaged = [], False
    self._name, self._file, self._size, self._fields = name, file, size, fields
    self._groups, self._held = {}, 0

  def reject(self, name, reason):
    id = f'{self._name}/{name}'.rstrip('/')
    self.found.append(index.Reject(id=id, reason=reason))

  def take(self, member):
    """Files a member under its key; of a picture its beginning is read."""
    name = member.name
    if reason := _unfit(member, self._size):
      self.damaged |= reason == _DAMAGED
      self.reject(member.name, reason)
    elif member.isreg() and (reason := _passed(name)):
      id = f'{self._name}/{name}'
      self.found.append(index.Passed(id=id, reason=reason))
    elif member.isreg():
      stem, _, kind = name.rpartition('.')
      # Accents may be letters of their own in one name and not in the other.
      key = unicodedata.normalize('NFC', posixpath.normpath(stem))
      parts = self._groups.setdefault(key, {})
      if kind.lower() in parts:
        self.reject(member.name, 'name occurs twice in its shard')
      else:
        parts[kind.lower()] = self._read(kind.lower(), member)

  def _read(self, kind, member):
    """A caption's bytes, or why they are none; or (member, (width, height)).

    Of a bad picture (member, why it is bad).
    """
    self._file.seek(member.offset_data)
    if kind in images.EXTENSIONS:
      try:
        return member, self._measure(member)
      except images.BadPicture as e:
        return member, str(e)
    if member.size > caption_fields.MOST:
      return 'caption is too long'
    self._held += member.size
    if self._held > _CAPTIONS:
      return 'more captions than a shard may have'
    return self._file.read(member.size)

  def _measure(self, member):
    """(width, height) of a picture."""
    try:
      return images.header(self._file.read(min(member.size, images.HEAD)))
    except images.BadPicture:
      if member.size <= images.HEAD:
        raise
      if member.size > images.MAX_BYTES:
        raise images.BadPicture('too large a file') from None
    self._file.seek(member.offset_data)
    return images.header(self._file.read(member.size))

  def examples(self):
    """An Entry, or a Reject, of each picture; what has none is told."""
    for key, parts in self._groups.items():
      pictures = [kind for kind in parts if kind in images.EXTENSIONS]
      for number, kind in enumerate(pictures):
        # Several that share a caption are told apart by their endings.
        yield self._example(parts, kind, f'.{kind}' if number else '')
      if not pictures:
        yield self._alone(f'{self._name}/{key}', parts)

  def _alone(self, id, parts):
    if parts.keys() == {'json'}:  # of a download that failed
      reason = 'no picture beside the .json'
      return index.Passed(id=id, reason=reason)
    return index.Reject(id=id, reason='no picture')

  def _example(self, parts, kind, ending):
    member, size = parts[kind]
    id = f'{self._name}/{member.name.rpartition(".")[0]}{ending}'
    if isinstance(size, str):
      return index.Reject(id=id, reason=size)
    try:
      captions = self._captions(parts)
    except caption_fields.BadCaption as e:
      return index.Reject(id=id, reason=str(e))
    if not captions:
      return index.Reject(id=id, reason='no caption')
    width, height = size
    return index.Entry(
      id=id,
      captions=captions,
      width=width,
      height=height,
      size=member.size,
      offset=member.offset_data,
    )

  def _captions(self, parts):
    kind = next((kind for kind in self._fields.kinds if kind in parts), None)
    if kind is None:
      return ()
    if isinstance(parts[kind], str):
      raise caption_fields.BadCaption(parts[kind])
    return self._fields.read(kind, parts[kind])


def _unfit(member, size):
  """Why a member is not looked into, or None."""
  parts = member.name.split('/')
  if member.name.startswith('/') or '..' in parts or '\0' in member.name:
    return 'path leaves the archive'
  if member.isdir():
    return None
  if not member.isreg() or member.issparse():
    return 'not a plain file'
  if member.offset_data + member.size > size:
    return _DAMAGED
  return None


def _passed(name):
  """Why nobody takes a file for an example, as in a folder; or None."""
  parts = name.split('/')
  if any(part[0] == '.' for part in parts if part not in ('', '.')):
    return 'hidden'
  stem, _, kind = parts[-1].rpartition('.')
  if not stem or kind.lower() not in (
    *images.EXTENSIONS, *caption_fields.KINDS
  ):  # fmt: skip
    return 'another kind of file'
  return None
