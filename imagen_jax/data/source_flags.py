"""Command-line flags that name a source of files and filter it.

What tools that read a set have in common, so that they call it alike.

  add(parser, min_side)   --source, --caption, --index_dir and the filter's
  source(args, ...)       what they name: one of `sources`
"""

from imagen_jax import flags
from imagen_jax.data import index, photographs, sources


def add(p, min_side: int | None) -> None:
  """Adds the flags; `min_side` None = --resolution, which is the tool's."""
  add_argument = p.add_argument
  add_argument(
    '--source',
    required=True,
    metavar='SOURCE',
    help='a folder, a directory or pattern of .tar shards, shards:PATTERN, or, '
    'for a report, tfds:NAME (no default)',
  )
  add_argument(
    '--caption',
    metavar='NAME',
    help='key, column or feature of the captions (default: text, caption or '
    'captions)',
  )
  add_argument(
    '--index_dir',
    metavar='DIR',
    help='where the index is kept (default: in the set)',
  )
  add_argument(
    '--min_side',
    type=flags.whole('pixels', 1, 65_535),
    default=min_side,
    metavar='N',
    help='pixels that the shorter side must have (default: '
    f'{min_side or "--resolution"})',
  )
  add_argument(
    '--max_aspect',
    type=float,
    default=3.0,
    metavar='X',
    help='longer over shorter side, at most; 0 = any (default: 3)',
  )


def source(
  args,
  *,
  min_side: int,
  max_rejected: float,
  validation: float = photographs.Reading.validation,
  **changes,
) -> sources.Source:
  """The source of parsed flags; `changes` that are None are left out."""
  reading = photographs.Reading(
    keep=index.Filter(
      min_side=min_side,
      max_aspect=args.max_aspect or None,
      max_rejected=max_rejected,
    ),
    validation=validation,
  )
  named = {'caption': args.caption, 'index_dir': args.index_dir, **changes}
  given = {name: value for name, value in named.items() if value is not None}
  return sources.parse(args.source, reading=reading, **given)
