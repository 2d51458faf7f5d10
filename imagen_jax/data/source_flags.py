"""Command-line flags that name a set of files and filter it.

What tools that read a set have in common, so that they call it alike.

  add(parser, min_side=...)   --source, --caption, --index_dir and the filter's
  source(args, ...)           what they name: one of `sources`, with an index
"""

import os

from imagen_jax.config import flags
from imagen_jax.data import index, photographs, sources
from imagen_jax.files import remote


def add(p, *, min_side: int | None, tfds: bool = False) -> None:
  """Adds the flags.

  Args:
    p: the parser.
    min_side: default of --min_side; None = --resolution, which is the tool's.
    tfds: whether data sets of TFDS may be named too.
  """
  add_argument = p.add_argument
  add_argument(
    '--source',
    required=True,
    metavar='SOURCE',
    help='a folder, a directory or pattern of .tar shards, shards:PATTERN'
    + (', or tfds:NAME' if tfds else '')
    + ' (no default)',
  )
  add_argument(
    '--caption',
    metavar='NAME',
    help='key, column or feature of the captions (default: text, caption or '
    'captions)',
  )
  if tfds:
    add_argument(
      '--image',
      metavar='NAME',
      help='picture feature of a tfds: source (default: image)',
    )
    add_argument(
      '--data_dir',
      metavar='DIR',
      help="where a tfds: source lies (default: TFDS's own directory)",
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
) -> sources.Folder | sources.Shards | sources.Tfds:
  """The source of parsed flags."""
  common = {
    'caption': args.caption,
    'index_dir': args.index_dir,
    'reading': photographs.Reading(
      keep=index.Filter(
        min_side=min_side,
        max_aspect=args.max_aspect or None,
        max_rejected=max_rejected,
      ),
      validation=validation,
    ),
  }
  text, (kind, colon, name) = args.source, args.source.partition(':')
  kind = kind if colon else ''  # a folder may be called 'shards'
  if kind in ('tfds', 'shards') and not name:
    raise ValueError(f'--source={text} names no set')
  of_tfds = {k: getattr(args, k, None) for k in ('image', 'data_dir')}
  if kind == 'tfds' and hasattr(args, 'image'):
    return sources.Tfds(name=name, **_given(common | of_tfds))
  if any(of_tfds.values()):
    raise ValueError('--image and --data_dir are for a tfds: source')
  if kind == 'tfds':
    raise ValueError(f'{text} is no folder and no shards')
  if kind == 'scenes':
    raise ValueError(
      f'{text}: the embedded scenes are drawn, there are no files; give '
      'a folder or shards'
    )
  if kind == 'shards':
    return sources.Shards(files=name, **_given(common))
  if remote.is_remote(text) or text.endswith('.tar') or _holds_shards(text):
    return sources.Shards(files=text, **_given(common))
  if not os.path.isdir(text):
    raise ValueError(f'source {text} does not exist; give a folder or shards')
  return sources.Folder(directory=text, **_given(common))


def _given(fields):
  """Those that are not left to their defaults."""
  return {name: value for name, value in fields.items() if value is not None}


def _holds_shards(path):
  return os.path.isdir(path) and any(
    name.endswith('.tar') for name in os.listdir(path)
  )
