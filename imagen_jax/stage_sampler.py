"""Draws pictures with one stage of the cascade (sections 2.2 to 2.4).

Noise -> guided, thresholded denoiser -> sampler, for a super-resolution stage
on top of a low-res picture that is corrupted at the chosen aug_level and then
upsampled (appendix A.32). Everything runs at one compiled batch size, so that
a picture does not depend on its companions: XLA's results differ in the last
bits between batch sizes.

  text [n, l, d], mask [n, l], low_res uint8 [n, q, q, 3] -> uint8 [n, r, r, 3]
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax import stages
from imagen_jax.diffusion import (
  conditioning,
  guidance,
  images,
  process,
  samplers,
  thresholding,
)

# Purposes of a picture's keys; the values are part of what a seed means.
_START, _AUGMENT, _STEPS = 0, 1, 2
# Grids are padded to a multiple of this many steps: one program for all.
_GRID = 256
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
    sampling: a `stages.Sampling` whose steps, guidance and aug_level are used.
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
  guided = sampling.guidance != 1.0
  begin, run, finish = _programs(stage, guided)
  times, steps = _times(sampling.steps), np.int32(sampling.steps)
  carry, keys, grid, condition = begin(
    *noise, times, steps, low_res, np.float32(sampling.aug_level)
  )
  condition |= {'text': text[0], 'mask': text[1]}
  inputs = (params, condition, np.float32(sampling.guidance))
  step, length = 0, 1 if report else sampling.steps
  while step < sampling.steps:
    length = min(length, sampling.steps - step)
    before = time.monotonic()
    carry = run(carry, np.int32(step), np.int32(length), grid, keys, inputs)
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


@functools.lru_cache(maxsize=64)
def _programs(stage, guided):
  """The compiled begin, segment and finish; one set per stage and process."""
  run = samplers.compiled_segment(
    functools.partial(_make_denoise, stage, guided), step_function(stage)
  )

  def begin(seed, index, times, steps, low_res, aug_level):
    grid = jnp.where(
      jnp.arange(times.shape[0]) <= steps, stage.schedule(times), jnp.inf
    )
    z, keys, condition = _begin(stage, seed, index, low_res, aug_level)
    return samplers.start(z), keys, grid, condition

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


def _make_denoise(stage, guided, inputs):
  """Network -> x0 -> guidance -> thresholding, composed."""
  params, condition, weight = inputs
  network = stages.network(stage)

  def predict(z, logsnr, condition):
    prediction = network.apply({'params': params}, z, logsnr, **condition)
    return process.to_x0(prediction, z, logsnr, stage.prediction)

  text, mask = conditioning.null_text(condition['text'], condition['mask'])
  denoise = guidance.guided_batch(
    predict,
    condition,
    {**condition, 'text': text, 'mask': mask},
    weight if guided else 1.0,
  )
  threshold = threshold_function(stage)
  return lambda z, logsnr: threshold(denoise(z, logsnr))


def step_function(stage):
  """The sampler's step that `stage.sampling` names."""
  return {
    'ddpm': functools.partial(samplers.ddpm_step, gamma=stage.sampling.gamma),
    'ddim': samplers.ddim_step,
    'dpmpp_2m': samplers.dpmpp_2m_step,
  }[stage.sampling.sampler]


def threshold_function(stage):
  """The thresholding that `stage.sampling` names: x0 -> x0."""
  percentile = stage.sampling.percentile
  return {
    'dynamic': lambda x0: thresholding.dynamic(x0, percentile),
    'static': thresholding.static,
    'none': lambda x0: x0,
  }[stage.sampling.threshold]


def _times(steps):
  """Times of the steps' borders, padded with 0 to few lengths: [m]."""
  padded = np.zeros(-(-steps // _GRID) * _GRID + 1, np.float32)
  padded[: steps + 1] = np.linspace(1.0, 0.0, steps + 1)
  return padded
