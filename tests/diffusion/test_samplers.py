"""Samplers: stored trajectories, known solutions, and one program for all."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.diffusion import process, samplers, schedules, thresholding

DATA = pathlib.Path(__file__).parents[1] / 'data' / 'samplers'
KINDS = {'epsilon': 'eps', 'sample': 'x0', 'v_prediction': 'v'}
STEPS = [samplers.ddpm_step, samplers.ddim_step, samplers.dpmpp_2m_step]


def _keys(b, seed=0):
  return jax.vmap(jax.random.key)(jnp.arange(b) + seed)


def _z(b=3, side=4, seed=0):
  rng = np.random.default_rng(seed)
  return rng.standard_normal((b, side, side, 3)).astype(np.float32)


# Oracles. One program for each sampler: what varies between the stored
# trajectories comes in as arrays.

CAPACITY = 40
MODES = ('none', 'clip', 'thresh')


@functools.cache
def _oracle():
  with np.load(DATA / 'trajectories.npz') as data:
    return dict(data), json.loads((DATA / 'config.json').read_text())


def _make_toy(inputs):
  """f(z, t) = a z + b sin(c t / 1000 + d) of some kind, then thresholding."""

  def denoise(z, logsnr):
    t = inputs['t'][jnp.argmin(jnp.abs(logsnr[0] - inputs['grid']))]
    a, b, c, d = inputs['abcd']
    f = a * z + b * jnp.sin(c * t / 1000 + d)
    said = [process.to_x0(f, z, logsnr, kind) for kind in process.KINDS]
    x0 = jnp.stack(said)[inputs['kind']]
    modes = [x0, thresholding.static(x0), thresholding.dynamic(x0)]
    return jnp.stack(modes)[inputs['mode']]

  return denoise


def _toy_inputs(case, prediction, mode):
  """Arrays of a stored trajectory; the grid padded to CAPACITY."""
  data, config = _oracle()
  if f'{case}/alpha' in data:
    alpha, sigma = data[f'{case}/alpha'][:-1], data[f'{case}/sigma'][:-1]
    logsnr = 2 * np.log(alpha / sigma)
  else:
    alpha_bar = data[f'{case}/alpha_bar_t']
    logsnr = np.log(alpha_bar / (1 - alpha_bar))
  logsnr = np.append(logsnr, 20.0)  # the end: clean, whatever the number
  padding = CAPACITY + 1 - len(logsnr)
  toy = config['toy_model'][prediction]
  return {
    'grid': np.pad(logsnr, (0, padding), constant_values=np.inf).astype('f4'),
    't': np.pad(data[f'{case}/timesteps'], (0, padding + 1)).astype('f4'),
    'abcd': np.array([toy[k] for k in 'abcd'], np.float32),
    'kind': process.KINDS.index(KINDS[prediction]),
    'mode': MODES.index(mode),
  }


@functools.cache
def _toy_program(step, **settings):
  step = functools.partial(step, **settings) if settings else step
  return samplers.compiled_segment(_make_toy, step)


def _cases(sampler):
  """(case, prediction, mode, ...) of the stored trajectories of x."""
  names = [name.split('/') for name in _oracle()[0]]
  return [
    ('/'.join(n[:2]), *n[2:-1])
    for n in names
    if n[0] == sampler and n[-1] == 'x'
  ]


def _close(got, expected):
  tolerance = 1e-4 * max(1, np.abs(expected).max())
  np.testing.assert_allclose(got, expected, atol=tolerance)


def _follow(program, name, inputs):
  """Compares z and x0 after every step, by segments of one step."""
  data, _ = _oracle()
  carry = samplers.start(jnp.asarray(data['x_init']))
  for i, x in enumerate(data[f'{name}/x']):
    carry = program(carry, i, 1, inputs['grid'], _keys(3), inputs)
    _close(carry.z, x)
    if f'{name}/x0' in data:
      _close(carry.x0, data[f'{name}/x0'][i])


@pytest.mark.parametrize('case, prediction, mode, eps', _cases('ddim'))
def test_ddim_oracle(case, prediction, mode, eps):
  inputs = _toy_inputs(case, prediction, mode)
  program = _toy_program(samplers.ddim_step)
  _follow(program, f'{case}/{prediction}/{mode}/{eps}', inputs)


@pytest.mark.parametrize('case, prediction, mode', _cases('dpmpp2m'))
def test_dpmpp_2m_oracle(case, prediction, mode):
  inputs = _toy_inputs(case, prediction, mode)
  program = _toy_program(samplers.dpmpp_2m_step)
  _follow(program, f'{case}/{prediction}/{mode}', inputs)


@pytest.mark.parametrize('case, prediction, mode, variance', _cases('ddpm'))
def test_ddpm_oracle(case, prediction, mode, variance, monkeypatch):
  """gamma = 0 is the small variance, 1 the large; noise as stored."""
  noise = jnp.asarray(_oracle()[0][f'{case}/noise'], jnp.float32)
  monkeypatch.setattr(samplers, 'draw_noise', lambda keys, i, shape: noise[i])
  gamma = {'fixed_small': 0.0, 'fixed_large': 1.0}[variance]
  program = _toy_program(samplers.ddpm_step, gamma=gamma)
  inputs = _toy_inputs(case, prediction, mode)
  _follow(program, f'{case}/{prediction}/{mode}/{variance}', inputs)


def test_oracles_were_found():
  counts = [len(_cases(s)) for s in ('ddim', 'dpmpp2m', 'ddpm')]
  assert counts == [15, 15, 12]


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


def _uniform_logsnr(steps, low=-10.0, high=14.0):
  return jnp.linspace(low, high, steps + 1)


@pytest.mark.parametrize(
  'step, order, error', [(STEPS[1], 1, 0.02), (STEPS[2], 2, 5e-4)]
)
def test_order_of_convergence_to_the_probability_flow(step, order, error):
  z = _z()
  errors = []
  for steps in (32, 64, 128):
    grid = _uniform_logsnr(steps)
    with jax.enable_x64(True):
      got = samplers.sample(
        _gaussian_denoise,
        jnp.asarray(z, jnp.float64),
        jnp.asarray(grid, jnp.float64),
        step,
        _keys(3),
      )
      got = np.asarray(got)
    errors.append(np.abs(got - _flow_end(np.float64(z), -10.0)).max())
  rates = np.log2(np.array(errors[:-1]) / errors[1:])
  np.testing.assert_allclose(rates, order, atol=0.25)
  assert errors[-1] < error


@pytest.mark.parametrize('gamma', [0.0, 0.3, 1.0])
def test_ddpm_draws_the_data(gamma):
  """Every step is linear, so mean and variance follow by recursion."""
  steps = 24
  grid = np.asarray(schedules.Cosine()(schedules.uniform_grid(steps)))
  mean, variance = 0.0, 1.0
  for now, following in zip(grid[:-1], grid[1:]):
    x0_shift = float(_gaussian_denoise(np.float32(0), now))
    x0_gain = float(_gaussian_denoise(np.float32(1), now)) - x0_shift
    if following == grid[-1]:
      break
    a, lower, upper = process.posterior(1.0, 0.0, now, following)
    b, _, _ = process.posterior(0.0, 1.0, now, following)
    gain = float(a + b * x0_gain)
    mean = gain * mean + float(b) * x0_shift
    noise = float(lower) ** (1 - gamma) * float(upper) ** gamma
    variance = gain**2 * variance + noise
  mean, deviation = x0_gain * mean + x0_shift, x0_gain * np.sqrt(variance)
  step = functools.partial(samplers.ddpm_step, gamma=gamma)
  got = samplers.sample(_gaussian_denoise, _z(4, 64), grid, step, _keys(4))
  n = got.size
  np.testing.assert_allclose(got.mean(), mean, atol=4 * deviation / n**0.5)
  np.testing.assert_allclose(got.std(), deviation, rtol=4 / (2 * n) ** 0.5)
  # The ancestral sampler itself is near the data at 24 steps.
  assert abs(mean - MEAN) < 0.01 and abs(deviation - DEVIATION) < 0.06


def test_first_step_of_dpmpp_2m_is_ddim():
  grid = _uniform_logsnr(6)
  carries = [
    samplers.segment(
      _gaussian_denoise, samplers.start(_z()), 0, 1, grid, step, _keys(3)
    )
    for step in (samplers.ddim_step, samplers.dpmpp_2m_step)
  ]
  np.testing.assert_allclose(carries[0].z, carries[1].z, atol=1e-6)


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
  return samplers.compiled_segment(_make_extreme, step)


def _sample_extreme(step, kind, steps, x0, perfect):
  grid = schedules.logsnr_grid(schedules.Cosine(), steps, CAPACITY)
  assert grid[0] == -20
  inputs = {
    'x0': x0,
    'kind': process.KINDS.index(kind),
    'perfect': np.array(perfect),
  }
  return _run(_extreme_program(step), _z(), grid, _keys(3), inputs, CAPACITY)


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


def test_the_last_step_returns_the_x_prediction():
  program = samplers.compiled_segment(_network, samplers.ddpm_step)
  steps = 6
  grid = np.asarray(schedules.Cosine()(schedules.uniform_grid(steps)))
  carry = samplers.start(jnp.asarray(_z()))
  carry = program(carry, 0, steps - 1, grid, _keys(3), _inputs())
  # The network is called at t = 1 / steps, not at the end of the grid.
  level = jnp.full(3, grid[steps - 1])
  expected = _network(_inputs())(carry.z, level)
  carry = program(carry, steps - 1, 1, grid, _keys(3), _inputs())
  np.testing.assert_allclose(carry.z, expected, atol=1e-5)
  np.testing.assert_array_equal(carry.z, carry.x0)
  # Nothing is left to do.
  after = np.asarray(carry.z)
  carry = program(carry, steps, 5, grid, _keys(3), _inputs())
  np.testing.assert_array_equal(carry.z, after)


# One program for all segments.


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


def _run(program, z, grid, keys, inputs, length):
  carry = samplers.start(jnp.asarray(z))
  for i in range(0, len(grid) - 1, length):
    carry = program(carry, i, length, grid, keys, inputs)
  return np.asarray(carry.z)


@pytest.mark.parametrize('step', STEPS)
def test_segments_are_one_program_and_equal_one_run(step):
  grid = np.asarray(schedules.Cosine()(schedules.uniform_grid(11)))
  program = samplers.compiled_segment(_network, step)
  whole = _run(program, _z(), grid, _keys(3), _inputs(), 11)
  for length in (1, 3, 4, 50):
    pieces = _run(program, _z(), grid, _keys(3), _inputs(), length)
    np.testing.assert_array_equal(pieces, whole)
  other = np.asarray(schedules.LinearBeta()(schedules.uniform_grid(11)))
  assert np.any(_run(program, _z(), other, _keys(3), _inputs(), 4) != whole)
  assert program._cache_size() == 1  # all of the above


def test_segments_equal_the_unsegmented_sample():
  grid = np.asarray(schedules.Cosine()(schedules.uniform_grid(11)))

  @jax.jit
  def unsegmented(z, grid, keys, inputs):
    step = samplers.ddpm_step
    return samplers.sample(_network(inputs), z, grid, step, keys)

  whole = unsegmented(_z(), grid, _keys(3), _inputs())
  program = samplers.compiled_segment(_network, samplers.ddpm_step)
  pieces = _run(program, _z(), grid, _keys(3), _inputs(), 4)
  np.testing.assert_array_equal(pieces, whole)


def test_one_capacity_runs_any_number_of_steps():
  step = samplers.dpmpp_2m_step
  program = samplers.compiled_segment(_network, step)
  other = samplers.compiled_segment(_network, step)
  schedule = schedules.Cosine()
  for steps in (1, 5, 12):
    grid = schedules.logsnr_grid(schedule, steps, capacity=12)
    got = _run(program, _z(), grid, _keys(3), _inputs(), 4)
    if steps == 12:
      continue
    shorter = schedules.logsnr_grid(schedule, steps, capacity=5)
    expected = _run(other, _z(), shorter, _keys(3), _inputs(), 5)
    np.testing.assert_array_equal(got, expected)
  assert program._cache_size() == 1


def test_the_carry_is_donated_and_previews():
  program = samplers.compiled_segment(_network, samplers.ddim_step)
  carry = samplers.start(jnp.asarray(_z()))
  grid = _uniform_logsnr(6)
  after = program(carry, 0, 2, grid, _keys(3), _inputs())
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
  grid = schedules.Cosine()(schedules.uniform_grid(6))
  program = samplers.compiled_segment(_network, samplers.ddpm_step)
  z, keys, inputs = _z(), _keys(3), _inputs()
  first = _run(program, z, grid, keys, inputs, 6)
  z2, keys2, text2 = 5 * _z(seed=1), _keys(3, seed=40), 3 - inputs['text']
  # Picture 0 moves to place 2, beside other pictures.
  z2[2], text2[2] = z[0], inputs['text'][0]
  keys2 = jnp.stack([keys2[0], keys2[1], keys[0]])
  second = _run(program, z2, grid, keys2, inputs | {'text': text2}, 6)
  np.testing.assert_array_equal(second[2], first[0])
  assert np.any(second[0] != first[0])


def test_ddpm_depends_on_the_key_and_ddim_does_not():
  grid = schedules.Cosine()(schedules.uniform_grid(4))
  for step, same in zip(STEPS, (False, True, True)):
    a, b = (
      samplers.sample(_network(_inputs()), _z(), grid, step, _keys(3, seed=s))
      for s in (0, 1)
    )
    assert np.array_equal(a, b) == same
