"""The compiled programs of a stage: one set serves every picture.

Weights, texts, seeds, levels and the weight of guidance are arguments: a
program depends on the shapes and on what changes its structure alone. Each
picture has keys of its own, made from (seed, resolution, index, purpose).

  begin   noise, levels, conditions
  run     some steps, of any number; run_all  all of a fixed number
  finish  uint8 [b, h, w, 3] and whether finite
  figures what thresholding and guidance do at a step
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from imagen_jax import stages
from imagen_jax.diffusion import (
  conditioning,
  grids,
  images,
  layouts,
  process,
  repainting,
)
from imagen_jax.sampling import bundles, denoising, loop, placement

# Purposes of a picture's keys; the values are part of what a seed means.
_START, _AUGMENT, _STEPS, _REPAINT = 0, 1, 2, 3


SEEDS = bundles.Seeds(seed=placement.ALL, index=placement.EACH)


class Numbers(NamedTuple):
  """What `begin` takes of a `stages.Sampling`, the same for all pictures."""

  fractions: jax.Array  # [m], of `grids.fractions`
  steps: jax.Array  # int32 []
  guidance: jax.Array  # float32 [], weight
  aug_level: jax.Array  # float32 []


class Programs(NamedTuple):
  """See the module's docstring and `make`."""

  begin: Callable
  run: Callable
  run_all: Callable
  finish: Callable
  figures: Callable


def compiled_part(stage, sampling):
  """`sampling` as far as the programs depend on it; the rest is traced."""
  guided = sampling.guidance != 1.0
  return dataclasses.replace(
    sampling,
    steps=1,
    guidance=2.0 if guided else 1.0,
    grid='whole' if stages.times(sampling) else sampling.grid,
    aug_level=0.0,
    margin=0,
    batch=stage.sampling.batch,
  )


@functools.lru_cache(maxsize=64)
def make(stage, sampling, size, resamples, mesh):
  """The `Programs`; one set per stage and process.

  Args:
    stage: a `stages.Stage`.
    sampling: of `compiled_part`.
    size: (h, w) of the pictures.
    resamples: as of `bundles.Edit`; None = nothing is repainted.
    mesh: of `placement.make_mesh`.
  """
  everywhere, each = placement.ALL, placement.EACH
  shared = denoising.Inputs(
    condition=each,
    null=each,
    levels=everywhere,
    weights=everywhere,
    known=each,
    mask=each,
    keys=each,
  )

  def make_step(inputs):
    step, inputs = denoising.step_function(sampling), inputs[1]
    if resamples is None:
      return step
    return repainting.repaint_step(
      step, inputs.known, inputs.mask, inputs.keys, inputs.levels, resamples
    )

  def make_denoise(inputs):
    return denoising.make_denoise(stage, sampling, *inputs)

  def over_devices(*numbers):
    """Of the carry, these numbers, keys, and weights with their inputs."""
    specs = (each, *numbers, each, (everywhere, shared))
    return lambda run: placement.spread(run, mesh, specs, each)

  run = loop.compiled_segment(
    make_denoise,
    make_step,
    over_devices(everywhere, everywhere, everywhere),
  )
  run_all = loop.compiled_scan(
    make_denoise, make_step, over_devices(everywhere)
  )

  def begin(params, seeds, conditions, numbers, start, kept):
    """As of `stage_sampler`: (carry, keys, levels, inputs)."""
    spacing = denoising.spacing(sampling)
    levels = grids.levels(
      spacing, stage.schedule, numbers.fractions, numbers.steps
    )
    keys = functools.partial(_keys, _picture_keys(stage, seeds))
    z = placement.cut_rows(_normal(keys(_START), size), mesh)
    if start is not None:
      z = process.add_noise(images.to_float(start), z, levels[0])
    condition, null = _texts(stage, params, conditions)
    for name, (told, untold) in _pictures(
      stage, conditions, numbers.aug_level, keys(_AUGMENT), size
    ).items():
      condition[name] = _cut(told, mesh)
      null[name] = _cut(untold, mesh)
    known = {}
    if kept is not None:
      picture, mask = kept
      known = {
        'known': images.to_float(picture),
        'mask': jnp.float32(mask)[..., None],
        'keys': keys(_REPAINT),
      }
    inputs = denoising.Inputs(
      condition=condition,
      null=null,
      levels=levels,
      weights=denoising.guidance_weights(sampling, levels, numbers.guidance),
      **known,
    )
    return loop.start(z), keys(_STEPS), levels, inputs

  def finish(z):
    return images.to_uint8(z), jnp.all(jnp.isfinite(z), axis=(1, 2, 3))

  begin = placement.spread(
    begin,
    mesh,
    (everywhere, SEEDS, each, everywhere, each, each),
    (each, each, everywhere, shared),
  )

  def figures(z, step, params, inputs):
    say = denoising.make_figures(stage, sampling, params, inputs)
    return say(z, jnp.full(z.shape[0], inputs.levels[step]))

  finish = placement.spread(finish, mesh, (each,), (each, each))
  figures = placement.spread(
    figures, mesh, (each, everywhere, everywhere, shared), each
  )
  return Programs(
    jax.jit(begin), run, run_all, jax.jit(finish), jax.jit(figures)
  )


def _picture_keys(stage, seeds):
  """A key for each picture, [b]."""
  # Named: a user's default kind of key must not change what a seed means.
  key = jax.random.key(seeds.seed, impl='threefry2x32')
  key = jax.random.fold_in(key, stage.resolution)
  return jax.vmap(jax.random.fold_in, (None, 0))(key, seeds.index)


def _keys(keys, purpose):
  return jax.vmap(jax.random.fold_in, (0, None))(keys, purpose)


def _normal(keys, size):
  shape = (*size, 3)
  return jax.vmap(lambda k: jax.random.normal(k, shape, jnp.float32))(keys)


def _texts(stage, params, conditions):
  """What the network makes of the caption, and of what is led away from."""
  text = conditions.text, conditions.mask
  null = conditions.negative
  null = conditioning.null_text(*text) if null is None else null
  return tuple(
    {'text': stages.text_context(stage, params, *t), 'mask': t[1]}
    for t in (text, null)
  )


def _pictures(stage, conditions, aug_level, keys, size):
  """Conditions that lie on the picture: {name: (told, where text is not)}.

  The low-res picture, corrupted and upsampled, and how noisy it is; the map of
  the boxes, of which guidance leads away as of the text.
  """
  found = {}
  if conditions.low_res is not None:
    low_res = conditions.low_res
    noise = stages.noise_size(stage, low_res.shape[1:3], size)
    told = stages.low_res_inputs(
      stage,
      images.to_float(low_res),
      jnp.full(low_res.shape[0], aug_level),
      _normal(keys, noise),
      size,
    )
    found = {name: (x, x) for name, x in told.items()}
  if stage.layout is not None:
    scale = stage.layout.cells / stage.resolution
    cells = tuple(round(n * scale) for n in size)
    if conditions.boxes is None:
      shape = (len(conditions.text), *cells, stage.layout.channels)
      told = jnp.zeros(shape)
    else:
      told = layouts.to_map(stage.layout, conditions.boxes, cells)
    found['layout'] = told, jnp.zeros_like(told)
  return found


def _cut(x, mesh):
  return placement.cut_rows(x, mesh) if x.ndim == 4 else x
