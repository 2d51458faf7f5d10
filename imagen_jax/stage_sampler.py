"""Draws pictures with one stage of the cascade (sections 2.2 to 2.4).

Noise -> guided, thresholded denoiser -> sampler, for a super-resolution stage
on top of a low-res picture that is corrupted at the chosen aug_level and then
upsampled (appendix A.32). Everything runs at one compiled batch size, so that
a picture does not depend on its companions: XLA's results differ in the last
bits between batch sizes.

  text [n, l, d], mask [n, l], low_res uint8 [n, q, q, 3] -> uint8 [n, r, r, 3]
"""

import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax import stages
from imagen_jax.diffusion import (
  conditioning,
  grids,
  guidance,
  images,
  process,
  samplers,
  thresholding,
)

# Purposes of a picture's keys; the values are part of what a seed means.
_START, _AUGMENT, _STEPS = 0, 1, 2
# Grids are padded to a multiple of this many steps: one program for all.
_CAPACITY = 256
# Seconds between two reports of progress, about; segments grow towards it.
_REPORT_SECONDS = 0.5


def draw(
  stage,
  params,
  text,
  mask,
  *,
  seed,
  index,
  sampling,
  low_res=None,
  progress=None,
):
  """Draws n pictures with one stage, in batches of `stage.sampling.batch`.

  Args:
    stage: a `stages.Stage`.
    params: its weights.
    text: [n, l, d] float32, embeddings of the captions.
    mask: [n, l] bool.
    seed: int in [0, 2^32).
    index: [n] ints, each picture's number within its prompt. Seed, index,
      resolution and purpose alone make the keys.
    sampling: the `stages.Sampling` to use, but for its batch: that of the
      stage is part of what a seed means.
    low_res: uint8 [n, q, q, 3], for a super-resolution stage.
    progress: None, or called as progress(done, total) in network steps of all
      batches, at the start and at the borders of the segments.

  Returns:
    uint8 [n, r, r, 3].
  """
  n, batch = len(index), stage.sampling.batch
  size = stage.resolution
  pictures = np.zeros([n, size, size, 3], np.uint8)
  total = -(-n // batch) * sampling.steps
  for done, first in enumerate(range(0, n, batch)):
    rows = np.minimum(np.arange(first, first + batch), n - 1)  # last: padding
    report = progress and functools.partial(
      lambda before, step: progress(before + step, total),
      done * sampling.steps,
    )
    part = _draw_batch(
      stage,
      params,
      (text[rows], mask[rows]),
      (np.uint32(seed), np.asarray(index, np.int32)[rows]),
      None if low_res is None else low_res[rows],
      sampling,
      report,
    )
    pictures[first : first + batch] = part[: n - first]
  return pictures


def _draw_batch(stage, params, text, noise, low_res, sampling, report):
  """One compiled batch: uint8 [b, r, r, 3]."""
  if report:
    report(0)
  begin, run, finish = _programs(stage, _compiled_part(stage, sampling))
  steps = sampling.steps
  u = grids.fractions(steps, -(-steps // _CAPACITY) * _CAPACITY)
  carry, keys, levels, weights, condition = begin(
    *noise,
    u,
    np.int32(steps),
    np.float32(sampling.guidance),
    low_res,
    np.float32(sampling.aug_level),
  )
  condition |= {'text': text[0], 'mask': text[1]}
  inputs = (params, condition, levels, weights)
  step, length = 0, 1 if report else steps
  while step < steps:
    length = min(length, steps - step)
    before = time.monotonic()
    carry = run(carry, np.int32(step), np.int32(length), levels, keys, inputs)
    step += length
    if report:
      carry.z.block_until_ready()
      report(step)
      if time.monotonic() - before < _REPORT_SECONDS / 2:
        length *= 2
  pictures, finite = finish(carry.z)
  if not finite:
    raise FloatingPointError(
      f'stage {stage.name} drew a picture that is not finite; its weights or '
      'the settings of its sampler are broken'
    )
  return np.asarray(pictures)


def _compiled_part(stage, sampling):
  """`sampling` as far as the programs depend on it; the rest is traced."""
  guided = sampling.guidance != 1.0
  return dataclasses.replace(
    sampling,
    steps=1,
    guidance=2.0 if guided else 1.0,
    aug_level=0.0,
    batch=stage.sampling.batch,
  )


@functools.lru_cache(maxsize=64)
def _programs(stage, sampling):
  """The compiled begin, segment and finish; one set per stage and process."""
  run = samplers.compiled_segment(
    functools.partial(make_denoise, stage, sampling), step_function(sampling)
  )

  def begin(seed, index, u, steps, weight, low_res, aug_level):
    levels = grids.levels(spacing(sampling), stage.schedule, u, steps)
    weights = guidance_weights(sampling, levels, weight)
    z, keys, condition = _begin(stage, seed, index, low_res, aug_level)
    return samplers.start(z), keys, levels, weights, condition

  def finish(z):
    return images.to_uint8(z), jnp.all(jnp.isfinite(z))

  return jax.jit(begin), run, jax.jit(finish)


def _begin(stage, seed, index, low_res, aug_level):
  """Start noise, the keys of the steps, and what the low-res picture says."""
  # Named: a user's default kind of key must not change what a seed means.
  key = jax.random.key(seed, impl='threefry2x32')
  key = jax.random.fold_in(key, stage.resolution)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
  keys_for = jax.vmap(jax.random.fold_in, (0, None))

  def normal(keys, size):
    shape = (size, size, 3)
    return jax.vmap(lambda k: jax.random.normal(k, shape, jnp.float32))(keys)

  z = normal(keys_for(keys, _START), stage.resolution)
  condition = {}
  if stage.low_res is not None:
    low_res, aug_logsnr = conditioning.augment(
      images.to_float(low_res),
      jnp.full(index.shape, aug_level),
      normal(keys_for(keys, _AUGMENT), stage.low_res),
    )
    condition = {
      'low_res': conditioning.upsample(low_res, stage.resolution),
      'aug_logsnr': aug_logsnr,
    }
  return z, keys_for(keys, _STEPS), condition


def make_denoise(stage, sampling, inputs):
  """Network -> x0 -> guidance -> thresholding, composed."""
  params, condition, levels, weights = inputs
  network = stages.network(stage)

  def predict(z, logsnr, condition):
    prediction = network.apply({'params': params}, z, logsnr, **condition)
    return process.to_x0(prediction, z, logsnr, stage.prediction)

  text, mask = conditioning.null_text(condition['text'], condition['mask'])
  denoise = guidance.guided_batch(
    predict,
    condition,
    {**condition, 'text': text, 'mask': mask},
    _weight(sampling, levels, weights),
    finish_guidance(sampling),
  )
  threshold = threshold_function(sampling)
  return lambda z, logsnr: threshold(denoise(z, logsnr))


def step_function(sampling):
  """The sampler's step that a `stages.Sampling` names."""
  return {
    'ddpm': functools.partial(samplers.ddpm_step, gamma=sampling.gamma),
    'ddim': functools.partial(samplers.ddim_step, eta=sampling.eta),
    'dpmpp_2m': samplers.dpmpp_2m_step,
    'dpmpp_2m_sde': samplers.dpmpp_2m_sde_step,
    'heun': samplers.heun_step,
  }[sampling.sampler]


def spacing(sampling):
  """The spacing of the grid that it names: (schedule, u) -> logsnr."""
  return {
    'time': grids.uniform_time,
    'logsnr': grids.uniform_logsnr,
    'karras': grids.karras,
  }[sampling.grid]


def threshold_function(sampling):
  """The thresholding that it names: x0 -> x0."""
  return {
    'dynamic': functools.partial(
      thresholding.dynamic, percentile=sampling.percentile, cap=sampling.cap
    ),
    'static': thresholding.static,
    'none': lambda x0: x0,
  }[sampling.threshold]


def guidance_weights(sampling, levels, weight):
  """The weight at every level, where it says to guide at some only: [n]."""
  weights = guidance.constant(levels, weight)
  if sampling.oscillate_from is not None:
    weights = guidance.oscillating(levels, weights, sampling.oscillate_from)
  if sampling.guidance_range is not None:
    weights = guidance.interval(levels, weights, *sampling.guidance_range)
  return weights


def finish_guidance(sampling):
  """What it does after guidance and before thresholding; None = nothing."""
  if not sampling.rescale:
    return None
  return functools.partial(guidance.rescaled, mix=sampling.rescale)


def _weight(sampling, levels, weights):
  """A number where it is the same at all levels: half the program then."""
  if sampling.guidance == 1.0:
    return 1.0
  if sampling.oscillate_from is None and sampling.guidance_range is None:
    return weights[0]
  return guidance.at_levels(levels, weights)
