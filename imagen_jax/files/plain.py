"""Files from outside: plain ones alone, and no more of them than is bounded.

  opened(path)          a file that can be read without waiting for anybody
  read(path, most)      its bytes, where it has no more than `most`
  read_named(...)       the same, of pipes of the shell too
  lines(file, most)     its lines, those that are longer as None

A pipe, a socket or a device among pictures would hang whoever opens it, or
never end. What a name leads to is looked at before it is opened and again
after; links are followed. Every error is an OSError that retrying will not
mend.
"""

import errno
import io
import os
import re
import stat
from collections.abc import Iterator

_BUFFER = 1 << 16  # bytes read ahead
_OF_SHELL = re.compile(r'/dev/(stdin|fd/\d+)')


class NotPlain(OSError):
  """A pipe, a socket, a device or a directory stands where a file should."""


class TooLarge(OSError):
  """More bytes than may be read whole."""


def opened(path, buffering: int = _BUFFER) -> io.BufferedReader:
  """The file for reading; raises OSError, `NotPlain` where it is no file."""
  descriptor = descriptor_of(path)
  try:
    return open(descriptor, 'rb', buffering=buffering)
  except BaseException:
    os.close(descriptor)
    raise


def descriptor_of(path) -> int:
  """An open descriptor of a plain file, which the caller closes."""
  try:
    _check(os.stat(path), path)
    # Between the two something else may have taken its place.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
  except ValueError as e:  # a NUL, or letters that no name can hold
    raise NotPlain(errno.EINVAL, 'no name of a file', str(path)) from e
  try:
    _check(os.fstat(descriptor), path)
  except BaseException:
    os.close(descriptor)
    raise
  return descriptor


def read(path, most: int) -> bytes:
  """The whole file; raises `TooLarge` before any of a larger one is read."""
  with opened(path, buffering=0) as file:
    size = os.fstat(file.fileno()).st_size
    if size > most:
      raise too_large(size, most, path)
    data = file.read(most + 1)
    while len(data) <= most and (more := file.read(most + 1 - len(data))):
      data += more
  if len(data) > most:  # it grew, or has no size, as below /proc
    raise too_large(len(data), most, path)
  return data


def read_named(path, most: int) -> bytes:
  """`read` of what a person names: pipes of their shell are read too.

  /dev/stdin and /dev/fd/N, as of `<(...)`, are waited for, since somebody just
  opened them; no more than `most` bytes are taken.
  """
  if not _OF_SHELL.fullmatch(str(path)):
    return read(path, most)
  with open(path, 'rb') as file:
    data = file.read(most + 1)
  if len(data) > most:
    raise too_large(len(data), most, path)
  return data


def too_large(size: int, most: int, path) -> TooLarge:
  """The error of a file of `size` bytes where `most` are taken."""
  said = f'has {size:,} bytes, more than {most:,}'
  return TooLarge(errno.EFBIG, said, str(path))


def lines(file, most: int) -> Iterator[bytes | None]:
  """Lines with their ends; None for one that has more than `most` bytes."""
  while line := file.readline(most + 1):
    if len(line) <= most:
      yield line
      continue
    while line and not line.endswith(b'\n'):
      line = file.readline(most)
    yield None


def _check(about, path):
  if stat.S_ISDIR(about.st_mode):
    raise IsADirectoryError(errno.EISDIR, 'is a directory', str(path))
  if not stat.S_ISREG(about.st_mode):
    raise NotPlain(errno.EINVAL, 'is no plain file', str(path))
