"""TPU slices by name, such as 'v5e:16x16': chips, and a compiler for them.

The shapes are those that Google Cloud offers (cloud.google.com/tpu/docs).
"""

import dataclasses
import difflib
import math

import jax

from imagen_jax.parallel import accelerators

_FLAT = ('1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
_SOLID = (
  '2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8', '8x8x8',
  '8x8x16', '8x16x16',
)  # fmt: skip
_FAMILIES = {
  'v4': (accelerators.V4, _SOLID),
  'v5e': (accelerators.V5E, _FLAT),
  'v5p': (accelerators.V5P, _SOLID),
  'v6e': (accelerators.V6E, _FLAT),
}
NAMES = tuple(
  f'{family}:{shape}'
  for family, (_, shapes) in _FAMILIES.items()
  for shape in shapes
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice:
  """Chips of one kind, wired to a grid."""

  name: str
  chip: accelerators.Accelerator
  chips: int


def find(name):
  """The `Slice` of a name; ValueError with the nearest names for others."""
  if name not in NAMES:
    near = difflib.get_close_matches(name, NAMES, n=3, cutoff=0.5)
    hint = f'did you mean {", ".join(near)}? ' if near else ''
    raise ValueError(
      f'no slice {name!r}: {hint}--topologies lists all that are known'
    )
  family, shape = name.split(':')
  chips = math.prod(int(n) for n in shape.split('x'))
  return Slice(name=name, chip=_FAMILIES[family][0], chips=chips)


def devices(slice_):
  """Descriptions of the slice's chips to compile for.

  Raises ValueError where libtpu, which holds the compiler, is not installed.
  """
  try:
    import libtpu  # noqa: F401
  except ImportError as e:
    raise ValueError(
      'libtpu, the compiler for TPUs, is not installed: pip install libtpu '
      '(no TPU is needed); best in an environment of its own, since JAX then '
      'looks for a TPU at every start'
    ) from e
  from jax.experimental import topologies

  # One device a chip; by default these families are two half-chips each.
  halved = slice_.name.startswith(('v4:', 'v5p:'))
  options = {'chip_config_name': 'megacore'} if halved else {}
  try:
    found = topologies.get_topology_desc(
      platform='tpu', topology_name=slice_.name, **options
    ).devices
  except (RuntimeError, jax.errors.JaxRuntimeError) as e:
    reason = str(e).strip().splitlines()[0][:200]
    raise ValueError(
      f'libtpu does not describe {slice_.name}: {reason}; is it as new as jax?'
    ) from e
  if len(found) != slice_.chips:
    raise ValueError(
      f'libtpu gives {len(found)} devices for the {slice_.chips} chips of '
      f'{slice_.name}; use a release of libtpu as new as jax'
    )
  return found
