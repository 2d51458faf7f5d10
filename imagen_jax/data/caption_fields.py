"""Captions of one example, out of the fields in which people keep them."""

import json

KEYS = ('text', 'caption', 'captions')  # tried in turn where none is named


class BadCaption(ValueError):
  """The message is the reason why an example has no captions."""


def of_text(data: bytes) -> tuple[str, ...]:
  """A text file holds one caption; its line breaks count as spaces."""
  try:
    return of_value(data.decode('utf-8-sig'))
  except UnicodeDecodeError as e:
    raise BadCaption('caption is not UTF-8') from e


def of_json(data: bytes, key: str | None) -> tuple[str, ...]:
  """One caption or a list of them, under `key` of an object."""
  try:
    fields = json.loads(data.decode('utf-8-sig'))
  except (UnicodeDecodeError, ValueError) as e:
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
  there = ', '.join(sorted(map(str, fields))[:12])
  raise KeyError(f'no caption under {" or ".join(wanted)}; there are: {there}')


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
