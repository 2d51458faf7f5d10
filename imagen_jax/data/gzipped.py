"""Shards that are compressed: unpacked once, beside the index.

  opened_as(path, place, name)   the path of the tar file that it holds

A compressed file cannot be read at random. What it holds has its own time of
change, so that another one is noticed and unpacked again.
"""

import gzip
import hashlib
import os
import pathlib
import sys
import uuid
import zlib

from imagen_jax.files import plain, remote

ENDINGS = ('.tar.gz', '.tgz')
# Pictures do not shrink and text by a tenth; what grows more is a bomb.
_TIMES, _LEAST = 30, 64 << 20  # of its size, and bytes that any file may hold
_BLOCK = 4 << 20  # bytes


def is_one(name: str) -> bool:
  """Whether a file's name is that of a compressed shard."""
  return name.lower().endswith(ENDINGS)


def opened_as(path: str, place: str | os.PathLike, name: str) -> str:
  """The tar file of a shard, in the directory `place`.

  `name` tells it from the other shards of its set, which may move. Raises
  ValueError where it is remote, damaged, or holds too much.
  """
  if remote.is_remote(path):
    raise ValueError(
      f'{path} is compressed and remote: it cannot be read at random; unpack '
      'it there, or copy it to this machine'
    )
  try:
    about = os.stat(path)
    target = pathlib.Path(place) / _tar_of(name)
    if not _is_of(target, about):
      _unpack(path, about, target)
  except (OSError, EOFError, zlib.error) as e:
    reason = getattr(e, 'strerror', None) or e
    raise ValueError(f'{path} cannot be unpacked to {place}: {reason}') from e
  return str(target)


def _tar_of(name):
  """A name of its own: a.tgz, a.tar.gz and A.TAR.GZ are three shards."""
  digest = hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=8)
  stem = pathlib.PurePosixPath(name).name.partition('.')[0]
  return f'{stem[:40]}_{digest.hexdigest()}.tar'


def _is_of(target, about):
  try:
    return os.stat(target).st_mtime_ns == about.st_mtime_ns
  except FileNotFoundError:
    return False


def _unpack(path, about, target):
  print(f'unpacking {path} to {target}, once', file=sys.stderr)
  target.parent.mkdir(parents=True, exist_ok=True)
  partial = target.with_name(f'{target.name}.{uuid.uuid4().hex[:8]}')
  left = max(_LEAST, _TIMES * about.st_size)
  try:
    with plain.opened(path) as raw, gzip.open(raw) as source:
      with open(partial, 'wb') as file:
        while data := source.read(_BLOCK):
          left -= len(data)
          if left < 0:
            raise OSError(f'it holds more than {_TIMES} times its size')
          file.write(data)
    os.utime(partial, ns=(about.st_mtime_ns, about.st_mtime_ns))
    os.replace(partial, target)
  finally:
    partial.unlink(missing_ok=True)
