"""What distances need of the features of many pictures, in one small object.

Features [n, d] float32, in any order and in any parts -> count, mean and
scatter in float64 (Chan et al. 1979, equations 1.5), and a sample of the
features for the kernel distance. Parts made apart are merged; the object lies
in one .npz file with what made it, without pickle.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from imagen_jax.files import json_files, weights

FORMAT_VERSION = 1
KEPT = 5_000  # features kept for the kernel distance
_ARRAYS = ('mean', 'scatter', 'sample', 'numbers')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
  """Moments of n features, and a uniform sample of them."""

  count: int
  mean: np.ndarray  # [d] float64
  scatter: np.ndarray  # [d, d] float64, sum of products around the mean
  sample: np.ndarray  # [m, d] float32, m = min(count, KEPT)
  numbers: np.ndarray  # [m] int64, of the sample's pictures, rising

  @property
  def width(self) -> int:
    return len(self.mean)

  def covariance(self) -> np.ndarray:
    """[d, d], unbiased."""
    if self.count < 2:
      raise ValueError(
        f'{self.count} pictures have no covariance; it takes at least 2'
      )
    return self.scatter / (self.count - 1)


def empty(width: int) -> Statistics:
  """Of no pictures at all."""
  return Statistics(
    count=0,
    mean=np.zeros(width),
    scatter=np.zeros((width, width)),
    sample=np.zeros((0, width), np.float32),
    numbers=np.zeros(0, np.int64),
  )


def of(
  features: np.ndarray, first: int, names: Sequence[str] | None = None
) -> Statistics:
  """Of some pictures.

  Args:
    features: [n, d].
    first: number of the first picture among all; decides the sample alone.
    names: of the pictures, for errors; None = their numbers.
  Raises:
    ValueError: a feature is not finite.
  """
  numbers = np.arange(first, first + len(features), dtype=np.int64)
  bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
  if len(bad):
    which = names[bad[0]] if names else f'picture {numbers[bad[0]]}'
    raise ValueError(
      f'the features of {which} are not finite (and of {len(bad) - 1} more of '
      f'{len(features)}); the weights of the network are damaged: take others, '
      'or make them again'
    )
  if not len(features):
    return empty(features.shape[1])
  values = features.astype(np.float64)
  mean = values.mean(axis=0)
  centred = values - mean
  kept = _least(numbers)
  return Statistics(
    count=len(values),
    mean=mean,
    scatter=centred.T @ centred,
    sample=features[kept].astype(np.float32),
    numbers=numbers[kept],
  )


def merge(a: Statistics, b: Statistics) -> Statistics:
  """Of the pictures of both, which must not overlap."""
  if a.width != b.width:
    raise ValueError(
      f'statistics of {a.width} and of {b.width} features; take those of one '
      'layer'
    )
  twice = np.intersect1d(a.numbers, b.numbers)
  if len(twice):
    raise ValueError(
      f'both parts hold picture {twice[0]}; number the pictures through'
    )
  if not a.count or not b.count:
    return a if a.count else b
  count = a.count + b.count
  apart = b.mean - a.mean
  numbers = np.concatenate([a.numbers, b.numbers])
  kept = _least(numbers)
  return Statistics(
    count=count,
    mean=a.mean + apart * (b.count / count),
    scatter=a.scatter
    + b.scatter
    + np.outer(apart, apart * (a.count * b.count / count)),
    sample=np.concatenate([a.sample, b.sample])[kept],
    numbers=numbers[kept],
  )


def _least(numbers):
  """Places of the `KEPT` numbers that come first when shuffled, by number.

  A uniform sample that depends on the numbers alone, so not on the parts.
  """
  kept = np.argsort(_shuffled(numbers), kind='stable')[:KEPT]
  return kept[np.argsort(numbers[kept])]


def _shuffled(numbers):
  """Numbers -> numbers that look random, no two alike (SplitMix64)."""
  x = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def save(path, statistics: Statistics, about: Mapping) -> None:
  """Writes both into one file, whole or not at all.

  Args:
    path: the file, *.npz.
    statistics: what was counted.
    about: what made it, ready for JSON.
  """
  arrays = {name: getattr(statistics, name) for name in _ARRAYS}
  header = {
    'format_version': FORMAT_VERSION,
    'count': statistics.count,
    'about': dict(about),
    'sha256': _sha256(arrays),
  }
  content = io.BytesIO()
  np.savez(content, header=np.array(json.dumps(header)), **arrays)
  weights.save_bytes(path, content.getvalue())


def load(path) -> tuple[Statistics, dict]:
  """The statistics of a file, and what made them.

  Raises ValueError where it is damaged, or was made by something else.
  """
  path = pathlib.Path(path)
  try:
    with np.load(path, allow_pickle=False) as file:
      names, found = set(file.files), dict(file)
  except FileNotFoundError as e:
    raise ValueError(f'{path} does not exist') from e
  except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as e:
    raise ValueError(f'{path} is damaged ({e}); make it again') from e
  if names != {'header', *_ARRAYS}:
    raise ValueError(
      f'{path} holds {", ".join(sorted(names))} and does not say what made it; '
      'give the directory of the pictures, or a file of imagen_jax.fid'
    )
  try:
    header = json_files.parse(str(found.pop('header')), 'its header')
    version = header['format_version']
    statistics = Statistics(count=int(header['count']), **found)
    about, sha256 = dict(header['about']), header['sha256']
  except (ValueError, KeyError, TypeError) as e:
    raise ValueError(f'{path} is damaged ({e}); make it again') from e
  if version != FORMAT_VERSION:
    raise ValueError(
      f'{path} has format {version}, this release reads {FORMAT_VERSION}; make '
      'it again'
    )
  if _sha256(found) != sha256:
    raise ValueError(
      f'{path} is altered: its numbers have sha256 {_sha256(found)[:12]}, it '
      f'says {sha256[:12]}; make it again'
    )
  return statistics, about


def _sha256(arrays):
  """Over names, dtypes, shapes and bytes."""
  digest = hashlib.sha256()
  for name in _ARRAYS:
    x = np.ascontiguousarray(arrays[name])
    digest.update(f'{name} {x.dtype} {x.shape}\n'.encode())
    digest.update(x.tobytes())
  return digest.hexdigest()
