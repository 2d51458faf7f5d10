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


def test_one_batch_with_weight_one_is_a_single_batch():
  z, logsnr = _z()
  condition, null = _conditions()
  predict = _Predict()
  got = guidance.guided_batch(predict, condition, null, 1.0)(z, logsnr)
  assert predict.batches == [3]
  np.testing.assert_array_equal(got, predict(z, logsnr, condition))
