"""Types of dataclass fields, checked where values come from outside.

Not in the paper. A file or a flag may hold a word where a number belongs; deep
inside a network that is a page of traceback, here one line with the field's
name.
"""

import dataclasses
import math
import numbers
import re
import types
import typing


def check(config, where):
  """Raises ValueError naming the first field that is not of its type.

  Args:
    config: a dataclass; dataclasses among its fields are checked as well.
    where: what the message calls it.
  """
  for field in dataclasses.fields(config):
    name, value = f'{where}.{field.name}', getattr(config, field.name)
    require(value, field.type, name)
    if dataclasses.is_dataclass(value):
      check(value, name)


def build(cls, table, where):
  """The dataclass `cls` of a JSON object; ValueError naming what is wrong.

  Lists become tuples, which hash.
  """
  known = {field.name: field for field in dataclasses.fields(cls)}
  if unknown := sorted(set(table) - set(known)):
    raise ValueError(
      f'{where}: unknown field {unknown[0]!r}; fields are {sorted(known)}'
    )
  values = {name: _tuples(value) for name, value in table.items()}
  for name, value in values.items():
    require(value, known[name].type, f'{where}: {name}')
  try:
    return cls(**values)
  except (TypeError, ValueError) as e:
    raise ValueError(f'{where}: {e}') from e


def require_within(config, **bounds):
  """Raises ValueError naming the first field that is out of its bounds.

  Args:
    config: a dataclass.
    **bounds: (least, most) by the field's name, both allowed; None as a field
      is always allowed where its type says so.
  """
  kinds = {field.name: field.type for field in dataclasses.fields(config)}
  for name, (least, most) in bounds.items():
    value, where = getattr(config, name), f'{type(config).__name__}.{name}'
    require(value, kinds[name], where)
    if value is not None and not least <= value <= most:
      wanted = f'be at least {least}'
      if most != math.inf:
        wanted = f'lie in [{least}, {most}]'
      raise ValueError(f'{where} is {value}; it must {wanted}')


def require(value, kind, name):
  """Raises ValueError unless a value is of an annotated type."""
  if not fits(value, kind):
    raise ValueError(f'{name} is {value!r}; it must be {said(kind)}')


def require_regex(pattern, name):
  """Raises ValueError unless a pattern can be compiled; None is no pattern."""
  try:
    re.compile(pattern or '')
  except re.error as e:
    raise ValueError(f'{name} {pattern!r} is no regular expression: {e}') from e


def _tuples(value):
  """JSON has lists where the configs have tuples."""
  if isinstance(value, list):
    return tuple(_tuples(v) for v in value)
  return value


def fits(value, kind):
  """Whether a value is of an annotated type; True of what is not told."""
  origin, inner = typing.get_origin(kind), typing.get_args(kind)
  if origin in (types.UnionType, typing.Union):
    return any(fits(value, k) for k in inner)
  if origin is tuple:
    if not isinstance(value, tuple):
      return False
    if inner[1:] == (...,):
      return all(fits(v, inner[0]) for v in value)
    return len(value) == len(inner) and all(map(fits, value, inner))
  if kind in (int, float):
    number = numbers.Integral if kind is int else numbers.Real
    return isinstance(value, number) and not isinstance(value, bool)
  return not isinstance(kind, type) or isinstance(value, kind)


def said(kind):
  """A type in words: 'int or None', 'tuple of int'."""
  inner = typing.get_args(kind)
  if typing.get_origin(kind) is tuple:
    return f'tuple of {said(inner[0])}'
  if inner:
    return ' or '.join(map(said, inner))
  return 'None' if kind is type(None) else getattr(kind, '__name__', str(kind))
