"""Steps of IF's scheduler against diffusers; the loss against closed forms."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from imagen_jax.diffusion import (
  discrete,
  learned_variance,
  process,
  samplers,
  thresholding,
)
from tests.support import if_tiny

_SCHEDULE = discrete.SquaredCosine()


@functools.cache
def _stored():
  with np.load(if_tiny.DATA / 'scheduler.npz') as stored:
    return dict(stored)


def _ours(name):
  return if_tiny.ours(_stored()[name])


def _step(i):
  """(z, x0 before thresholding, f, levels, noise) of stored step i."""
  times = [*_stored()['step/all_timesteps']]
  time = _stored()['step/t'][i]
  now = _SCHEDULE.at(float(time))
  after = times[times.index(time) + 1 :]
  later = _SCHEDULE.at(float(after[0])) if after else jnp.inf
  z, eps = _ours('step/sample')[i], _ours('step/eps')[i]
  f = (_ours('step/variance') + 1) / 2
  levels = samplers.Levels(before=now, now=now, next=jnp.float32(later))
  noise = _ours('step/noise') * (time > 0)  # none at the last step
  return z, process.x0_from_eps(eps, z, now), f, levels, noise


@pytest.mark.parametrize('i', range(4))
@pytest.mark.parametrize(('stage', 'cap'), [('stage1', 1.5), ('stage2', 1.0)])
def test_a_step_as_diffusers_takes_it(i, stage, cap):
  z, x0, f, levels, noise = _step(i)
  x0 = thresholding.dynamic(x0, 95.0, cap)
  np.testing.assert_allclose(x0, _ours(f'step/{stage}/x0')[i], atol=2e-5)
  after = learned_variance.ddpm_step(z, x0, None, levels, noise, None, f=f)
  np.testing.assert_allclose(after, _ours(f'step/{stage}/prev')[i], atol=5e-5)


@pytest.mark.parametrize('i', range(4))
def test_a_step_of_fixed_small_is_gamma_zero(i):
  z, x0, _, levels, noise = _step(i)
  x0 = thresholding.dynamic(x0, 95.0, 1.5)
  after = samplers.ddpm_step(z, x0, None, levels, noise, None, gamma=0.0)
  expected = _ours('step/fixed_small/prev')[i]
  np.testing.assert_allclose(after, expected, atol=5e-5)


def test_variance_is_not_clipped_where_f_leaves_the_unit_interval():
  z, x0, f, levels, _ = _step(1)
  assert f.min() < 0 and f.max() > 1
  _, lower, upper = process.posterior(z, x0, levels.now, levels.next)
  found = learned_variance.log_variance(f, lower, upper)
  expected = _ours('step/log_variance')[1]
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_list_that_does_not_end_clean_gets_noise_after_its_last_time():
  now = _SCHEDULE.at(100.0)
  levels = samplers.Levels(before=now, now=now, next=jnp.float32(jnp.inf))
  z = _ours('step/unfinished/sample')
  output = _ours('step/unfinished/model_output')
  eps, f = learned_variance.split(output)
  x0 = thresholding.dynamic(process.x0_from_eps(eps, z, now), 95.0, 1.5)
  noise = _ours('step/noise')
  after = learned_variance.ddpm_step(z, x0, None, levels, noise, None, f=f)
  expected = _ours('step/unfinished/prev')
  np.testing.assert_allclose(after, expected, atol=5e-5)


def test_noise_on_the_low_resolution_picture():
  expected = _ours('noising/out')
  for level, out in zip(_stored()['noising/levels'], expected, strict=True):
    found = process.add_noise(
      _ours('noising/image'),
      _ours('noising/noise'),
      _SCHEDULE.at(float(level)),
    )
    np.testing.assert_allclose(found, out, atol=1e-5)


def _loss(x0, mean_error, f, time, next_time):
  """The loss of a prediction that is off by `mean_error` everywhere."""
  x0 = jnp.full([1, 2, 2, 1], x0)
  now = _SCHEDULE.at(jnp.full(1, time))
  later = jnp.full(1, jnp.inf)
  if next_time is not None:
    later = _SCHEDULE.at(jnp.full(1, next_time))
  z = process.add_noise(x0, 0.3, now)
  f = jnp.full(x0.shape, f)
  loss = learned_variance.loss(x0, z, x0 + mean_error, f, now, later)
  return loss, process.posterior(z, x0 + mean_error, now, later)


def test_loss_is_the_divergence_of_two_gaussians():
  loss, (_, lower, upper) = _loss(0.2, 0.1, 0.7, 500.0, 400.0)
  r = math.exp(_SCHEDULE.at(500.0) - _SCHEDULE.at(400.0))
  alpha = process.alpha_sigma(_SCHEDULE.at(400.0))[0]
  distance = (1 - r) * alpha * 0.1  # of the two means
  variance = upper**0.7 * lower**0.3
  nats = 0.5 * (
    jnp.log(variance / lower) - 1 + (lower + distance**2) / variance
  )
  expected = 1e-3 * nats.ravel() / math.log(2)
  np.testing.assert_allclose(loss, expected, rtol=1e-3)


def test_loss_of_the_last_step_is_the_likelihood_of_a_value():
  x0 = 51 / 127.5 - 1
  loss, (mean, _, upper) = _loss(x0, 0.004, 1.0, 0.0, None)
  normal = scipy.stats.norm(mean.ravel()[0], math.sqrt(upper.ravel()[0]))
  inside = normal.cdf(x0 + 1 / 255) - normal.cdf(x0 - 1 / 255)
  expected = -1e-3 * math.log2(inside)
  np.testing.assert_allclose(loss, expected, rtol=1e-3)


def test_loss_trains_the_variance_alone():
  x0 = jnp.full([1, 2, 2, 1], 0.2)
  now, later = (_SCHEDULE.at(jnp.full(1, t)) for t in (500.0, 499.0))
  z = process.add_noise(x0, 0.3, now)

  def loss(prediction, f):
    return learned_variance.loss(x0, z, prediction, f, now, later).sum()

  of_x0, of_f = jax.grad(loss, (0, 1))(x0 + 0.1, jnp.full(x0.shape, 0.5))
  assert not of_x0.any()
  assert of_f.all()
