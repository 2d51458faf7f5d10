"""Schedules against their closed forms in float64."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.diffusion import schedules


def _cosine(t, low=-20.0, high=20.0):
  b = np.arctan(np.exp(-high / 2))
  a = np.arctan(np.exp(-low / 2)) - b
  return -2 * np.log(np.tan(a * np.asarray(t, np.float64) + b))


@pytest.mark.parametrize('bounds', [(-20.0, 20.0), (-15.0, 12.0)])
def test_cosine_keeps_its_digits_to_the_ends(bounds):
  near_ends = np.logspace(-7, -1, 50, dtype=np.float32)
  t = np.concatenate([near_ends, np.linspace(0, 1, 1001), 1 - near_ends])
  t = t.astype(np.float32)
  schedule = schedules.Cosine(logsnr_min=bounds[0], logsnr_max=bounds[1])
  np.testing.assert_allclose(schedule(t), _cosine(t, *bounds), atol=1e-5)
  np.testing.assert_allclose(schedule(1.0), bounds[0], rtol=1e-6)
  np.testing.assert_allclose(schedule(0.0), bounds[1], rtol=1e-6)


def test_cosine_is_alpha_equals_cos():
  t = np.linspace(0.01, 0.99, 99)
  alpha = np.sqrt(jax.nn.sigmoid(schedules.Cosine()(t)))
  np.testing.assert_allclose(alpha, np.cos(np.pi / 2 * t), atol=1e-4)


def test_shift_is_that_of_simple_diffusion():
  shifted = schedules.Cosine(shift=2 * np.log(64 / 1024))
  t = np.linspace(0, 1, 11)
  difference = shifted(t) - schedules.Cosine()(t)
  np.testing.assert_allclose(difference, -5.545177, atol=1e-5)


def _ddpm_logsnr():
  alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
  return np.log(alpha_bar / (1 - alpha_bar))


def test_linear_beta_is_exact_at_the_steps():
  t = np.arange(1, 1001) / 1000
  logsnr = np.asarray(schedules.LinearBeta()(t))
  np.testing.assert_allclose(logsnr, _ddpm_logsnr(), atol=2e-5)
  np.testing.assert_allclose(logsnr[[0, -1]], [9.2102, -10.1177], atol=1e-3)


def test_linear_beta_follows_the_continuous_limit():
  t = np.linspace(0.001, 1, 4001)
  closed_form = -np.log(np.expm1(0.1 * t + 9.95 * t**2))
  error = np.abs(schedules.LinearBeta()(t) - closed_form)
  assert 0.09 < error.max() < 0.096


def test_linear_beta_is_finite_at_zero():
  t = np.array([0.0, 0.0005, 0.001])
  np.testing.assert_allclose(schedules.LinearBeta()(t), 9.2102, atol=1e-3)


@pytest.mark.parametrize(
  'schedule', [schedules.Cosine(), schedules.LinearBeta()]
)
def test_schedules_fall_and_survive_json(schedule):
  logsnr = schedule(jnp.linspace(0.001, 1, 2049))
  assert logsnr.dtype == jnp.float32
  assert np.all(np.diff(logsnr) < 0)
  fields = json.loads(json.dumps(dataclasses.asdict(schedule)))
  assert type(schedule)(**fields) == schedule
  assert hash(type(schedule)(**fields)) == hash(schedule)


@pytest.mark.parametrize(
  'schedule', [schedules.Cosine(), schedules.LinearBeta()]
)
def test_schedules_compute_in_float32_whatever_t_is(schedule):
  assert schedule(jnp.bfloat16(0.5)).dtype == jnp.float32
  assert schedule(1).dtype == jnp.float32
  np.testing.assert_array_equal(
    schedule(jnp.bfloat16(0.5)), schedule(jnp.float32(0.5))
  )


@pytest.mark.parametrize(
  'make, message',
  [
    (lambda: schedules.Cosine(logsnr_min=3, logsnr_max=1), 'logsnr_min=3'),
    (lambda: schedules.Cosine(shift=float('nan')), 'shift is nan'),
    (lambda: schedules.Cosine(logsnr_max=1e4), 'logsnr_max is 10000'),
    (lambda: schedules.LinearBeta(steps=0), 'steps=0'),
    (lambda: schedules.LinearBeta(beta_end=2.0), 'beta_end=2.0'),
  ],
)
def test_bad_settings_are_named(make, message):
  with pytest.raises(ValueError, match=message):
    make()
