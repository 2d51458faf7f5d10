"""The one reader of JSON that comes from outside.

  parse(data, where)     bytes or text -> value
  read(path, absent)     of a file here
  read_in(folder, name)  an object in a directory, here or in a bucket

Bytes and depth are bounded before anything is made of them. What cannot be
read is a ValueError of one line that names the file.
"""

import json
import pathlib

from imagen_jax.files import impostors, plain, remote

MAX_BYTES = 64 << 20  # of one file, unless told
MAX_DEPTH = 100  # lists and objects within each other


def parse(data, where, *, remedy='copy it again', unique=False, finite=False):
  """The value of a JSON text.

  Args:
    data: bytes in UTF-8, with or without a byte order mark, or a text.
    where: what messages call it.
    remedy: what they advise.
    unique: refuse an object with a name twice.
    finite: refuse NaN and Infinity, which are no JSON.

  Raises:
    ValueError: with one line.
  """
  try:
    if isinstance(data, bytes):
      data = data.decode('utf-8-sig')
    value = json.loads(
      data,
      object_pairs_hook=_once if unique else None,
      parse_constant=_refuse if finite else None,
    )
    if data.count('[') + data.count('{') > MAX_DEPTH:
      _check_depth(value)
    return value
  except RecursionError as e:
    raise ValueError(f'{where} is nested too deep to be read; {remedy}') from e
  except ValueError as e:
    head = data[: impostors.HEAD]
    head = head if isinstance(head, bytes) else head.encode('utf-8', 'replace')
    if what := impostors.told(head):
      raise ValueError(f'{where} {what}') from e
    raise ValueError(f'{where} is damaged ({_short(e)}); {remedy}') from e


def read(path, absent=None, *, most=MAX_BYTES, **how):
  """The value of a JSON file.

  Args:
    path: of the file.
    absent: text of the error where there is none; None = it is missing.
    most: bytes that it may have.
    **how: as of `parse`.
  """
  path = pathlib.Path(path)
  try:
    data = plain.read(path, most)
  except FileNotFoundError as e:
    raise ValueError(absent or f'{path} is missing') from e
  except OSError as e:
    raise ValueError(f'{path} cannot be read: {e.strerror or e}') from e
  return parse(data, path, **how)


def read_in(
  folder: remote.Folder, name: str, absent=None, *, most=MAX_BYTES, **how
) -> dict:
  """The object in a JSON file of a directory; arguments as of `read`."""
  where = f'{folder}/{name}'
  try:
    _check_size(folder.size(name), most, where)
    data = folder.read(name)
  except (FileNotFoundError, NotADirectoryError) as error:
    raise ValueError(absent or f'{where} is missing') from error
  except OSError as error:
    raise ValueError(f'{where} cannot be read: {error}') from error
  fields = parse(data, where, **how)
  if not isinstance(fields, dict):
    raise ValueError(f'{where} holds no object; copy it again')
  return fields


def _check_size(size, most, where):
  if size > most:
    raise ValueError(
      f'{where} has more than {most:,} bytes, which is no file of its kind; '
      'copy it again'
    )


def _check_depth(value):
  """Raises RecursionError where a value is nested too deep; calls itself not.

  json's own limit is Python's: what it lets pass may be too deep for others.
  """
  level = [value]
  for _ in range(MAX_DEPTH):
    inner = []
    for node in level:
      if isinstance(node, dict):
        inner += [v for v in node.values() if isinstance(v, dict | list)]
      elif isinstance(node, list):
        inner += [v for v in node if isinstance(v, dict | list)]
    if not inner:
      return
    level = inner
  raise RecursionError


def _once(pairs):
  fields = dict(pairs)
  if len(fields) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f'{twice[:80]!r} is there twice')
  return fields


def _refuse(constant):
  raise ValueError(f'{constant} is no number of JSON')


def _short(error):
  """What went wrong, without what a message may quote of the file."""
  return ' '.join(str(error).split())[:200]
