"""What a compiled program exchanges between chips, read from its HLO text.

Each kind of collective with its count and bytes for one run on one chip; what
stands in the body of a loop counts as often as the loop runs.
"""

import collections
import dataclasses
import math
import re

KINDS = (
  'all-gather',
  'all-reduce',
  'reduce-scatter',
  'all-to-all',
  'ragged-all-to-all',
  'collective-permute',
  'collective-broadcast',
)
_SIZES = {
  'pred': 1, 's4': 0.5, 'u4': 0.5, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2,
  'f16': 2, 'bf16': 2, 's32': 4, 'u32': 4, 'f32': 4, 's64': 8, 'u64': 8,
  'f64': 8,
}  # fmt: skip
_HEADER = re.compile(r'^(ENTRY )?%?([\w.\-]+) .*\{$')
_OPERATION = re.compile(r'^\s+(?:ROOT )?%?[\w.\-]+ = (.*)$')
_SHAPE = re.compile(r'\b([a-z]+\d*)\[([\d,]*)\]')
_CALLED = re.compile(
  r'(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)'
)
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_TRIPS = re.compile(r'"known_trip_count":\s*\{"n":\s*"(\d+)"')
_CHANNEL = re.compile(r'channel_id=(\d+)')
_GROUPS = re.compile(r'replica_groups=\{\{([\d,]*)\}')
_IOTA = re.compile(r'replica_groups=\[(\d+),(\d+)\]')
_MESH = re.compile(r'replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
  """All collectives of one kind over groups of one size."""

  kind: str
  group: int  # chips that exchange with one another
  count: int  # in one run
  size: int  # bytes of the whole arrays, all together

  @property
  def sent(self):
    """Bytes that leave each chip, by the usual ring algorithms."""
    share = (self.group - 1) / self.group
    return self.size * {'all-reduce': 2 * share}.get(
      self.kind, 1.0 if 'permute' in self.kind else share
    )


def read(text):
  """The collectives of an HLO module's text, largest first."""
  computations, entry = _computations(text)
  seen = set()  # channels: the parts of one exchange may stand in two fusions
  counts, sizes = collections.Counter(), collections.Counter()

  def walk(name, times):
    for line in computations.get(name, ()):
      if found := _collective(line):
        kind, group, size = found
        channel = _CHANNEL.search(line)
        if channel and channel.group(1) in seen:
          continue
        seen.add(channel and channel.group(1))
        counts[kind, group] += times
        sizes[kind, group] += times * size
        continue  # its to_apply is only the sum of two numbers
      trips = 1
      if ' while(' in line:
        trips = _trips(line, computations)
      called = _CALLED.findall(line)
      for branches in _BRANCHES.findall(line):
        called += [b.strip().lstrip('%') for b in branches.split(',')]
      for inner in called:
        walk(inner, times * trips)

  walk(entry, 1)
  found = [
    Collective(kind=kind, group=group, count=n, size=int(sizes[kind, group]))
    for (kind, group), n in counts.items()
  ]
  return sorted(found, key=lambda c: -c.size)


def _trips(line, computations):
  """How often a loop runs: as told, or the bound in its condition.

  A scan counts from 0 to a constant; libtpu tells no count.
  """
  if known := _TRIPS.search(line):
    return int(known.group(1))
  condition = re.search(r'condition=%?([\w.\-]+)', line)
  lines = computations.get(condition.group(1), ()) if condition else ()
  bounds = re.findall(r'= s32\[\]\S* constant\((\d+)\)', '\n'.join(lines))
  return max(map(int, bounds), default=1)


def _computations(text):
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


def _collective(line):
  """(kind, group, bytes of the whole array) of a line, or None.

  A collective in two halves is counted at its start.
  """
  operation = _OPERATION.match(line)
  if not operation:
    return None
  kind = re.search(rf'[)}}\]] ({"|".join(KINDS)})(-start)?\(', line)
  if not kind:
    return None
  result = operation.group(1)[: kind.start() - operation.start(1) + 1]
  shapes = [_size(*s) for s in _SHAPE.findall(result)]
  name, started = kind.groups()
  group = _group(line)
  # The start of an all-gather gives its operands too, half of the tuple; that
  # of an exchange its operand, its result and two words of state.
  if started and name == 'all-gather':
    shapes = shapes[len(shapes) // 2 :]
  elif started and name == 'collective-permute':
    shapes = shapes[:1]
  size = sum(shapes)
  return name, group, size * group if name == 'reduce-scatter' else size


def _size(dtype, dimensions):
  dimensions = [int(n) for n in dimensions.split(',') if n]
  return math.prod(dimensions) * _SIZES.get(dtype, 0)


def _group(line):
  if found := _IOTA.search(line):
    return int(found.group(2))
  if found := _MESH.search(line):  # mesh['a'=2,'b'=4] {'b'}: groups of 4
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", found.group(1)))
    names = re.findall(r"'(\w+)'", found.group(2))
    return math.prod(int(sizes[name]) for name in names)
  found = _GROUPS.search(line)
  return len(found.group(1).split(',')) if found else 1
