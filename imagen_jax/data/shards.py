"""Tar shards as img2dataset writes them: 000000042.jpg, .txt, .json.

Files of one name, up to its first dot, are one example; the caption is the
.txt, else a key of the .json; a key that is named goes before the .txt. A shard
is read through once, for the index; then any picture in it is one read at a
known offset. Nothing is ever unpacked.

  pieces(root, files, caption)  what is looked through for the index
  fetch(root, files, row)       the bytes of a picture
"""

import functools
import posixpath
import tarfile
from collections.abc import Iterator

from imagen_jax.data import caption_fields, images, index, indexing
from imagen_jax.files import remote

_PADDING = 64 << 10  # zeros that may follow an archive's end


def pieces(
  root: str, files: list, caption: str | None
) -> Iterator[indexing.Piece]:
  """What is looked through for the index: a shard each, in order."""
  for number, (name, size) in enumerate(files):
    yield indexing.Piece(
      state=functools.partial(list, (number, name, size)),
      scan=functools.partial(_scan_shard, root, name, number, caption),
    )


def fetch(root: str, files: list, row) -> bytes:
  """The bytes of an example's picture."""
  name = files[int(row['file'])][0]
  path = remote.join(root, name)
  return remote.read(path, int(row['offset']), int(row['size']))


def _scan_shard(root, name, number, caption):
  """The entries and rejects of one shard."""
  path = remote.join(root, name)
  size = remote.size(path)
  with remote.open_file(path) as file:
    try:
      tar = tarfile.open(fileobj=file, mode='r:')
    except tarfile.TarError as e:
      raise ValueError(
        f'{path} is no tar file that can be read at random ({e}); unpack it '
        'if it is compressed, or download it again'
      ) from e
    groups, found = {}, []
    with tar:
      for member in _members(tar, name, found):
        reason = _unfit(member, size)
        if reason:
          found.append(_reject(name, member.name, reason))
        elif member.isreg():
          _put(groups, member, file, name, found)
      if size - tar.offset > _PADDING:
        found.append(_reject(name, '', 'shard goes on after its end'))
  for key, parts in groups.items():
    found.append(_example(name, number, key, parts, caption))
  return [one for one in found if one is not None]


def _members(tar, name, found):
  """The members; a shard cut short ends early, and says so."""
  try:
    yield from tar
  except (tarfile.TarError, OSError, ValueError):
    found.append(_reject(name, '', 'shard ends early or is damaged'))


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
    return 'shard ends early or is damaged'
  return None


def _put(groups, member, file, name, found):
  """Files a member under its key; of a picture its beginning is kept."""
  folder, base = posixpath.split(member.name)
  key, _, extension = base.partition('.')
  extension = extension.lower()
  if not key or extension not in (*images.EXTENSIONS, 'txt', 'json'):
    return
  parts = groups.setdefault(posixpath.join(folder, key), {})
  kind = extension if extension in ('txt', 'json') else 'picture'
  if kind in parts:
    reason = 'name occurs twice in its shard'
    found.append(_reject(name, member.name, reason))
    return
  file.seek(member.offset_data)
  if kind != 'picture':
    parts[kind] = file.read(member.size)
    return
  parts[kind] = member
  try:
    try:
      parts['size'] = images.header(file.read(min(member.size, images.HEAD)))
    except images.BadPicture:
      if member.size <= images.HEAD:
        raise
      file.seek(member.offset_data)
      parts['size'] = images.header(file.read(member.size))
  except images.BadPicture as e:
    parts['bad'] = str(e)


def _example(name, number, key, parts, caption):
  """An Entry, or a Reject."""
  if 'picture' not in parts:
    # A lone .json is a download that failed: no picture was ever there.
    return _reject(name, key, 'no picture') if 'txt' in parts else None
  if 'bad' in parts:
    return _reject(name, key, parts['bad'])
  captions = ()
  try:
    # A key that was asked for is not passed over for the .txt.
    if 'json' in parts and (caption is not None or 'txt' not in parts):
      captions = caption_fields.of_json(parts['json'], caption)
    elif 'txt' in parts:
      captions = caption_fields.of_text(parts['txt'])
  except caption_fields.BadCaption as e:
    return _reject(name, key, str(e))
  if not captions:
    return _reject(name, key, 'no caption')
  member = parts['picture']
  width, height = parts['size']
  return index.Entry(
    id=f'{name}/{key}',
    captions=captions,
    width=width,
    height=height,
    size=member.size,
    file=number,
    offset=member.offset_data,
  )


def _reject(shard, name, reason):
  return index.Reject(id=f'{shard}/{name}'.rstrip('/'), reason=reason)
