"""Text files that grow line by line, each line whole or not there.

A disk that is full, or away, for a while costs no line: what could not be
written waits in memory, and goes in front of the next.
"""

import errno
import os
import pathlib
import sys
import time

from imagen_jax.files import retrying

_WAITING = 100_000  # lines that may wait; then the oldest are given up


class Lines:
  """Appends to a file; made with its path.

  Usage:
    log = Lines(path)
    log.add('{"step": 1}')
    log.close()
  """

  def __init__(self, path):
    self._path = pathlib.Path(path)
    self._waiting = []  # bytes, a line each
    self._lost = 0  # that were given up
    self._warnings = 0  # since it could be written last
    self._next_warning = 0.0

  def add(self, *lines: str) -> None:
    """More lines; where they cannot be written, a warning now and then."""
    self._waiting += [line.encode(errors='replace') + b'\n' for line in lines]
    if (more := len(self._waiting) - _WAITING) > 0 and self._warnings:
      del self._waiting[:more]
      self._lost += more
    try:
      self._write()
    except OSError as e:
      self._warn(e)

  def close(self) -> None:
    """Waits a little for a disk that refuses; what is lost then is told."""
    if not self._waiting:
      return
    try:
      retrying.patiently(self._write, f'{self._path} is not written')
    except OSError as e:
      print(
        f'warning: {self._path} lacks its last {len(self._waiting):,} lines: '
        f'{retrying.first_line(e)}',
        file=sys.stderr,
      )

  def _write(self):
    """Appends what waits; an OSError leaves the file as it was."""
    data = b''.join(self._waiting)
    file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
      size = os.fstat(file).st_size
      if size and os.pread(file, 1, size - 1) != b'\n':
        data = b'\n' + data  # behind a line that a crash cut short
      try:
        if os.write(file, data) < len(data):
          raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
      except OSError:
        os.ftruncate(file, size)
        raise
    finally:
      os.close(file)
    self._tell_success()
    self._waiting.clear()

  def _tell_success(self):
    if self._warnings:
      lost = f'; {self._lost:,} were given up' if self._lost else ''
      print(
        f'note: {self._path} is written again, {len(self._waiting):,} lines '
        f'late{lost}',
        file=sys.stderr,
        flush=True,
      )
    self._warnings, self._lost = 0, 0

  def _warn(self, error):
    """Says why, at once, and again after longer and longer times."""
    now = time.monotonic()
    if self._warnings and now < self._next_warning:
      return
    wait = retrying.WAITS[min(self._warnings, len(retrying.WAITS) - 1)]
    self._warnings += 1
    self._next_warning = now + wait
    print(
      f'warning: {self._path} cannot be written: '
      f'{error.strerror or retrying.first_line(error)}; free space there: its '
      f'{len(self._waiting):,} lines wait in memory and are tried again',
      file=sys.stderr,
      flush=True,
    )
