"""What a compiled program exchanges between chips, read from its HLO text.

Each kind of collective with its count and bytes for one run on one chip; what
stands in the body of a loop counts as often as the loop runs.
"""

import collections
import dataclasses
import math
import re

from imagen_jax.planning import hlo

KINDS = (
  'all-gather',
  'all-reduce',
  'reduce-scatter',
  'all-to-all',
  'ragged-all-to-all',
  'collective-permute',
  'collective-broadcast',
)
_OPERATION = re.compile(r'^\s+(?:ROOT )?%?[\w.\-]+ = (.*)$')
# libtpu's fusion of an all-reduce of which each chip keeps its part.
_SCATTERED = 'all-reduce-scatter'
_CHANNEL = re.compile(r'channel_id=(\d+)')
_GROUPS = re.compile(r'replica_groups=\{\{([\d,]*)\}')
_IOTA = re.compile(r'replica_groups=\[(\d+),(\d+)\]')
# The order of the devices may stand between the mesh and its axes.
_MESH = re.compile(r'replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}')
_PAIRS = re.compile(r'source_target_pairs=\{(\{[\d,{} ]*\})\}')


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
  seen = set()
  counts, sizes = collections.Counter(), collections.Counter()
  for line, times, fusion in hlo.instructions(text):
    if not (found := _collective(line)):
      continue
    kind, group, size = found
    if fusion is not None:
      # The halves of one exchange may stand in two fusions. (Outside of them
      # a channel says nothing: all of a `shard_map` share one.)
      channel = _CHANNEL.search(line)
      exchange = channel and channel.group(1), kind, size
      if exchange in seen:
        continue
      seen.add(exchange)
      if fusion.startswith(_SCATTERED):
        kind = 'reduce-scatter'
    counts[kind, group] += times
    sizes[kind, group] += times * size
  found = [
    Collective(kind=kind, group=group, count=n, size=int(sizes[kind, group]))
    for (kind, group), n in counts.items()
  ]
  return sorted(found, key=lambda c: -c.size)


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
  shapes = hlo.sizes(result)
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


def _group(line):
  if found := _IOTA.search(line):
    return int(found.group(2))
  if found := _MESH.search(line):  # mesh['a'=2,'b'=4] {'b'}: groups of 4
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", found.group(1)))
    names = re.findall(r"'(\w+)'", found.group(2))
    return math.prod(int(sizes[name]) for name in names)
  if found := _PAIRS.search(line):
    return _connected(re.findall(r'(\d+),(\d+)', found.group(1)))
  found = _GROUPS.search(line)
  return len(found.group(1).split(',')) if found else 1


def _connected(pairs):
  """The most devices that pass something on to one another."""
  groups = {}
  for pair in pairs:
    joined = set().union(*(groups.get(device, {device}) for device in pair))
    groups |= dict.fromkeys(joined, joined)
  return max(map(len, groups.values()), default=1)
