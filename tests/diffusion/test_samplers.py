"""Samplers: known solutions, the ends of the schedule, one program for all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.diffusion import (
  grids,
  process,
  samplers,
  schedules,
  thresholding,
)
from imagen_jax.sampling import loop

STEPS = [samplers.ddpm_step, samplers.ddim_step, samplers.dpmpp_2m_step]


def _keys(b, seed=0):
  return jax.vmap(jax.random.key)(jnp.arange(b) + seed)


def _z(b=3, side=4, seed=0):
  rng = np.random.default_rng(seed)
  return rng.standard_normal((b, side, side, 3)).astype(np.float32)


# Data whose best denoiser is known: pixels ~ N(MEAN, DEVIATION^2).

MEAN, DEVIATION = 0.3, 0.25


def _gaussian_denoise(z, logsnr):
  alpha, sigma = process.alpha_sigma(process.broadcast(logsnr, z))
  variance = DEVIATION**2
  gain = alpha * variance / (alpha**2 * variance + sigma**2)
  return MEAN + gain * (z - alpha * MEAN)


def _flow_end(z, logsnr):
  """Where the probability flow from z at `logsnr` ends at clean, exactly."""
  alpha2, sigma2 = 1 / (1 + np.exp(-logsnr)), 1 / (1 + np.exp(logsnr))
  deviation = np.sqrt(alpha2 * DEVIATION**2 + sigma2)
  return MEAN + DEVIATION * (z - np.sqrt(alpha2) * MEAN) / deviation


@pytest.mark.parametrize(
  'step, order, error',
  [
    (samplers.ddim_step, 1, 0.02),
    (samplers.dpmpp_2m_step, 2, 5e-4),
    (samplers.heun_step, 2, 1e-3),
  ],
)
def test_order_of_convergence_to_the_probability_flow(step, order, error):
  z = _z().astype(np.float64)
  program = loop.compiled_segment(
    lambda inputs: _gaussian_denoise, lambda inputs: step
  )
  errors = []
  for steps in (32, 64, 128):
    grid = np.full(129, np.inf)
    grid[: steps + 1] = np.linspace(-10, 14, steps + 1)
    with jax.enable_x64(True):
      got = _run(program, z, grid, _keys(3), None, 128)
    errors.append(np.abs(got - _flow_end(z, -10.0)).max())
  rates = np.log2(np.array(errors[:-1]) / errors[1:])
  np.testing.assert_allclose(rates, order, atol=0.25)
  assert errors[-1] < error


@jax.jit
def _gaussian_ddpm(z, grid, keys, gamma):
  step = functools.partial(samplers.ddpm_step, gamma=gamma)
  return loop.sample(_gaussian_denoise, z, grid, step, keys)


def _gaussian_ddpm_moments(logsnr, gamma):
  """Mean and deviation of what `_gaussian_ddpm` draws, in float64.

  Every step is linear: x0 = gain z + shift and z_s = a z + b x0 + noise.
  """
  alpha2, sigma2 = 1 / (1 + np.exp(-logsnr)), 1 / (1 + np.exp(logsnr))
  alpha = np.sqrt(alpha2)
  gain = alpha * DEVIATION**2 / (alpha2 * DEVIATION**2 + sigma2)
  shift = MEAN - gain * alpha * MEAN
  mean, variance = 0.0, 1.0
  for i in range(len(logsnr) - 2):
    r = np.exp(logsnr[i] - logsnr[i + 1])
    a, b = r * alpha[i + 1] / alpha[i], (1 - r) * alpha[i + 1]
    mean = (a + b * gain[i]) * mean + b * shift[i]
    noise = (1 - r) * sigma2[i + 1] ** (1 - gamma) * sigma2[i] ** gamma
    variance = (a + b * gain[i]) ** 2 * variance + noise
  return gain[-2] * mean + shift[-2], gain[-2] * np.sqrt(variance)


@pytest.mark.parametrize('gamma', [0.0, 0.3, 1.0])
def test_ddpm_draws_the_data(gamma):
  grid = np.asarray(grids.grid(grids.uniform_time, schedules.Cosine(), 24))
  mean, deviation = _gaussian_ddpm_moments(np.float64(grid), gamma)
  z = _z(4, 64)
  got = _gaussian_ddpm(z, grid, _keys(4), gamma)
  n = got.size
  np.testing.assert_allclose(got.mean(), mean, atol=4 * deviation / n**0.5)
  np.testing.assert_allclose(got.std(), deviation, rtol=4 / (2 * n) ** 0.5)
  # And that is near the data already at 24 steps.
  assert abs(mean - MEAN) < 0.01 and abs(deviation - DEVIATION) < 0.06


def test_sde_steps_draw_the_data():
  step = samplers.dpmpp_2m_sde_step
  grid = grids.grid(grids.uniform_logsnr, schedules.Cosine(), 48)
  run = jax.jit(
    lambda z, keys: loop.sample(_gaussian_denoise, z, grid, step, keys)
  )
  got = run(_z(4, 64), _keys(4))
  # Four standard errors, and what 48 steps leave.
  np.testing.assert_allclose(got.mean(), MEAN, atol=0.01)
  np.testing.assert_allclose(got.std(), DEVIATION, rtol=0.05)


def test_ddim_with_eta_one_is_ddpm_with_gamma_zero():
  z, x0, noise = _z(), _z(seed=1), _z(seed=2)
  levels = samplers.Levels(*jnp.float32([-3.0, -2.0, 0.5]))
  ddim = samplers.ddim_step(z, x0, None, levels, noise, None, eta=1.0)
  ddpm = samplers.ddpm_step(z, x0, None, levels, noise, None, gamma=0.0)
  np.testing.assert_allclose(ddim, ddpm, atol=1e-6)


def test_heun_calls_the_network_once_in_the_last_step():
  levels = []

  def denoise(z, logsnr):
    jax.debug.callback(lambda x: levels.append(float(x)), logsnr[0])
    return 0.5 * z

  grid = jnp.float32([-4, -1, 2, 20])
  loop.sample(denoise, jnp.asarray(_z()), grid, samplers.heun_step, _keys(3))
  jax.effects_barrier()
  assert sorted(levels) == [-4, -1, -1, 2, 2]


# The ends of the schedule. Again one program for each sampler.


def _make_extreme(inputs):
  """A network by kind: perfect for a data set of one picture, or untrained."""

  def denoise(z, logsnr):
    alpha, sigma = process.alpha_sigma(process.broadcast(logsnr, z))
    x0 = inputs['x0']
    eps = (z - alpha * x0) / sigma
    perfect = {'eps': eps, 'v': alpha * eps - sigma * x0, 'x0': x0}
    untrained = 0.1 * jnp.sin(3 * z)
    said = [
      process.to_x0(
        jnp.where(inputs['perfect'], perfect[k], untrained), z, logsnr, k
      )
      for k in process.KINDS
    ]
    x0 = jnp.stack(said)[inputs['kind']]
    return jnp.where(inputs['perfect'], x0, thresholding.dynamic(x0))

  return denoise


@functools.cache
def _extreme_program(step):
  return loop.compiled_segment(_make_extreme, lambda inputs: step)


def _sample_extreme(step, kind, steps, x0, perfect):
  grid = _grid(steps, capacity=40)
  assert grid[0] == -20
  inputs = {
    'x0': x0,
    'kind': process.KINDS.index(kind),
    'perfect': np.array(perfect),
  }
  return _run(_extreme_program(step), _z(), grid, _keys(3), inputs, 40)


@pytest.mark.parametrize('steps', [1, 2, 40])
@pytest.mark.parametrize('kind', process.KINDS)
@pytest.mark.parametrize('step', STEPS)
def test_one_picture_is_recovered_from_logsnr_minus_20(step, kind, steps):
  x0 = np.clip(_z(seed=5), -1, 1)
  got = _sample_extreme(step, kind, steps, x0, perfect=True)
  # At logsnr -20 alpha is 4.5e-5: float32 noise in eps is 3e-3 in x0.
  tolerance = 2e-2 if kind == 'eps' and steps == 1 else 2e-4
  np.testing.assert_allclose(got, x0, atol=tolerance)


@pytest.mark.parametrize('kind', process.KINDS)
@pytest.mark.parametrize('step', STEPS)
def test_untrained_networks_stay_finite(step, kind):
  got = _sample_extreme(step, kind, 37, np.zeros_like(_z()), perfect=False)
  assert np.all(np.isfinite(got)) and np.abs(got).max() <= 1


# One program for all segments, numbers of steps and schedules.

STEPS_COMPILED = 12


def _network(inputs):
  """A small convolution, so that segments are more than elementwise."""

  def denoise(z, logsnr):
    y = jax.lax.conv_general_dilated(
      z,
      inputs['kernel'],
      window_strides=(1, 1),
      padding='SAME',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    v = jnp.tanh(y + inputs['text'] + 0.1 * process.broadcast(logsnr, z))
    return thresholding.dynamic(process.to_x0(v, z, logsnr, 'v'))

  return denoise


def _inputs(b=3):
  rng = np.random.default_rng(9)
  return {
    'kernel': rng.standard_normal((3, 3, 3, 3)).astype(np.float32) / 3,
    'text': rng.standard_normal((b, 1, 1, 3)).astype(np.float32),
  }


@functools.cache
def _network_program(step):
  return loop.compiled_segment(_network, lambda inputs: step)


def _grid(steps, schedule=None, capacity=STEPS_COMPILED):
  schedule = schedules.Cosine() if schedule is None else schedule
  return np.asarray(grids.grid(grids.uniform_time, schedule, steps, capacity))


def _run(program, z, grid, keys, inputs, length):
  """All steps in segments of `length`."""
  carry = loop.start(jnp.asarray(z))
  for i in range(0, len(grid) - 1, length):
    carry = program(carry, i, length, grid, keys, inputs)
  return np.asarray(carry.z)


@pytest.mark.parametrize('step', STEPS)
def test_segments_are_one_program_and_equal_one_run(step):
  program = _network_program(step)
  whole = _run(program, _z(), _grid(11), _keys(3), _inputs(), 11)
  for length in (1, 3, 4, 50):
    pieces = _run(program, _z(), _grid(11), _keys(3), _inputs(), length)
    np.testing.assert_array_equal(pieces, whole)
  for other in (_grid(10), _grid(11, schedules.LinearBeta())):
    assert np.any(_run(program, _z(), other, _keys(3), _inputs(), 4) != whole)
  assert program._cache_size() == 1  # all of the above


def test_segments_equal_the_unsegmented_sample():
  @jax.jit
  def unsegmented(z, grid, keys, inputs):
    step = samplers.ddpm_step
    return loop.sample(_network(inputs), z, grid, step, keys)

  # Without padding: the capacity does not matter either.
  exact = _grid(11, capacity=11)
  whole = unsegmented(_z(), exact, _keys(3), _inputs())
  program = _network_program(samplers.ddpm_step)
  pieces = _run(program, _z(), _grid(11), _keys(3), _inputs(), 4)
  np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize(
  'schedule', [schedules.Cosine(), schedules.LinearBeta()]
)
def test_the_last_step_returns_the_x_prediction(schedule):
  program = _network_program(samplers.ddpm_step)
  steps = 6
  grid = _grid(steps, schedule)
  carry = loop.start(jnp.asarray(_z()))
  carry = program(carry, 0, steps - 1, grid, _keys(3), _inputs())
  # The network is called at t = 1 / steps, not at the end of the grid.
  level = jnp.full(3, grid[steps - 1])
  expected = _network(_inputs())(carry.z, level)
  carry = program(carry, steps - 1, 1, grid, _keys(3), _inputs())
  np.testing.assert_allclose(carry.z, expected, atol=1e-5)
  np.testing.assert_array_equal(carry.z, carry.x0)
  # Nothing is left to do.
  after = np.array(carry.z)
  carry = program(carry, steps, 5, grid, _keys(3), _inputs())
  np.testing.assert_array_equal(carry.z, after)


def test_first_step_of_dpmpp_2m_is_ddim():
  first = [
    _network_program(step)(
      loop.start(jnp.asarray(_z())), 0, 1, _grid(6), _keys(3), _inputs()
    )
    for step in (samplers.ddim_step, samplers.dpmpp_2m_step)
  ]
  np.testing.assert_allclose(first[0].z, first[1].z, atol=1e-6)


def test_the_carry_is_donated_and_previews():
  program = _network_program(samplers.ddim_step)
  carry = loop.start(jnp.asarray(_z()))
  after = program(carry, 0, 2, _grid(6), _keys(3), _inputs())
  assert carry.z.is_deleted() and carry.x0.is_deleted()
  assert np.abs(after.x0).max() <= 1 and np.any(after.x0 != after.z)


# A picture depends on its own key alone.


def test_noise_is_normal_of_the_folded_key():
  keys = _keys(4)
  noise = samplers.draw_noise(keys, 7, (2, 2, 3))
  for j in range(4):
    expected = jax.random.normal(jax.random.fold_in(keys[j], 7), (2, 2, 3))
    np.testing.assert_array_equal(noise[j], expected)
  assert np.any(noise != samplers.draw_noise(keys, 8, (2, 2, 3)))


def test_a_picture_does_not_depend_on_its_companions():
  program = _network_program(samplers.ddpm_step)
  z, keys, inputs = _z(), _keys(3), _inputs()
  first = _run(program, z, _grid(6), keys, inputs, 6)
  # Picture 0 moves to place 2, beside other pictures.
  z2, keys2, text2 = 5 * _z(seed=1), _keys(3, seed=40), 3 - inputs['text']
  z2[2], text2[2] = z[0], inputs['text'][0]
  keys2 = jnp.stack([keys2[0], keys2[1], keys[0]])
  second = _run(program, z2, _grid(6), keys2, inputs | {'text': text2}, 6)
  np.testing.assert_array_equal(second[2], first[0])
  assert np.any(second[0] != first[0])


@pytest.mark.parametrize('step', STEPS)
def test_only_ddpm_depends_on_the_keys(step):
  a, b = (
    _run(_network_program(step), _z(), _grid(4), _keys(3, seed), _inputs(), 4)
    for seed in (0, 1)
  )
  assert np.array_equal(a, b) == (step is not samplers.ddpm_step)
