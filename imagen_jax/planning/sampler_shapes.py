"""A stage's sampler on devices that are not there: its programs and shapes.

  text [b, l, d], mask [b, l], low_res uint8 [b, h / f, w / f, 3]

The programs are those of `stage_programs`, given shapes in the place of arrays:
`plan` compiles them for chips that nobody has rented yet.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from imagen_jax import stages
from imagen_jax.diffusion import layouts
from imagen_jax.sampling import (
  bundles,
  denoising,
  loop,
  placement,
  stage_programs,
  stage_sampler,
)

_ALL, _EACH = placement.ALL, placement.EACH


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampler:
  """Traced programs, in the order in which a batch of pictures meets them."""

  programs: dict  # name -> what `jax.jit(f).trace(...)` gives
  params: dict  # shapes, each with its sharding
  carry: loop.Carry  # the same: the pictures between two steps
  pictures: int  # drawn at once, by all devices


def trace(stage, devices, cut=False):
  """The `Sampler` of whole pictures on these devices, as the stage says.

  Args:
    stage: a `stages.Stage`.
    devices: each draws a batch of the stage's.
    cut: whether they share the rows of one batch instead.
  """
  mesh = placement.make_mesh(devices, cut)
  size = (stage.resolution, stage.resolution)
  programs = stage_programs.make(
    stage,
    stage_programs.compiled_part(stage, stage.sampling),
    size,
    None,
    mesh,
  )
  pictures = stage.sampling.batch * (1 if cut else len(devices))

  def of_rows(x):
    """As `placement.cut_rows` leaves pictures; all else is whole."""
    whole = len(x.shape) != 4 or x.shape[1:3] != size
    return PartitionSpec() if whole else PartitionSpec(None, 'rows')

  def placed(specs, shapes):
    """Shapes with the sharding of their spec, given for whole subtrees."""

    def leaf(spec, x):
      sharding = SingleDeviceSharding(devices[0])
      if mesh is not None:
        sharding = NamedSharding(mesh, of_rows(x) if cut else spec)
      return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree.map(
      lambda spec, tree: jax.tree.map(lambda x: leaf(spec, x), tree),
      specs,
      shapes,
      is_leaf=lambda x: isinstance(x, PartitionSpec),
    )

  params = placed(_ALL, stages.param_shapes(stage))
  given = placed((stage_programs.SEEDS, _EACH, _ALL), _given(stage, pictures))
  begin = programs.begin.trace(params, *given, None, None)
  shared = denoising.Inputs(
    condition=_EACH, null=_EACH, levels=_ALL, weights=_ALL
  )
  carry, keys, levels, inputs = placed(
    (_EACH, _EACH, _ALL, shared), tuple(begin.out_info)
  )
  whole = placed(_ALL, jax.ShapeDtypeStruct((), jnp.int32))
  run = programs.run.trace(carry, whole, whole, levels, keys, (params, inputs))
  finish = programs.finish.trace(carry.z)
  return Sampler(
    programs={'begin': begin, 'run': run, 'finish': finish},
    params=params,
    carry=carry,
    pictures=pictures,
  )


def _given(stage, pictures):
  """Shapes of what `begin` is given after the parameters, an edit apart."""

  def shape(*dimensions, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dimensions, dtype)

  seeds = bundles.Seeds(
    seed=shape(dtype=jnp.uint32), index=shape(pictures, dtype=jnp.int32)
  )
  low_res = boxes = None
  if stage.low_res is not None:
    low_res = shape(pictures, stage.low_res, stage.low_res, 3, dtype=jnp.uint8)
  if stage.layout is not None:
    boxes = shape(pictures, stage.layout.boxes, layouts.NUMBERS)
  conditions = bundles.Conditions(
    text=shape(pictures, stage.max_length, stage.text_width),
    mask=shape(pictures, stage.max_length, dtype=jnp.bool_),
    low_res=low_res,
    boxes=boxes,
  )
  numbers = stage_programs.Numbers(
    fractions=shape(*stage_sampler.fractions(stage.sampling, 1).shape),
    steps=shape(dtype=jnp.int32),
    guidance=shape(),
    aug_level=shape(),
  )
  return seeds, conditions, numbers
