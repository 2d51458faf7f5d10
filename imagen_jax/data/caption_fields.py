"""Captions of one example, out of the fields in which people keep them."""

import dataclasses

from imagen_jax.config import terminal
from imagen_jax.files import json_files

KEYS = ('text', 'caption', 'captions')  # tried in turn where none is named
KINDS = ('txt', 'caption', 'json')  # of files beside a picture, the first wins
MOST = 1 << 20  # bytes of such a file; the longest captions have some thousand


class BadCaption(ValueError):
  """The message is the reason why an example has no captions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields:
  """Where the captions of a set are, where it is not as usual."""

  caption: str | None = None  # key or column; None = the usual ones
  lines: bool = False  # whether each line of a .txt is a caption of its own

  @property
  def kinds(self) -> tuple[str, ...]:
    """Endings of caption files, the first goes before the others.

    A key that was asked for is not passed over for a text.
    """
    return KINDS if self.caption is None else ('json', 'txt', 'caption')

  def read(self, kind: str, data: bytes) -> tuple[str, ...]:
    """The captions in a file of one of `kinds`; raises BadCaption."""
    if len(data) > MOST:
      raise BadCaption('caption is too long')
    if kind == 'json':
      return of_json(data, self.caption)
    if self.lines:
      return of_value(_text(data).split('\n'))
    return of_text(data)


USUAL = Fields()


def of_text(data: bytes) -> tuple[str, ...]:
  """A text file holds one caption; its line breaks count as spaces."""
  return of_value(_text(data))


def _text(data):
  try:
    return data.decode('utf-8-sig')
  except UnicodeDecodeError as e:
    raise BadCaption('caption is not UTF-8') from e


def of_json(data: bytes, key: str | None) -> tuple[str, ...]:
  """One caption or a list of them, under `key` of an object."""
  try:
    fields = json_files.parse(data, 'the caption file')
  except ValueError as e:
    raise BadCaption('caption file is not JSON') from e
  if not isinstance(fields, dict):
    raise BadCaption('caption file holds no JSON object')
  try:
    return of_value(fields[choose_key(fields, key)])
  except KeyError as e:
    raise BadCaption(str(e.args[0])) from e


def choose_key(fields, key: str | None) -> str:
  """`key`, or the usual one; raises KeyError telling the keys there are."""
  wanted = KEYS if key is None else (key,)
  for name in wanted:
    if name in fields:
      return name
  raise KeyError(f'no caption under {" or ".join(wanted)}; {names(fields)}')


def names(fields) -> str:
  """'there are: a, b' of keys or columns, in letters that do nothing."""
  some = sorted(terminal.escaped(str(name)[:40]) for name in fields)
  return 'there are: ' + ', '.join(some[:12])


def of_value(value) -> tuple[str, ...]:
  """A string, bytes, or a list of such -> captions that are not empty."""
  if isinstance(value, bytes):
    return of_text(value)
  if isinstance(value, str):
    # A lone surrogate, which JSON can write, is no text that can be encoded.
    text = value.encode('utf-8', 'replace').decode('utf-8')
    text = ' '.join(text.split())
    return (text,) if text else ()
  if hasattr(value, 'tolist'):  # of NumPy
    value = value.tolist()
  if isinstance(value, list | tuple):
    return tuple(text for item in value for text in of_value(item))
  return ()
