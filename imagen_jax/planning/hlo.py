"""The text of a compiled HLO module, walked as the program runs.

Each instruction comes with how often it runs: what stands in the body of a loop
as often as the loop turns. XLA's own figures of a program count it once.
"""

import math
import re
from typing import NamedTuple

_HEADER = re.compile(r'^(ENTRY )?%?([\w.\-]+) .*\{$')
_CALLED = re.compile(
  r'(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)'
)
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_TRIPS = re.compile(r'"known_trip_count":\s*\{"n":\s*"(\d+)"')
_SHAPE = re.compile(r'\b([a-z]+\d*)\[([\d,]*)\]')
_SIZES = {
  'pred': 1, 's4': 0.5, 'u4': 0.5, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2,
  'f16': 2, 'bf16': 2, 's32': 4, 'u32': 4, 'f32': 4, 's64': 8, 'u64': 8,
  'f64': 8,
}  # fmt: skip


class Instruction(NamedTuple):
  """A line of the module's text, where and how often it runs."""

  line: str
  times: int
  fusion: str | None  # name of the fused computation that it stands in


def instructions(text):
  """All `Instruction`s of a module, callers before the called."""
  bodies, entry = computations(text)

  def walk(name, times, fusion):
    for line in bodies.get(name, ()):
      yield Instruction(line, times, fusion)
      inner = times
      if ' while(' in line:
        inner *= _trips(line, bodies)
      called = _CALLED.findall(line)
      for branches in _BRANCHES.findall(line):
        called += [b.strip().lstrip('%') for b in branches.split(',')]
      for other in called:
        fused = fusion or (other if ' fusion(' in line else None)
        yield from walk(other, inner, fused)

  yield from walk(entry, 1, None)


def shapes(type_):
  """Dimensions of the arrays of a type, which may be a tuple."""
  return [
    [int(n) for n in dimensions.split(',') if n]
    for _, dimensions in _SHAPE.findall(type_)
  ]


def sizes(type_):
  """Bytes of the arrays of a type, which may be a tuple."""
  return [
    math.prod(int(n) for n in dimensions.split(',') if n) * _SIZES.get(dtype, 0)
    for dtype, dimensions in _SHAPE.findall(type_)
  ]


def _trips(line, computations):
  """How often a loop runs: as told, or the bound in its condition.

  A scan counts from 0 to a constant; libtpu tells no count. A loop whose end is
  an argument of the program, as that over a sampler's steps, counts once.
  """
  if known := _TRIPS.search(line):
    return int(known.group(1))
  condition = re.search(r'condition=%?([\w.\-]+)', line)
  lines = computations.get(condition.group(1), ()) if condition else ()
  bounds = re.findall(r'= s32\[\]\S* constant\((\d+)\)', '\n'.join(lines))
  return max(map(int, bounds), default=1)


def computations(text):
  """({name: its lines}, name of the entry)."""
  computations, entry, lines = {}, None, None
  for line in text.splitlines():
    if line.startswith('}'):
      lines = None
    elif lines is not None:
      lines.append(line)
    elif found := _HEADER.match(line):
      lines = computations[found.group(2)] = []
      entry = found.group(2) if found.group(1) else entry
  return computations, entry
