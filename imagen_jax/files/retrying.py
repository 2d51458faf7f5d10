"""Trying again what a disk or a bucket refused for a moment.

Buckets answer "later" now and then, and network disks go away and come back; a
file that is not there, or may not be read, is no different a minute later.
"""

import errno
import sys
import time

# Seconds before each further try.
WAITS = (1, 4, 16, 64)

_LASTING = {errno.EROFS, errno.EFBIG, errno.EINVAL, errno.ENAMETOOLONG}


_LASTING_KINDS = (
  FileNotFoundError,
  PermissionError,
  FileExistsError,
  IsADirectoryError,
  NotADirectoryError,
)


def may_pass(error):
  """Whether an error may be gone at the next try."""
  if isinstance(error, _LASTING_KINDS):
    return False  # buckets raise them without a number
  return not isinstance(error, OSError) or error.errno not in _LASTING


def patiently(do, what, errors=(OSError,)):
  """do(), again after `errors` that may pass, each try later than the last.

  Each is told as a warning that begins with `what`; the last one is raised.
  """
  for wait in WAITS:
    try:
      return do()
    except errors as e:
      if not may_pass(e):
        raise
      print(
        f'warning: {what}: {first_line(e)}; trying again in {wait} s',
        file=sys.stderr,
        flush=True,
      )
    time.sleep(wait)
  return do()


def first_line(error):
  """What an error says, in short; its type where it says nothing."""
  lines = str(error).strip().splitlines() or [type(error).__name__]
  return lines[0][:200]
