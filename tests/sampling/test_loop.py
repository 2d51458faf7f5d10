"""The scan and the segmented loop: one step function, one result."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax import stages
from imagen_jax.diffusion import grids, process, schedules
from imagen_jax.sampling import (
  bundles,
  denoising,
  loop,
  stage_programs,
  stage_sampler,
)
from tests.support import tiny_cascade

STEPS = 7
KERNEL = np.random.default_rng(9).standard_normal((3, 3, 3, 3)) / 3
TEXT = jnp.linspace(-1, 1, 3)
Z = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)


def _denoise(sampling):
  """A small convolution of v, thresholded as `sampling` says."""
  threshold = denoising.threshold_function(sampling)

  def denoise(z, logsnr):
    y = jax.lax.conv_general_dilated(
      z,
      jnp.float32(KERNEL),
      window_strides=(1, 1),
      padding='SAME',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    v = jnp.tanh(y + TEXT + 0.1 * process.broadcast(logsnr, z))
    return threshold(2 * process.to_x0(v, z, logsnr, 'v'))

  return denoise


def _grid(steps, capacity=None):
  grid = grids.grid(grids.uniform_time, schedules.Cosine(), steps, capacity)
  return jnp.asarray(grid)


def _keys():
  return jax.vmap(jax.random.key)(jnp.arange(2))


@pytest.mark.parametrize('threshold', stages.THRESHOLDS)
@pytest.mark.parametrize('sampler', stages.SAMPLERS)
def test_both_loops_agree_for_every_solver_and_threshold(sampler, threshold):
  sampling = stages.Sampling(sampler=sampler, threshold=threshold, gamma=0.3)
  make = (
    lambda inputs: _denoise(sampling),
    lambda inputs: denoising.step_function(sampling),
  )
  whole = loop.compiled_scan(*make)(
    loop.start(jnp.asarray(Z)), _grid(STEPS), _keys(), None
  )
  program = loop.compiled_segment(*make)
  carry = loop.start(jnp.asarray(Z))
  for i, length in ((0, 2), (2, 4), (6, 9)):
    carry = program(carry, i, length, _grid(STEPS, 12), _keys(), None)
  scale = float(jnp.abs(carry.z).max())
  assert np.isfinite(scale) and scale > 0.3
  for a, b in zip(whole, carry, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5 * scale)


def test_rows_are_the_steps_of_the_grid():
  levels = jnp.float32([-4, -1, 2, 5, jnp.inf, jnp.inf])
  table = loop.rows(levels)
  assert table.last.tolist() == [False, False, True, False, False]
  np.testing.assert_array_equal(table.levels.before[:3], [-4, -4, -1])
  np.testing.assert_array_equal(table.levels.now[:3], [-4, -1, 2])
  np.testing.assert_array_equal(table.levels.next[:3], [-1, 2, 2])
  np.testing.assert_array_equal(table.i, range(5))


def test_a_scan_is_one_loop_of_a_known_length():
  sampling = stages.Sampling()
  step = denoising.step_function(sampling)
  program = jax.make_jaxpr(
    lambda z, keys: loop.sample(_denoise(sampling), z, _grid(5), step, keys)
  )(Z, _keys())
  found = [e for e in program.eqns if e.primitive.name == 'scan']
  assert [e.params['length'] for e in found] == [5]


# Whole stages: what is drawn where nobody looks, as if on an accelerator.


@pytest.fixture(scope='module')
def drawn():
  stage = tiny_cascade.stage(8)
  stage = dataclasses.replace(
    stage, sampling=dataclasses.replace(stage.sampling, steps=6, guidance=2.0)
  )
  rng = np.random.default_rng(3)
  text = rng.standard_normal((3, tiny_cascade.LENGTH, tiny_cascade.WIDTH))
  mask = np.ones((3, tiny_cascade.LENGTH), bool)
  picture = rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
  params = tiny_cascade.random_params(stage)

  def draw(observer=bundles.NOBODY, devices=bundles.ANY, edit=None):
    return stage_sampler.draw(
      stage,
      params,
      stage.sampling,
      bundles.Conditions(text=np.float32(text), mask=mask),
      bundles.Seeds(seed=3, index=range(3)),
      canvas=bundles.Canvas(edit=edit),
      devices=devices,
      observer=observer,
    )

  return draw, picture


@pytest.mark.parametrize('kind', ['noise', 'edit', 'mask', 'devices'])
def test_a_stage_draws_the_same_by_a_scan(drawn, kind, monkeypatch):
  draw, picture = drawn
  mask = np.zeros(picture.shape[:3], bool)
  mask[:, 2:6] = True
  how = {
    'noise': {},
    'edit': {'edit': bundles.Edit(picture=picture, strength=0.5)},
    'mask': {'edit': bundles.Edit(picture=picture, mask=mask, resamples=2)},
    'devices': {'devices': bundles.Devices(devices=jax.devices()[:2])},
  }[kind]
  calls = []
  scan = loop.scan
  stage_programs.make.cache_clear()  # so that the programs are traced here
  monkeypatch.setattr(
    loop, 'scan', lambda *args: calls.append(args) or scan(*args)
  )
  expected = draw(**how)
  assert not calls
  monkeypatch.setattr(stage_sampler, 'SCANNING', ('cpu',))
  found = draw(**how)
  assert calls
  difference = np.abs(np.int32(found) - np.int32(expected))
  assert difference.max() <= 1 and found.std() > 10


def test_who_looks_between_the_steps_gets_the_segments(drawn, monkeypatch):
  draw, _ = drawn
  monkeypatch.setattr(stage_sampler, 'SCANNING', ('cpu',))
  seen = []
  observer = bundles.Observer(progress=lambda *told: seen.append(told))
  looked = draw(observer)
  assert seen[0] == (0, seen[-1][1]) and len(seen) > 3
  difference = np.abs(np.int32(looked) - np.int32(draw()))
  assert difference.max() <= 1
