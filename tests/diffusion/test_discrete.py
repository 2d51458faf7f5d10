"""IF's process of whole times against diffusers, and its lists of times."""

import json

import jax
import numpy as np
import pytest

from imagen_jax.diffusion import discrete
from tests.support import if_tiny

_SCHEDULE = discrete.SquaredCosine()


def test_noise_at_every_whole_time():
  with np.load(if_tiny.DATA / 'scheduler.npz') as stored:
    expected = stored['alphas_cumprod']
  found = jax.nn.sigmoid(_SCHEDULE.at(np.arange(1000)))
  np.testing.assert_allclose(found, expected, rtol=3e-6)


def test_the_network_is_told_the_whole_time_again():
  times = np.arange(1000)
  np.testing.assert_array_equal(_SCHEDULE.time(_SCHEDULE.at(times)), times)
  halves = times[:-1] + 0.5
  found = _SCHEDULE.time(_SCHEDULE.at(halves))
  np.testing.assert_allclose(found, halves, atol=5e-3)


def test_called_as_the_other_schedules_are():
  """Time k at t = (k + 1) / 1000, falling, nothing cleaner than time 0."""
  t = np.linspace(0, 1, 501, dtype=np.float32)
  logsnr = np.asarray(_SCHEDULE(t))
  assert (np.diff(logsnr)[1:] < 0).all()
  np.testing.assert_allclose(logsnr[0], _SCHEDULE.at(0.0))
  np.testing.assert_allclose(logsnr[-1], _SCHEDULE.at(999.0))
  np.testing.assert_allclose(_SCHEDULE(0.251), _SCHEDULE.at(250.0), atol=1e-4)


def test_lists_of_times_are_the_published_ones():
  stored = json.loads((if_tiny.DATA / 'timesteps.json').read_text())
  for name, times in stored.items():
    if name.startswith('steps_'):
      found = discrete.even_times(int(name.removeprefix('steps_')))
    else:
      found = discrete.listed_times(name)
    assert [*found] == times, name
  assert set(discrete.TIME_LISTS) < set(stored)


@pytest.mark.parametrize('times', [(), (5, 5), (1, 2), (1000, 0), (3, -1)])
def test_times_that_cannot_be(times):
  with pytest.raises(ValueError, match='whole numbers that fall, from 999'):
    discrete.check_times(times)


@pytest.mark.parametrize('count', [0, 1001])
def test_more_steps_than_there_are(count):
  with pytest.raises(ValueError, match='give 1 to 1000'):
    discrete.even_times(count)


def test_unknown_list():
  with pytest.raises(ValueError, match="'fast28' is none of the lists fast27"):
    discrete.listed_times('fast28')
