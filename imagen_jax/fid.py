"""Distances between two directories of pictures: FID and KID.

  python -m imagen_jax.fid --images=DIR --reference=DIR --inception=FILE

The statistics of both sides are kept in --out, so that the same command goes
on where it was interrupted, and reference.npz of there may be given as a later
--reference. What decides a distance besides the pictures (weights, resizing,
layer, size, crop) is its protocol; sides of different protocols are never
compared. docs/evaluation.md says how to get the weights.
"""

import pathlib

from imagen_jax.config import command, flags
from imagen_jax.evaluation import fid as distances
from imagen_jax.evaluation import inception_features, picture_sets
from imagen_jax.files import weights
from imagen_jax.parallel import compilation

SCORES = 'scores.json'


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
    type=flags.seed,
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


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  out = pathlib.Path(args.out)
  try:
    compilation.enable_cache()
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
      name: picture_sets.opened(source, extractor, args.crop)
      for name, source in sources.items()
    }
    for side in sides.values():
      picture_sets.agree(side, sides['reference'])
      picture_sets.check_protocol(side, extractor, args.crop)
      distances.check_count(
        side.source,
        side.count,
        least,
        extractor.width,
        'or choose fewer by --features, ',
      )
    out.mkdir(parents=True, exist_ok=True)
    measured = {
      name: picture_sets.measure(side, extractor, out / f'{name}.npz')
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


def scores(sides, measured, seed):
  """All numbers of a comparison, ready for JSON."""
  a, b = measured['images'], measured['reference']
  protocol = {
    **sides['images'].protocol,
    'reference': sides['reference'].pictures,
  }
  return {
    **picture_sets.distance(a, b, seed),
    'images': {'source': sides['images'].source, 'count': a.count},
    'reference': {'source': sides['reference'].source, 'count': b.count},
    'protocol': protocol,
    'protocol_id': picture_sets.identity(protocol),
  }


def report(found):
  """What is printed."""
  protocol, n = found['protocol'], found['images']['count']
  crop = protocol['crop']
  return (
    f'FID       {found["fid"]:z.4f}\n'
    f'KID       {found["kid"]:z.6f} +- {found["kid_deviation"]:.6f} '
    f'(deviation of {found["kid_subsets"]} subsets of {found["kid_subset"]})\n'
    f'images    {n:,} of {found["images"]["source"]}\n'
    f'reference {found["reference"]["count"]:,} of '
    f'{found["reference"]["source"]}\n'
    f'protocol  {found["protocol_id"]}: Inception {protocol["network"][:12]}, '
    f'features {protocol["features"]}, {protocol["resize"]} resize of '
    f'{picture_sets.pixels(protocol["size"])} px, '
    + (f'square in the middle to {crop}' if crop else 'not cropped')
    + '\nFID depends on the number of pictures; KID does not.'
  )


if __name__ == '__main__':
  command.run(main)
