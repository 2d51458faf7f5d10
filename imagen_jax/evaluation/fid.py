"""Distances between the features of two sets of pictures: FID and KID.

  Statistics, Statistics -> Frechet distance (Heusel et al. 2017)
  features [n, d], [m, d] -> kernel distance and its deviation (Binkowski 2018)

Both in float64 on the host. FID is biased by the number of pictures, so that
only distances of equal counts can be compared; KID is not.
"""

import numpy as np

from imagen_jax.evaluation import feature_statistics

SUBSETS = 100
SUBSET = 1_000  # features in each


def check_count(
  name: str, count: int, least: int, width: int, or_else: str = ''
) -> None:
  """Raises ValueError where there are too few pictures for a covariance.

  Args:
    name: of the pictures.
    count: how many there are.
    least: how many are needed.
    width: features of each.
    or_else: another remedy that the command has.
  """
  if count < max(2, least):
    raise ValueError(
      f'{name}: {count:,} pictures, at least {max(2, least):,} are needed for '
      f'a covariance of {width:,} features; draw {max(2, least) - count:,} '
      f'more, {or_else}or lower --minimum (the distance '
      'of so few is biased)'
    )


def frechet(
  a: feature_statistics.Statistics, b: feature_statistics.Statistics
) -> float:
  """Frechet distance of the two normal distributions with these moments."""
  if a.width != b.width:
    raise ValueError(
      f'features of {a.width} and of {b.width} numbers; take those of one layer'
    )
  return frechet_distance(a.mean, a.covariance(), b.mean, b.covariance())


def frechet_distance(mean_a, cov_a, mean_b, cov_b) -> float:
  """|ma - mb|^2 + tr(A + B - 2 (AB)^(1/2)) (Heusel et al. 2017, equation 6).

  By the symmetric form: AB has the eigenvalues of A^(1/2) B A^(1/2), which are
  real and not negative, also where A or B is singular.
  """
  root = _root(cov_a)
  product = root @ cov_b @ root
  values = np.linalg.eigvalsh((product + product.T) / 2)
  shared = np.sqrt(np.maximum(values, 0.0)).sum()
  apart = mean_a - mean_b
  squared = apart @ apart + np.trace(cov_a) + np.trace(cov_b) - 2 * shared
  # Rounding puts a set and itself below 0, where no distance is.
  return float(np.maximum(squared, 0.0) + 0.0)


def _root(matrix):
  """The symmetric root of a covariance; rounding may put a value below 0."""
  values, vectors = np.linalg.eigh(matrix)
  return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def kernel_distance(
  a: np.ndarray,
  b: np.ndarray,
  *,
  subsets: int = SUBSETS,
  size: int = SUBSET,
  seed: int = 0,
) -> tuple[float, float]:
  """KID: the unbiased squared MMD of the kernel (x.y / d + 1)^3.

  Args:
    a: [n, d].
    b: [m, d].
    subsets: how many random ones are compared.
    size: features in each; fewer where there are fewer.
    seed: of the choice.
  Returns:
    Mean over the subsets, and the deviation between them. The mean may be
    below 0 where the sets are alike.
  """
  size = min(size, len(a), len(b))
  if size < 2:
    raise ValueError(
      f'{len(a)} and {len(b)} features; the kernel distance takes at least 2 '
      'of each'
    )
  if a.shape[1] != b.shape[1]:
    raise ValueError(
      f'features of {a.shape[1]} and of {b.shape[1]} numbers; take those of '
      'one layer'
    )
  rng = np.random.default_rng(seed)
  found = []
  for _ in range(subsets):
    x = a[rng.choice(len(a), size, replace=False)].astype(np.float64)
    y = b[rng.choice(len(b), size, replace=False)].astype(np.float64)
    found.append(_discrepancy(x, y))
  return float(np.mean(found)), float(np.std(found))


def _discrepancy(x, y):
  """Squared MMD, unbiased (Gretton et al. 2012, equation 3), of [n, d] each."""
  n, width = x.shape

  def others(z):
    kernel = (z @ z.T / width + 1) ** 3
    return (kernel.sum() - np.trace(kernel)) / (n * (n - 1))

  return others(x) + others(y) - 2 * ((x @ y.T / width + 1) ** 3).mean()
