"""Grids: where the levels lie, one length for all numbers of steps."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.diffusion import grids, schedules

SPACINGS = [grids.uniform_time, grids.uniform_logsnr, grids.karras]
SCHEDULES = [schedules.Cosine(), schedules.LinearBeta()]


@pytest.mark.parametrize('steps', [1, 32, 1000])
def test_fractions_fall_evenly_from_one_to_zero(steps):
  u = grids.fractions(steps)
  np.testing.assert_allclose(u, 1 - np.arange(steps + 1) / steps, atol=1e-7)
  assert u[0] == 1 and u[-1] == 0 and u.dtype == np.float32


@pytest.mark.parametrize('schedule', SCHEDULES)
@pytest.mark.parametrize('spacing', SPACINGS)
def test_levels_rise_and_are_padded_with_inf(spacing, schedule):
  exact = grids.grid(spacing, schedule, 7)
  assert exact.shape == (8,) and np.all(np.diff(exact) > 0)
  padded = grids.grid(spacing, schedule, 7, capacity=12)
  np.testing.assert_array_equal(padded[:8], exact)
  assert np.all(np.isinf(padded[8:]))


def test_a_traced_number_of_steps_is_one_program():
  @jax.jit
  def levels(u, steps):
    return grids.levels(grids.karras, schedules.Cosine(), u, steps)

  for steps in (1, 5, 8):
    np.testing.assert_allclose(
      levels(grids.fractions(steps, 8), steps),
      grids.grid(grids.karras, schedules.Cosine(), steps, 8),
      atol=1e-5,
    )
  assert levels._cache_size() == 1


def test_uniform_time_is_the_schedule():
  schedule = schedules.Cosine()
  np.testing.assert_array_equal(
    grids.grid(grids.uniform_time, schedule, 4),
    schedule(jnp.float32([1.0, 0.75, 0.5, 0.25, 0.0])),
  )


def test_uniform_logsnr_has_equal_steps_within_the_useful_range():
  got = grids.grid(grids.uniform_logsnr, schedules.Cosine(), 10)
  expected = np.linspace(-2 * math.log(80), -2 * math.log(0.002), 11)
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  # A schedule that ends earlier keeps its own end.
  got = grids.grid(grids.uniform_logsnr, schedules.Cosine(shift=-10), 10)
  np.testing.assert_allclose(got[-1], 10, rtol=1e-5)


def test_karras_is_the_published_grid():
  """sigma_i = (80^(1/7) + i / n (0.002^(1/7) - 80^(1/7)))^7, in float64."""
  i = np.arange(19)
  ends = 80 ** (1 / 7), 0.002 ** (1 / 7)
  sigma = (ends[0] + i / 18 * (ends[1] - ends[0])) ** 7
  got = grids.grid(grids.karras, schedules.Cosine(), 18)
  np.testing.assert_allclose(np.exp(-np.float64(got) / 2), sigma, rtol=2e-5)


@pytest.mark.parametrize(
  'steps, capacity, message', [(0, None, 'steps=0'), (9, 8, 'capacity=8')]
)
def test_bad_numbers_of_steps_are_named(steps, capacity, message):
  with pytest.raises(ValueError, match=message):
    grids.fractions(steps, capacity)
