"""What lies under a file's name where the file itself should be.

A clone without Git LFS leaves pointers, a refused download a web page, one cut
off nothing at all. Each is told as what it is, with the way to the file.
"""

HEAD = 256  # bytes of a file that tell

_LFS = (b'version ', b'oid sha256:')  # how it begins, and what it holds
_PAGES = (b'<!doctype html', b'<html', b'<?xml', b'<head')


class Impostor(ValueError):
  """Another thing lies under a file's name."""


def told(head: bytes) -> str | None:
  """What a file that begins with `head` is in place of itself; None = it is.

  Args:
    head: the first `HEAD` bytes, or fewer where the file has no more.
  """
  if not head:
    return 'is empty: its download was cut off; download it again'
  if head.startswith(_LFS[0]) and _LFS[1] in head:
    return (
      'is a pointer of Git LFS and not the file: run git lfs pull where it was '
      'cloned'
    )
  if head.lstrip(b'\xef\xbb\xbf \t\r\n').lower().startswith(_PAGES):
    return (
      'is a web page and not the file: its address needs a login, or is that '
      'of a page about it; download the file itself'
    )
  return None


def refuse(head: bytes, where) -> None:
  """Raises Impostor where the file `where` begins as something else does."""
  if what := told(head[:HEAD]):
    raise Impostor(f'{where} {what}')
