"""Makes a TensorFlow data set, in ArrayRecord files, of a folder or shards.

  python -m imagen_jax.build_tfds --source=photos --name=photos --out=DIR

One picture after another in this process, or with --beam by Apache Beam, whose
own flags follow two dashes: --beam -- --runner=DataflowRunner --project=...
Not in the paper.
"""

import sys

from imagen_jax.config import command, flags
from imagen_jax.data import source_flags, tfds_export


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.build_tfds',
    description='Makes a TensorFlow data set, in ArrayRecord files, of a '
    'folder or of tar shards. Flags that follow -- go to Apache Beam.',
    allow_abbrev=False,
  )
  add = p.add_argument
  source_flags.add(p, min_side=64)
  add(
    '--name',
    required=True,
    metavar='NAME',
    help='of the data set: small letters, digits and _ (no default)',
  )
  add(
    '--out',
    required=True,
    metavar='DIR',
    help="TFDS's data directory, where NAME/1.0.0 is made (no default)",
  )
  add(
    '--validation',
    type=float,
    default=0.01,
    metavar='X',
    help='share of the examples that become the validation split (default: '
    '0.01)',
  )
  add(
    '--max_bad',
    type=float,
    default=0.05,
    metavar='X',
    help='share of the files that may be useless before it stops (default: '
    '0.05)',
  )
  add(
    '--beam',
    action='store_true',
    help='run on Apache Beam, by default its DirectRunner (default: no)',
  )
  return p


def build(args, beam_flags=()):
  """Makes the data set; returns its builder."""
  source = source_flags.source(
    args,
    min_side=args.min_side,
    max_rejected=args.max_bad,
    validation=args.validation,
  )
  for split in ('train', 'validation'):
    source.open(split)  # what is wrong with it is told before TensorFlow loads
  return tfds_export.prepare(
    source,
    args.name,
    args.out,
    beam_flags=beam_flags if args.beam else None,
    max_bad=args.max_bad,
  )


def main(argv=None):
  """Makes the data set; returns the exit code, 2 for bad input."""
  argv = sys.argv[1:] if argv is None else argv
  at = argv.index('--') if '--' in argv else len(argv)
  own, beam_flags = argv[:at], argv[at + 1 :]
  args = parser().parse_args(own)
  try:
    made = build(args, beam_flags)
  except (ValueError, OSError) as e:
    return flags.failed(e, args.out)
  for name, split in made.info.splits.items():
    print(f'{made.data_path}  {name}  {split.num_examples:,} examples')
  return 0


if __name__ == '__main__':
  command.run(main)
