"""Distances between two directories of pictures: FID and KID.

  python -m imagen_jax.fid --images=DIR --reference=DIR --inception=FILE

The statistics of both sides are kept in --out, so that the same command goes
on where it was interrupted, and reference.npz of there may be given as a later
--reference. What decides a distance besides the pictures (weights, resizing,
layer, size, crop) is its protocol; sides of different protocols are never
compared. docs/evaluation.md says how to get the weights.
"""

import dataclasses
import hashlib
import json
import pathlib
import sys
import time

import numpy as np
import tqdm

from imagen_jax import compilation_cache, flags, weights
from imagen_jax.evaluation import (
  feature_statistics,
  inception_features,
  picture_files,
)
from imagen_jax.evaluation import fid as distances

SCORES = 'scores.json'
SAVED_EVERY = 60.0  # seconds
BLOCK = 1_024  # features that are counted at a time


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.fid',
    description='Distances between two directories of pictures: FID and KID.',
    allow_abbrev=False,
  )
  add = p.add_argument
  add(
    '--images',
    metavar='DIR',
    help='the pictures to judge, with all below (default: none; the '
    "reference's statistics are made alone)",
  )
  add(
    '--reference',
    required=True,
    metavar='DIR|FILE',
    help='the pictures to compare with, or the .npz file of statistics that '
    'was made of them (no default)',
  )
  add(
    '--inception',
    default='inception.safetensors',
    metavar='FILE',
    help='weights, see imagen_jax.convert_inception (default: '
    'inception.safetensors)',
  )
  add(
    '--resize',
    choices=tuple(inception_features.RESIZES),
    default='torch-fidelity',
    help='to 299 pixels: as this program does, TensorFlow 1 before it, or as '
    'that one (default: torch-fidelity)',
  )
  add(
    '--features',
    choices=inception_features.LAYERS[:-1],
    default='2048',
    help='of the layer of that width (default: 2048, which is FID; others '
    'are not comparable with it)',
  )
  add(
    '--crop',
    type=flags.whole('pixels', 8, 4096),
    metavar='PIXELS',
    help='resize the square in the middle of every picture to this side '
    '(default: pictures as they are, which must be of one size)',
  )
  add(
    '--minimum',
    type=flags.whole('pictures', 2, 10**9),
    metavar='N',
    help='pictures of a side below which nothing is measured (default: one '
    'more than features)',
  )
  add(
    '--batch',
    type=flags.whole('pictures', 1, 65536),
    default=inception_features.BATCH,
    metavar='N',
    help='pictures at a time, over all devices (default: '
    f'{inception_features.BATCH})',
  )
  add(
    '--seed',
    type=flags.whole('seed', 0, 2**32 - 1),
    default=0,
    metavar='N',
    help='of the subsets of KID (default: 0)',
  )
  add(
    '--out',
    default='fid',
    metavar='DIR',
    help='directory for statistics and scores (default: fid)',
  )
  return p


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
  """One of the two sets of pictures, before it is measured."""

  source: str  # directory or file, as given
  protocol: dict  # all that its features depend on
  count: int  # pictures
  pictures: str  # identity of the set
  paths: list | None = None  # None: its statistics are known
  statistics: feature_statistics.Statistics | None = None


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  out = pathlib.Path(args.out)
  try:
    compilation_cache.enable()
    extractor = inception_features.load(
      args.inception,
      resize=args.resize,
      layer=args.features,
      batch=args.batch,
    )
    least = args.minimum or extractor.width + 1
    sources = {'reference': args.reference}
    if args.images is not None:
      sources['images'] = args.images
    sides = {
      name: opened(source, extractor, args.crop)
      for name, source in sources.items()
    }
    for side in sides.values():
      agree(side, sides['reference'])
      check_protocol(side, extractor, args.crop)
      distances.check_count(side.source, side.count, least, extractor.width)
    out.mkdir(parents=True, exist_ok=True)
    measured = {
      name: measure(side, extractor, args.crop, out / f'{name}.npz')
      for name, side in sides.items()
    }
    if args.images is None:
      print(f'statistics of {args.reference} are in {out / "reference.npz"}')
      return 0
    found = scores(sides, measured, args.seed)
    weights.save_json(out / SCORES, found)
  except (ValueError, OSError) as e:
    return flags.failed(e, out)
  print(report(found))
  return 0


def opened(source, extractor, crop):
  """What is known of a side at once: the protocol, from its first picture."""
  if source.endswith('.npz'):
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
    return Side(source=source, statistics=statistics, **about)
  paths = picture_files.listing(source)
  height, width, _ = picture_files.read(paths[0], crop).shape
  return Side(
    source=source,
    paths=paths,
    count=len(paths),
    pictures=picture_files.identity(source, paths),
    protocol={**extractor.about(), 'crop': crop, 'size': [height, width]},
  )


def agree(side, reference):
  """Raises ValueError where two sides cannot be compared."""
  for key, value in reference.protocol.items():
    if side.protocol.get(key) != value:
      raise ValueError(
        f'{side.source} has {key} {side.protocol.get(key)}, {reference.source} '
        f'has {value}: distances between them mean nothing. '
        + _remedy(key, side, reference)
      )


def check_protocol(side, extractor, crop):
  """Raises ValueError for statistics of other weights or settings than ours."""
  for key, value in {**extractor.about(), 'crop': crop}.items():
    if side.protocol.get(key) != value:
      raise ValueError(
        f'{side.source} was made with {key} {side.protocol.get(key)}, not '
        f'{value}; give the same settings, or the directory of its pictures'
      )


def _remedy(key, side, reference):
  if key == 'size' and side.paths and reference.paths:
    return '--crop=PIXELS brings both to one size'
  return 'Give the same settings, or the directory of its pictures'


def measure(side, extractor, crop, path):
  """The statistics of a side, kept in a file and continued from there."""
  if side.statistics is not None:
    return side.statistics
  about = {k: getattr(side, k) for k in ('protocol', 'count', 'pictures')}
  found = resumed(path, about, extractor.width)
  waiting, saved = [], time.monotonic()
  start = found.count

  def load(picture):
    image = picture_files.read(picture, crop)
    if list(image.shape[:2]) != side.protocol['size']:
      raise ValueError(
        f'{picture} has {_pixels(image.shape)} pixels, {side.paths[0]} '
        f'{_pixels(side.protocol["size"])}: mixed sizes; --crop=PIXELS brings '
        'all to one'
      )
    return image

  def counted(found, waiting):
    if not waiting:
      return found
    features = np.concatenate(waiting)
    names = side.paths[found.count : found.count + len(features)]
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
    left = side.paths[start:]
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


def scores(sides, measured, seed):
  """All numbers of a comparison, ready for JSON."""
  a, b = measured['images'], measured['reference']
  kid, deviation = distances.kernel_distance(a.sample, b.sample, seed=seed)
  protocol = {
    **sides['images'].protocol,
    'reference': sides['reference'].pictures,
  }
  return {
    'fid': distances.frechet(a, b),
    'kid': kid,
    'kid_deviation': deviation,
    'kid_subset': min(distances.SUBSET, len(a.sample), len(b.sample)),
    'kid_subsets': distances.SUBSETS,
    'kid_seed': seed,
    'images': {'source': sides['images'].source, 'count': a.count},
    'reference': {'source': sides['reference'].source, 'count': b.count},
    'protocol': protocol,
    'protocol_id': protocol_id(protocol),
  }


def protocol_id(protocol):
  """Twelve digits; distances of different ones cannot be compared."""
  text = json.dumps(protocol, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def report(found):
  """What is printed."""
  protocol, n = found['protocol'], found['images']['count']
  crop = protocol['crop']
  return (
    f'FID       {found["fid"]:.4f}\n'
    f'KID       {found["kid"]:.6f} +- {found["kid_deviation"]:.6f} '
    f'(deviation of {found["kid_subsets"]} subsets of {found["kid_subset"]})\n'
    f'images    {n:,} of {found["images"]["source"]}\n'
    f'reference {found["reference"]["count"]:,} of '
    f'{found["reference"]["source"]}\n'
    f'protocol  {found["protocol_id"]}: Inception {protocol["network"][:12]}, '
    f'features {protocol["features"]}, {protocol["resize"]} resize of '
    f'{_pixels(protocol["size"])} px, '
    + (f'square in the middle to {crop}' if crop else 'not cropped')
    + '\nFID depends on the number of pictures; KID does not.'
  )


def _pixels(shape):
  height, width = shape[:2]
  return f'{width} x {height}'


if __name__ == '__main__':
  sys.exit(main())
