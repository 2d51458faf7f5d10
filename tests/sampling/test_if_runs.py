"""Whole runs of IF's pipelines with given noise, against stock diffusers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax import stages
from imagen_jax.diffusion import grids, samplers
from imagen_jax.sampling import denoising, stage_sampler
from tests.support import if_tiny

_TOLERANCE = 2e-3


@functools.cache
def _denoise(name, guided):
  """(z, logsnr, w, inputs) -> Denoised, not thresholded, compiled."""
  stage, params = if_tiny.stage(name)
  sampling = dataclasses.replace(
    stage.sampling,
    guidance=2.0 if guided else 1.0,
    threshold='none',
    cap=None,
    gamma=None,
  )

  @jax.jit
  def denoise(z, logsnr, weight, condition, null):
    inputs = denoising.Inputs(
      condition=condition,
      null=null,
      levels=logsnr[:1],
      weights=jnp.full(1, weight),
    )
    return denoising.make_denoise(stage, sampling, params, inputs)(z, logsnr)

  return denoise


def _texts(rows):
  text = if_tiny.arrays('stage1', 'text')['embeds'][rows]
  return {'text': text, 'mask': np.ones(text.shape[:2], bool)}


def _run(name, run, sampling, condition, null, repeat=1):
  """The pictures of a stored run, [b, h, w, 3]."""
  stage, _ = if_tiny.stage(name)
  stored = if_tiny.arrays(name, 'runs')

  def given(key):
    """In batches of one shape, so that few programs are compiled."""
    return np.repeat(if_tiny.ours(stored[f'{run}/{key}']), repeat, axis=-4)

  times = [int(t) for t in stored[f'{run}/timesteps']]
  weight = float(stored[f'{run}/guidance'])
  levels = [stage.schedule.at(float(t)) for t in times]
  z, noise = given('init_noise'), given('step_noise')
  threshold = denoising.threshold_function(sampling)
  step = denoising.step_function(sampling)
  for i, now in enumerate(levels):
    denoise = _denoise(name, weight > 1)
    x0, f = denoise(z, jnp.full(len(z), now), weight, condition, null)
    x0 = threshold(x0)
    if i + 1 == len(levels):
      break
    at = samplers.Levels(before=now, now=now, next=levels[i + 1])
    said = samplers.Denoised(x0, f) if sampling.gamma is None else x0
    z = samplers.take(step, z, said, None, at, noise[i], None)
  return x0, given('image')


@pytest.mark.parametrize(
  'run', ['guided', 'negative', 'unguided', 'late', 'fixed_small']
)
def test_a_base_s_run(run):
  stage, _ = if_tiny.stage('stage1')
  sampling = stage.sampling
  if run == 'fixed_small':
    sampling = dataclasses.replace(
      sampling, gamma=0.0, threshold='static', cap=None
    )
  stored = if_tiny.arrays('stage1', 'runs')
  rows, negative = (stored[f'{run}/{k}'] for k in ('rows', 'negative_rows'))
  repeat = 2 // len(rows)
  found, expected = _run(
    'stage1',
    run,
    sampling,
    _texts(np.repeat(rows, repeat)),
    _texts(np.repeat(negative, repeat)),
    repeat,
  )
  np.testing.assert_allclose(found, expected, atol=_TOLERANCE)


@pytest.mark.parametrize('run', ['chain', 'rect'])
def test_super_resolution_s_run(run):
  stage, _ = if_tiny.stage('stage2')
  stored = if_tiny.arrays('stage2', 'runs')
  low_res = stages.low_res_inputs(
    stage,
    if_tiny.ours(stored[f'{run}/low_res']),
    jnp.full(1, stored[f'{run}/level'] / 1000),
    if_tiny.ours(stored[f'{run}/low_res_noise']),
    stored[f'{run}/init_noise'].shape[-2:],
  )
  found, expected = _run(
    'stage2', run, stage.sampling, low_res | _texts([0]), low_res | _texts([4])
  )
  np.testing.assert_allclose(found, expected, atol=_TOLERANCE)


def test_times_of_a_list_are_the_levels_of_a_run():
  stage, _ = if_tiny.stage('stage1')
  for grid, steps, expected in (
    ('whole', 4, [750, 500, 250, 0]),
    ('999:572:142:0', 4, [999, 572, 142, 0]),
    ('fast27', 27, None),
  ):
    sampling = dataclasses.replace(stage.sampling, grid=grid, steps=steps)
    u = stage_sampler.fractions(sampling, steps)
    levels = grids.levels(denoising.spacing(sampling), stage.schedule, u, steps)
    assert np.isfinite(levels).sum() == steps + 1
    times = stage.schedule.time(levels[:steps])
    np.testing.assert_array_equal(times, expected or stages.times(sampling))


def test_the_last_steps_of_an_edit_are_the_last_times():
  stage, _ = if_tiny.stage('stage1')
  sampling = dataclasses.replace(stage.sampling, grid='whole', steps=10)
  u = stage_sampler.fractions(sampling, 3)
  np.testing.assert_array_equal(u[:4], [200, 100, 0, 0])


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'grid': 'smart27', 'steps': 26}, 'lists 27 times, steps is 26; set'),
    ({'grid': '5:9'}, 'whole numbers that fall'),
    ({'grid': 'odd'}, "grid 'odd' is not one of"),
    ({'gamma': 1.5}, r'gamma is 1.5; it must lie in \[0, 1\], or be off'),
  ],
)
def test_settings_that_cannot_be(changes, message):
  with pytest.raises(ValueError, match=message):
    stages.Sampling(**changes)
