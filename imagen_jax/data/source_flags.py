"""Command-line flags that name a set of files and filter it.

What tools that read a set have in common, so that they call it alike.

  add(parser, min_side=...)   --source, --caption, --index_dir and the filter's
  source(args, ...)           what they name: one of `sources`, with an index
"""

import os

from imagen_jax.config import flags
from imagen_jax.data import images, index, photographs, sources
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
  add_argument(
    '--lines',
    action='store_true',
    help='each line of a .txt is a caption of its own (default: all are one)',
  )
  add_argument(
    '--image',
    metavar='NAME',
    help="column of a folder's metadata that names the pictures, or holds them"
    + (', or picture feature of a tfds: source' if tfds else '')
    + ' (default: file_name or image)',
  )
  if tfds:
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
  image, data_dir = args.image, getattr(args, 'data_dir', None)
  if kind == 'tfds' and hasattr(args, 'data_dir'):
    of_tfds = {'image': image, 'data_dir': data_dir}
    return sources.Tfds(name=name, **_given(common | of_tfds))
  if data_dir:
    raise ValueError('--data_dir is for a tfds: source')
  if kind == 'tfds':
    raise ValueError(f'{text} is no folder and no shards')
  if kind == 'scenes':
    raise ValueError(
      f'{text}: the embedded scenes are drawn, there are no files; give '
      'a folder or shards'
    )
  common['lines'] = args.lines
  if kind == 'shards' or _is_shards(text):
    if image:
      raise ValueError('--image is for a folder or a tfds: source')
    files = name if kind == 'shards' else text
    return sources.Shards(files=files, **_given(common))
  if not os.path.isdir(text):
    raise ValueError(f'source {text} does not exist; give a folder or shards')
  return sources.Folder(directory=text, image=image, **_given(common))


def _given(fields):
  """Those that are not left to their defaults."""
  return {name: value for name, value in fields.items() if value is not None}


def _is_shards(path):
  if remote.is_remote(path) or path.endswith(remote.TARS):
    return True
  return os.path.isdir(path) and _holds_shards(path)


def _holds_shards(path):
  """Whether the first folder that holds anything of either holds shards."""
  for _, folders, names in os.walk(path):
    folders[:] = sorted(name for name in folders if name[0] != '.')
    kinds = {name.rpartition('.')[2].lower() for name in names}
    if any(name.lower().endswith(remote.TARS) for name in names):
      return True
    if not kinds.isdisjoint(images.EXTENSIONS):
      return False
  return False
