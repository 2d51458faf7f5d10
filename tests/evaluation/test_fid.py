"""FID and KID against SciPy's numbers, definitions and closed forms."""

import itertools
import pathlib

import numpy as np
import pytest

from imagen_jax.evaluation import feature_statistics, fid

DATA = pathlib.Path(__file__).parents[1] / 'data' / 'evaluation'
ORACLE = np.load(DATA / 'frechet.npz')


def _statistics(x):
  return feature_statistics.of(x, 0)


@pytest.mark.parametrize('case', ['full', 'singular', 'shifted'])
def test_frechet_distance_is_scipys(case):
  """`full` is stored as moments, `singular` has more features than rows."""
  expected = ORACLE[f'{case}/fid']
  if case == 'full':
    moments = ('mean_x', 'cov_x', 'mean_y', 'cov_y')
    found = fid.frechet_distance(*(ORACLE[f'{case}/{m}'] for m in moments))
  else:
    x, y = (ORACLE[f'{case}/{name}'] for name in 'xy')
    found = fid.frechet(_statistics(x), _statistics(y))
  assert abs(found / expected - 1) < 1e-6


def test_frechet_distance_of_diagonals_and_of_a_set_to_itself():
  """sum (ma - mb)^2 + (sa - sb)^2 where covariances are diagonal."""
  a, b = np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 1.0])
  found = fid.frechet_distance(a, np.diag(a**2), b, np.diag(b**2))
  assert abs(found - 2 * ((a - b) ** 2).sum()) < 1e-12
  some = _statistics(np.random.default_rng(0).standard_normal((50, 8)))
  assert abs(fid.frechet(some, some)) < 1e-10


def test_a_distance_is_never_below_zero(monkeypatch):
  """Rounding may put it there, and -0.0000 looks like a fault."""
  mean, cov = np.zeros(3), np.eye(3)
  less = np.diag([1.0, 1.0, 1.0 + 1e-9])
  monkeypatch.setattr(fid.np.linalg, 'eigvalsh', lambda m: np.full(3, 1 + 1e-8))
  for other in (cov, less):
    assert str(fid.frechet_distance(mean, cov, mean, other)) == '0.0'
  assert np.isnan(fid.frechet_distance(mean, cov, np.full(3, np.nan), cov))


def test_kernel_distance_is_its_definition():
  """One subset of everything, by a loop over pairs (Gretton, equation 3)."""
  rng = np.random.default_rng(1)
  x, y = rng.standard_normal((2, 6, 5))
  kernel = lambda u, v: (u @ v / 5 + 1) ** 3  # noqa: E731
  pairs = list(itertools.permutations(range(6), 2))
  expected = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in pairs) / 30
  every = itertools.product(x, y)
  expected -= 2 * sum(kernel(u, v) for u, v in every) / 36
  found, deviation = fid.kernel_distance(x, y, subsets=3, size=100)
  assert abs(found - expected) < 1e-12 and deviation < 1e-12


def test_kernel_distance_is_unbiased_and_seeded():
  """Zero on average for two halves of one set; far from it for another."""
  rng = np.random.default_rng(2)
  x, y = rng.standard_normal((2, 2000, 4))
  same = fid.kernel_distance(x, y, subsets=50, size=100)
  assert abs(same[0]) < 4 * same[1] / 50**0.5 + 0.01
  assert fid.kernel_distance(x, y + 1, subsets=5, size=100)[0] > 1
  again = [fid.kernel_distance(x, y, subsets=2, seed=s) for s in (3, 3, 4)]
  assert again[0] == again[1] != again[2]


def test_too_few_pictures_say_how_many():
  with pytest.raises(ValueError, match='of 2 and of 3 numbers'):
    fid.frechet(_statistics(np.ones((3, 2))), _statistics(np.ones((3, 3))))
  with pytest.raises(ValueError, match='1 pictures have no covariance'):
    fid.frechet(_statistics(np.ones((1, 2))), _statistics(np.ones((3, 2))))
  with pytest.raises(ValueError, match='1 and 5 features.*at least 2'):
    fid.kernel_distance(np.ones((1, 2)), np.ones((5, 2)))
  with pytest.raises(ValueError) as e:
    fid.check_count('out', 100, 2049, 2048)
  text = str(e.value)
  assert '100 pictures' in text and '2,049' in text and 'draw 1,949' in text
