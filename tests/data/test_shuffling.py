"""Permutations without state; streams of random numbers."""

import numpy as np
import pytest

from imagen_jax.data import shuffling


@pytest.mark.parametrize('n', [1, 2, 3, 5, 8, 17, 64, 1000, 1025])
def test_each_epoch_holds_every_example_once(n):
  epochs = [
    [shuffling.index(7, e * n + i, n) for i in range(n)] for e in range(2)
  ]
  assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(n))
  if n > 8:
    assert epochs[0] != epochs[1] != list(range(n))


def test_the_order_looks_random():
  n = 4096
  order = np.array([shuffling.index(3, i, n) for i in range(n)])
  away = np.corrcoef(order, np.arange(n))[0, 1]
  step = np.corrcoef(order[:-1], order[1:])[0, 1]
  # 1 / sqrt(n) = 0.016 is one standard deviation.
  assert abs(away) < 0.06 and abs(step) < 0.06
  fixed = (order == np.arange(n)).sum()
  assert fixed < 8  # one on average
  other = np.array([shuffling.index(4, i, n) for i in range(n)])
  assert (order == other).sum() < 8


def test_large_sets_cost_nothing():
  n = 400_000_000
  some = [shuffling.index(0, 10**12 + i, n) for i in range(100)]
  assert len(set(some)) == 100 and max(some) < n
  assert some[0] == shuffling.index(0, 10**12, n)


def test_streams_differ_by_purpose_position_attempt_and_seed():
  base = (5, 9, 4, shuffling.FRAME, 0)
  others = [
    (6, 9, 4, shuffling.FRAME, 0),
    (5, 10, 4, shuffling.FRAME, 0),
    (5, 9, 4, shuffling.REPLACEMENT, 0),
    (5, 9, 4, shuffling.FRAME, 1),
  ]
  first = shuffling.uniforms(*base)
  assert (first == shuffling.uniforms(*base)).all()
  for other in others:
    assert not np.intersect1d(first, shuffling.uniforms(*other)).size
  assert shuffling.fold(1, 0) != shuffling.fold(1, 1)


def test_the_stream_is_the_released_one():
  """Another order would make resumed runs other runs."""
  assert [shuffling.index(0, i, 1000) for i in range(5)] == ORDER
  u = shuffling.uniforms(0, 0, 2, shuffling.FRAME)
  np.testing.assert_allclose(u, UNIFORMS, rtol=0, atol=1e-12)


ORDER = [344, 153, 443, 807, 519]
UNIFORMS = [0.34218278474233466, 0.5765144536585864]
