"""The two sides of a distance: sets of pictures, measured once and kept.

A side is a directory of pictures, pictures that are drawn for the purpose, or
statistics of an earlier run; an extractor (`inception_features`, `judge`)
turns uint8 [n, h, w, 3] into features [n, d]. What decides the features is the
side's protocol, and sides of different protocols are never compared.
"""

import dataclasses
import hashlib
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tqdm

from imagen_jax.evaluation import feature_statistics, picture_files
from imagen_jax.evaluation import fid as distances

SAVED_EVERY = 60.0  # seconds
BLOCK = 1_024  # features that are counted at a time


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
  """One of the two sets of pictures, before it is measured."""

  source: str  # directory or file, as given
  protocol: dict  # all that its features depend on
  count: int  # pictures
  pictures: str  # identity of the set
  items: Sequence | None = None  # what `load` takes; None: statistics are known
  load: Callable | None = None  # an item -> uint8 [h, w, 3]
  statistics: feature_statistics.Statistics | None = None


def identity(description: Mapping) -> str:
  """Twelve digits of a protocol; numbers of different ones do not compare."""
  text = json.dumps(description, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def opened(source: str, extractor, crop: int | None, paths=None) -> Side:
  """What is known of a side at once: the protocol, from its first picture.

  Args:
    source: a directory, or a .npz file of statistics.
    extractor: of features.
    crop: see `picture_files.read`.
    paths: of its pictures, in order; None = all of them.
  """
  if str(source).endswith('.npz'):
    return known(source)
  paths = picture_files.listing(source) if paths is None else paths

  def load(path):
    return picture_files.read(path, crop)

  height, width, _ = load(paths[0]).shape
  return Side(
    source=str(source),
    items=paths,
    load=load,
    count=len(paths),
    pictures=picture_files.identity(source, paths),
    protocol={**extractor.about(), 'crop': crop, 'size': [height, width]},
  )


def known(source) -> Side:
  """A side whose statistics were kept by an earlier run."""
  statistics, about = feature_statistics.load(source)
  if about.keys() != {'protocol', 'count', 'pictures'}:
    raise ValueError(
      f'{source} says {", ".join(about) or "nothing"} of what made it: it is '
      'not of imagen_jax.fid; give the directory of the pictures'
    )
  if statistics.count != about.get('count'):
    raise ValueError(
      f'{source} is of an unfinished run: {statistics.count:,} of '
      f'{about.get("count")} pictures; run the same command again to its end'
    )
  return Side(source=str(source), statistics=statistics, **about)


def agree(side: Side, reference: Side) -> None:
  """Raises ValueError where two sides cannot be compared."""
  for key, value in reference.protocol.items():
    if side.protocol.get(key) != value:
      raise ValueError(
        f'{side.source} has {key} {side.protocol.get(key)}, {reference.source} '
        f'has {value}: distances between them mean nothing. '
        + _remedy(key, side, reference)
      )


def check_protocol(side: Side, extractor, crop: int | None) -> None:
  """Raises ValueError for statistics of other weights or settings than ours."""
  for key, value in {**extractor.about(), 'crop': crop}.items():
    if side.protocol.get(key) != value:
      raise ValueError(
        f'{side.source} was made with {key} {side.protocol.get(key)}, not '
        f'{value}; give the same settings, or the directory of its pictures'
      )


def _remedy(key, side, reference):
  if key == 'size' and side.items and reference.items:
    return '--crop=PIXELS brings both to one size'
  return 'Give the same settings, or the directory of its pictures'


def measure(side: Side, extractor, path: pathlib.Path):
  """The statistics of a side, kept in a file and continued from there."""
  if side.statistics is not None:
    return side.statistics
  about = {k: getattr(side, k) for k in ('protocol', 'count', 'pictures')}
  found = resumed(path, about, extractor.width)
  waiting, saved = [], time.monotonic()
  start = found.count

  def load(item):
    image = side.load(item)
    if list(image.shape[:2]) != side.protocol['size']:
      raise ValueError(
        f'{item} has {pixels(image.shape)} pixels, {side.items[0]} '
        f'{pixels(side.protocol["size"])}: mixed sizes; --crop=PIXELS brings '
        'all to one'
      )
    return image

  def counted(found, waiting):
    if not waiting:
      return found
    features = np.concatenate(waiting)
    names = [
      f'{side.source}, number {item}' if isinstance(item, int) else item
      for item in side.items[found.count : found.count + len(features)]
    ]
    part = feature_statistics.of(features, found.count, names)
    waiting.clear()
    return feature_statistics.merge(found, part)

  with tqdm.tqdm(
    total=side.count,
    initial=start,
    desc=side.source,
    unit='picture',
    disable=None,
  ) as bar:
    left = side.items[start:]
    for names, pictures in picture_files.in_batches(
      load, left, extractor.batch
    ):
      waiting.append(extractor(np.stack(pictures)))
      bar.update(len(names))
      late = time.monotonic() - saved > SAVED_EVERY
      if late or sum(map(len, waiting)) >= BLOCK:
        found = counted(found, waiting)
      if late:
        feature_statistics.save(path, found, about)
        saved = time.monotonic()
  if left:
    found = counted(found, waiting)
    feature_statistics.save(path, found, about)
  return found


def resumed(path, about, width):
  """The statistics of an earlier run, or of nothing."""
  if not path.exists():
    return feature_statistics.empty(width)
  found, said = feature_statistics.load(path)
  if said != json.loads(json.dumps(about)):
    what = 'settings'
    if said.get('protocol') == about['protocol']:
      what = 'pictures'
    raise ValueError(
      f'{path} holds statistics of other {what}; give another --out, or '
      'remove the file'
    )
  return found


def distance(a, b, seed: int = 0) -> dict:
  """FID and KID of two sets of statistics, ready for JSON."""
  kid, deviation = distances.kernel_distance(a.sample, b.sample, seed=seed)
  return {
    'fid': distances.frechet(a, b),
    'kid': kid,
    'kid_deviation': deviation,
    'kid_subset': min(distances.SUBSET, len(a.sample), len(b.sample)),
    'kid_subsets': distances.SUBSETS,
    'kid_seed': seed,
  }


def pixels(shape) -> str:
  """'64 x 48' of a shape [h, w, ...]."""
  height, width = shape[:2]
  return f'{width} x {height}'
