"""What the instructions of a compiled program multiply, read and write.

XLA's own figures of a program count what stands in the body of a loop once.
Here each instruction is judged by its shapes, by the same rules, to know what
its loops add: operations of convolutions (libtpu writes matrix products as
these too), and bytes of operands and results, of a slice only what it takes.
"""

import re
from typing import NamedTuple

from imagen_jax.planning import hlo

_LINE = re.compile(
  r'^\s+(?P<root>ROOT )?%?(?P<name>[\w.\-]+) = (?P<type>.*?) '
  r'(?P<kind>[a-z][a-z0-9\-]*)\((?P<operands>.*?)\)(?:, |$)'
)
_OPERAND = re.compile(r'%([\w.\-]+)')  # a type may stand before it
_CALLS = re.compile(r'calls=%?([\w.\-]+)')
_LABELS = re.compile(r'dim_labels=(\w+)_(\w+)->(\w+)')
_WINDOW = re.compile(r'window=\{([^}]*)\}')
_FREE = {  # what moves nothing, or whose parts are counted where they stand
  'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'while',
  'conditional', 'call', 'after-all', 'opt-barrier', 'iota', 'partition-id',
  'async-start', 'async-update',
}  # fmt: skip
# What `_Module` raises for lines that are written in another way.
_UNREAD = (KeyError, IndexError, ValueError, AttributeError)


class Cost(NamedTuple):
  """Of one instruction, or of many."""

  operations: float
  moved: float  # bytes

  def seconds(self, chip):
    """By the roofline of an `accelerators.Accelerator`, without its links."""
    return max(self.operations / chip.peak_flops, self.moved / chip.memory_rate)


class Repetition(NamedTuple):
  """What a run takes over the same with every loop run once."""

  seconds: float
  moved: float


class _Instruction(NamedTuple):
  kind: str
  type: str
  operands: tuple[str, ...]
  line: str
  is_root: bool

  @property
  def size(self):
    return sum(hlo.sizes(self.type))


def repetition(text, chip):
  """The `Repetition` of an HLO module's text."""
  module = _Module(text)
  times, moved = [0.0, 0.0], [0.0, 0.0]
  for line, count, fusion in hlo.instructions(text):
    if fusion is None and (cost := module.cost(line)):
      for k, n in enumerate((1, count)):
        times[k] += n * cost.seconds(chip)
        moved[k] += n * cost.moved
  return Repetition(*(b / a if a else 1.0 for a, b in (times, moved)))


def operations(line, shapes):
  """Of a convolution's line: a product and a sum for each pair that meets.

  shapes: {name of an operand: its dimensions}.
  """
  found = _parse(line)
  left, right = (shapes[name] for name in found.operands[:2])
  (result,) = hlo.shapes(found.type)
  labels = _LABELS.search(line)
  lhs, rhs, out = labels.groups()
  window = dict(
    item.split('=') for item in _in(_WINDOW, line).split() if '=' in item
  )
  pairs = 1
  for digit in (c for c in lhs if c.isdigit()):
    k = int(digit)
    pairs *= _pairs(
      base=left[lhs.index(digit)],
      kernel=right[rhs.index(digit)],
      results=result[out.index(digit)],
      stride=_nth(window, 'stride', k, 1),
      low=_nth(window, 'pad', k, 0),
      base_dilation=_nth(window, 'lhs_dilate', k, 1),
      dilation=_nth(window, 'rhs_dilate', k, 1),
    )
  batch, features = (result[out.index(c)] for c in 'bf')
  return 2 * batch * features * right[rhs.index('i')] * pairs


class _Module:
  """Its computations, parsed."""

  def __init__(self, text):
    self._computations = {
      name: {
        found.group('name'): _parse(line)
        for line in lines
        if (found := _LINE.match(line))
      }
      for name, lines in hlo.computations(text)[0].items()
    }
    self._all = {
      name: instruction
      for computation in self._computations.values()
      for name, instruction in computation.items()
    }

  def cost(self, line):
    """The `Cost` of a line that stands in no fusion, or None.

    None as well where another release of the compiler writes it in a way that
    is not read here: minutes of compiling are not lost for one line's share.
    """
    try:
      return self._cost(line)
    except _UNREAD:
      return None

  def _cost(self, line):
    found = _parse(line)
    if found is None or found.kind in _FREE or found.kind.endswith('-done'):
      return None
    if found.kind == 'fusion':
      inner = self._computations[_in(_CALLS, line)]
      return Cost(self._operations(inner), self._moved_by_fusion(found, inner))
    own = {'it': found}
    return Cost(self._operations(own), self._moved(found))

  def _operations(self, computation):
    total = 0
    for found in computation.values():
      if found.kind == 'convolution':
        shapes = {
          name: hlo.shapes(self._all[name].type)[0] for name in found.operands
        }
        total += operations(found.line, shapes)
      elif found.kind == 'fusion':
        total += self._operations(self._computations[_in(_CALLS, found.line)])
    return total

  def _moved(self, found):
    if found.kind in ('slice', 'dynamic-slice'):
      return 2 * found.size
    if found.kind == 'dynamic-update-slice':
      return 2 * self._all[found.operands[1]].size
    read = sum(self._all[name].size for name in found.operands)
    # The result of a start repeats its operands beside what it gives.
    return 2 * read if found.kind.endswith('-start') else found.size + read

  def _moved_by_fusion(self, found, inner):
    read = sum(self._read(inner, k) for k in range(len(found.operands)))
    (root,) = (x for x in inner.values() if x.is_root)
    return read + self._written(inner, root)

  def _written(self, inner, root):
    """Of a result, or of a tuple's; of what is updated in place the update."""
    if root.kind == 'tuple':
      return sum(self._written(inner, inner[name]) for name in root.operands)
    while root.kind == 'bitcast' and root.operands[0] in inner:
      root = inner[root.operands[0]]
    if root.kind == 'dynamic-update-slice':
      return self._all[root.operands[1]].size
    return root.size

  def _read(self, computation, k):
    """Bytes read of the k-th parameter: all of it, unless it is only cut."""
    (name, whole), *_ = (
      (name, found.size)
      for name, found in computation.items()
      if found.kind == 'parameter' and f'parameter({k})' in found.line
    )
    taken = self._taken(computation, name)
    return whole if taken is None else min(whole, taken)

  def _taken(self, computation, name):
    """Bytes of the slices of what is called `name`; None = it is used whole."""
    total = 0
    for found_name, found in computation.items():
      if name not in found.operands:
        continue
      if found.kind in ('slice', 'dynamic-slice'):
        part = found.size
      elif found.kind == 'dynamic-update-slice' and found.operands[0] == name:
        part = 0
      elif found.kind == 'bitcast' and not found.is_root:
        part = self._taken(computation, found_name)
      elif found.kind == 'fusion':
        inner = self._computations[_in(_CALLS, found.line)]
        part = self._read(inner, found.operands.index(name))
      else:
        part = None
      if part is None:
        return None
      total += part
    return total


def _parse(line):
  """The `_Instruction` of a line, or None."""
  if not (found := _LINE.match(line)):
    return None
  operands = found.group('operands')
  return _Instruction(
    kind=found.group('kind'),
    type=found.group('type'),
    operands=tuple(_OPERAND.findall(operands) or operands.split(', ')),
    line=line,
    is_root=found.group('root') is not None,
  )


def _in(pattern, line):
  found = pattern.search(line)
  return found.group(1) if found else ''


def _nth(window, name, k, default):
  """The k-th of a window's values, '1x2', or the lower of '0_1x2_2'."""
  if name not in window:
    return default
  return int(window[name].split('x')[k].split('_')[0])


def _pairs(base, kernel, results, stride, low, base_dilation, dilation):
  """Pairs of a result's and a kernel's place that meet a value of the base."""
  if base_dilation == 1 == stride and dilation == 1:
    # Of each place in the kernel, the results within the base.
    return sum(
      max(0, min(results, base + low - k) - max(0, low - k))
      for k in range(kernel)
    )
  last = (base - 1) * base_dilation
  return sum(
    0 <= (at := i * stride + k * dilation - low) <= last
    and at % base_dilation == 0
    for i in range(results)
    for k in range(kernel)
  )
