"""Guidance: the paper's convention, and no wasted calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.diffusion import guidance, process


def _z(b=3):
  rng = np.random.default_rng(0)
  z = rng.standard_normal((b, 4, 4, 3)).astype(np.float32)
  return z, np.linspace(-3, 3, b, dtype=np.float32)


def _conditional(z, logsnr):
  return 0.7 * z + process.broadcast(logsnr, z)


def _unconditional(z, logsnr):
  del logsnr
  return 0.2 * z


def _never(z, logsnr):
  raise AssertionError('the unconditional network was called')


@pytest.mark.parametrize('weight', [1, 1.0, np.float32(1)])
def test_weight_one_is_off_and_skips_the_unconditional_call(weight):
  z, logsnr = _z()
  got = guidance.guided(_conditional, _never, weight)(z, logsnr)
  np.testing.assert_array_equal(got, _conditional(z, logsnr))


def test_traced_weight_one_is_identical():
  z, logsnr = _z()
  guided = jax.jit(
    lambda w: guidance.guided(_conditional, _unconditional, w)(z, logsnr)
  )
  np.testing.assert_array_equal(guided(1.0), _conditional(z, logsnr))


@pytest.mark.parametrize('weight', [0.0, 1.35, 5.0])
def test_formula(weight):
  z, logsnr = _z()
  got = guidance.guided(_conditional, _unconditional, weight)(z, logsnr)
  c, u = _conditional(z, logsnr), _unconditional(z, logsnr)
  np.testing.assert_allclose(got, u + weight * (c - u), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kind', process.KINDS)
def test_guiding_x0_is_guiding_the_prediction(kind):
  """Eq. 5 guides eps; the same sum in x0, eps or v is the same picture."""
  z, logsnr = _z()
  rng = np.random.default_rng(1)
  c, u = rng.standard_normal((2, *z.shape)).astype(np.float32)
  weight = 7.0
  in_x0 = guidance.guided(
    lambda z, l: process.to_x0(c, z, l, kind),
    lambda z, l: process.to_x0(u, z, l, kind),
    weight,
  )(z, logsnr)
  said = weight * c + (1 - weight) * u
  expected = process.to_x0(said, z, logsnr, kind)
  np.testing.assert_allclose(in_x0, expected, rtol=1e-4, atol=1e-4)


class _Predict:
  """Notes the batch of each call; the picture depends on all inputs."""

  def __init__(self):
    self.batches = []

  def __call__(self, z, logsnr, condition):
    self.batches.append(z.shape[0])
    text = condition['text'].mean(axis=(1, 2))
    shift = process.broadcast(text + logsnr, z) + condition['low_res']
    return z * jnp.where(condition['mask'].any(), 1.0, 0.0) + shift


def _conditions(b=3):
  rng = np.random.default_rng(2)
  condition = {
    'text': rng.standard_normal((b, 5, 8)).astype(np.float32),
    'mask': np.ones((b, 5), bool),
    'low_res': rng.standard_normal((b, 4, 4, 3)).astype(np.float32),
  }
  return condition, condition | {'text': np.zeros((b, 5, 8), np.float32)}


def test_one_batch_equals_two_calls():
  z, logsnr = _z()
  condition, null = _conditions()
  predict = _Predict()
  got = guidance.guided_batch(predict, condition, null, 4.0)(z, logsnr)
  assert predict.batches == [6]
  two_calls = guidance.guided(
    lambda z, l: predict(z, l, condition),
    lambda z, l: predict(z, l, null),
    4.0,
  )
  np.testing.assert_allclose(got, two_calls(z, logsnr), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('finish', [None, lambda x0, c: x0 - 2 * c])
def test_in_turn_is_the_same_at_half_the_batch(finish):
  z, logsnr = _z()
  predict, given = _Predict(), _conditions()
  got = guidance.guided_in_turn(predict, *given, 4.0, finish)(z, logsnr)
  assert set(predict.batches) == {3}
  at_once = guidance.guided_batch(_Predict(), *given, 4.0, finish)(z, logsnr)
  np.testing.assert_allclose(got, at_once, rtol=1e-5, atol=1e-5)


def test_one_batch_with_weight_one_is_a_single_batch():
  z, logsnr = _z()
  condition, null = _conditions()
  predict = _Predict()
  got = guidance.guided_batch(predict, condition, null, 1.0)(z, logsnr)
  assert predict.batches == [3]
  np.testing.assert_array_equal(got, predict(z, logsnr, condition))


# Weights that change on the way.

GRID = np.float32([-8, -4, -1, 2, 5, np.inf, np.inf])


def test_weights_of_an_interval_include_its_ends():
  got = guidance.interval(GRID, 3.0, -4.0, 2.0)
  np.testing.assert_array_equal(got, [1, 3, 3, 3, 1, 1, 1])


def test_oscillating_weights_start_high():
  got = guidance.oscillating(GRID, 15.0, 2)
  np.testing.assert_array_equal(got, [15, 15, 1, 15, 1, 15, 1])


def test_weights_are_found_by_their_level():
  weight = guidance.at_levels(GRID, np.arange(7.0))
  assert [weight(np.float32(level)) for level in GRID[:5]] == [0, 1, 2, 3, 4]


def test_no_unconditional_half_where_the_weight_is_one():
  z, _ = _z()
  condition, null = _conditions()
  batches = []

  def predict(z, logsnr, condition):
    jax.debug.callback(lambda: batches.append(z.shape[0]))
    return _Predict()(z, logsnr, condition)

  weights = guidance.interval(GRID, 3.0, -4.0, 2.0)
  weight = guidance.at_levels(GRID, weights)
  denoise = jax.jit(guidance.guided_batch(predict, condition, null, weight))
  for level, w, batch in ((-8, 1.0, 3), (-1, 3.0, 6), (5, 1.0, 3)):
    logsnr = np.full(3, level, np.float32)
    got = denoise(z, logsnr)
    expected = guidance.guided_batch(_Predict(), condition, null, w)(z, logsnr)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    jax.effects_barrier()
    assert batches.pop() == batch and not batches


def test_rescaled_takes_the_contrast_back_and_keeps_the_mean():
  rng = np.random.default_rng(3)
  conditional, guided = rng.standard_normal((2, 3, 8, 8, 3)).astype(np.float32)
  guided = 2.5 * guided + 0.4
  axes = (1, 2, 3)
  for mix in (0.0, 0.7, 1.0):
    got = guidance.rescaled(guided, conditional, mix)
    wanted = mix * conditional.std(axes) + (1 - mix) * guided.std(axes)
    np.testing.assert_allclose(got.std(axes), wanted, rtol=1e-4)
    np.testing.assert_allclose(got.mean(axes), guided.mean(axes), atol=1e-5)


def test_rescaling_a_flat_picture_changes_nothing():
  flat = np.full((1, 4, 4, 3), 0.3, np.float32)
  got = guidance.rescaled(flat, flat, 0.7)
  np.testing.assert_allclose(got, flat, rtol=1e-6)
