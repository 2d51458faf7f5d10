"""The flags of `imagen_jax.sample`, and which of them go together."""

import argparse

from imagen_jax.config import flags
from imagen_jax.files import pictures
from imagen_jax.sampling import edits, recipes, setting_flags
from imagen_jax.sampling import prompts as prompts_lib
from imagen_jax.stages import settings

VARIATIONS = 4  # of a picture, unless told
SAME = 2  # of 255: pictures that differ by no more are the same
# What a recipe holds, as attributes of the parsed flags.
_RECIPE = (
  'prompts_file',
  'upto',
  'size',
  'preset',
  *settings.offered(),
  'layout',
  'negative',
)


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.sample',
    description='Draws pictures of sentences. Lists of values are in the '
    'order of the stages, separated by commas. The first run on a machine '
    'compiles for about a minute; the result is kept (IMAGEN_JAX_CACHE=DIR '
    'says where, IMAGEN_JAX_CACHE=off not at all).',
    allow_abbrev=False,
  )
  add = p.add_argument
  add('prompts', nargs='*', metavar='PROMPT', help='sentences (default: none)')
  add(
    '--prompts_file',
    metavar='FILE',
    help='text file with one more prompt a line. The same command goes on '
    'where it was interrupted, a bad line does not stop the others and makes '
    'the exit code 1 (default: none)',
  )
  add(
    '--out',
    metavar='DIR',
    default='pictures',
    help='directory for the pictures, made if need be, or FILE.png of the only '
    'one; files of the same name are replaced (default: pictures)',
  )
  add(
    '--num_images',
    type=flags.whole('pictures', 1, 1_000_000),
    metavar='N',
    help=f'pictures per prompt (default: 1, {VARIATIONS} of --variations)',
  )
  add(
    '--seed',
    type=flags.seed,
    default=0,
    metavar='N',
    help='whole number from 0 to 2^32 - 1; a picture depends on its prompt, '
    'the seed and its number within the prompt alone (default: 0)',
  )
  flags.add_cascade(p)
  add(
    '--upto',
    type=flags.whole('pixels', 1, 2**20),
    metavar='PIXELS',
    help='resolution of the last stage to run (default: all stages)',
  )
  add(
    '--size',
    type=_size,
    metavar='WIDTHxHEIGHT',
    help='of the pictures that come out, in pixels; what is far from the '
    'square that the stages learned comes out worse (default: square, of the '
    'resolution of the last stage)',
  )
  setting_flags.add_preset(p)
  add(
    '--layout',
    metavar='FILE',
    help='what to draw where: JSON of boxes (docs/layouts.md), or a picture '
    'that carries its layout (default: as the layout stage of the cascade has '
    'it)',
  )
  add(
    '--negative',
    metavar='PROMPT',
    help='sentence that guidance leads away from; needs a guidance other '
    'than 1 (default: no text)',
  )
  add(
    '--devices',
    type=flags.whole('devices', 1, 100_000),
    metavar='N',
    help='accelerators of this machine to draw on; a picture does not depend '
    'on their number (default: all)',
  )
  add(
    '--rows_from',
    type=flags.whole('pixels', 1, 2**20),
    metavar='PIXELS',
    help='from this resolution on, cut the rows of each picture over the '
    'devices, where one has not the memory for a whole one; changes it by '
    'rounding alone (default: whole pictures on each)',
  )
  add(
    '--shard',
    type=flags.whole('pictures', 1, 1_000_000),
    metavar='N',
    help='pack the pictures of a --prompts_file into tar files of N, with '
    'prompts and recipes beside them, as soon as each is whole (default: a '
    'file for each picture)',
  )
  add(
    '--hosts',
    type=flags.whole('hosts', 1, 100_000),
    default=1,
    metavar='N',
    help='machines that share a --prompts_file and a directory (default: 1)',
  )
  add(
    '--host',
    type=flags.whole('host', 0, 99_999),
    default=0,
    metavar='N',
    help='number of this machine, from 0 (default: 0)',
  )
  add(
    '--save_steps',
    action='store_true',
    help='write beside each picture a strip of how it came about, a row for '
    'each stage, and a chart of what thresholding and guidance did; takes '
    'twice as long (default: no)',
  )
  setting_flags.add(p)
  changed = p.add_argument_group('start from a picture')
  changed.add_argument(
    '--image',
    metavar='FILE',
    help='picture to change; its centre is cut to a square (default: none)',
  )
  changed.add_argument(
    '--variations',
    metavar='FILE',
    help=f'picture to draw others like: as --image, by its own prompt where it '
    f'has one and none is given, {VARIATIONS} of them without --num_images '
    '(default: none)',
  )
  changed.add_argument(
    '--strength',
    type=float,
    metavar='S',
    help='share of the steps done anew, 0 = the picture itself to 1 = from '
    f'noise (default: {edits.STRENGTH}; 1 with a mask)',
  )
  changed.add_argument(
    '--mask',
    metavar='FILE',
    help='picture of the same size, bright where to draw; the rest stays, '
    'what is transparent too '
    '(default: everywhere)',
  )
  changed.add_argument(
    '--outpaint',
    type=float,
    metavar='SHARE',
    help='shrink the picture and draw a border of this share of the side '
    'around it (default: none)',
  )
  changed.add_argument(
    '--resamples',
    type=flags.whole('times', 1, 100),
    default=5,
    metavar='N',
    help='times each step is done inside a mask, for parts that agree '
    '(default: 5)',
  )
  other = p.add_argument_group('other jobs')
  other.add_argument(
    '--upscale',
    metavar='FILE',
    help='picture of any size and shape to enlarge by the super-resolution '
    'stages; one sentence may say what it shows (default: none)',
  )
  other.add_argument(
    '--interpolate',
    type=flags.whole('pictures', 2, 1000),
    metavar='N',
    help='draw N pictures on the way from each sentence to the next, of the '
    'same noise: a strip and a GIF (default: none)',
  )
  other.add_argument(
    '--reproduce',
    metavar='FILE',
    help='PNG drawn by this command, to draw again from the recipe in its '
    'metadata and compare; exit code 1 if it differs by more than '
    f'{SAME}/255 (default: none)',
  )
  return p


def check_together(args):
  """Raises ValueError for flags that make no sense together."""
  jobs = ('image', 'variations', 'upscale', 'interpolate', 'reproduce')
  alone = [f for f in jobs if getattr(args, f)]
  if len(alone) > 1:
    raise ValueError(
      f'--{alone[0]} and --{alone[1]} are two jobs; give them one by one'
    )
  for flag in ('strength', 'mask', 'outpaint'):
    image = args.image or flag == 'strength' and args.variations
    if getattr(args, flag) is not None and not image:
      raise ValueError(f'--{flag} needs --image=FILE, the picture to change')
  if args.mask and args.outpaint is not None:
    raise ValueError('--outpaint makes a mask of its own; leave out --mask')
  if args.host >= args.hosts:
    raise ValueError(
      f'--host={args.host} of --hosts={args.hosts}: give a host from 0 to '
      f'{args.hosts - 1}'
    )
  if args.hosts > 1 and not args.prompts_file:
    raise ValueError('--hosts shares out a list; give --prompts_file=FILE')
  if args.shard and not args.prompts_file:
    raise ValueError('--shard packs a list; give --prompts_file=FILE')
  if args.shard and args.save_steps:
    raise ValueError('--shard packs pictures alone; leave out --save_steps')
  for flag in ('upscale', 'interpolate'):
    if getattr(args, flag) and args.num_images:
      raise ValueError(f'--{flag} draws one of a kind; leave out --num_images')
  for flag in ('image', 'variations', 'upscale'):
    if args.size and getattr(args, flag):
      raise ValueError(
        f'--{flag} takes the shape from the picture; leave out --size'
      )
  for flag in ('image', 'variations', 'upscale', 'interpolate'):
    if args.layout and getattr(args, flag):
      raise ValueError(
        f'--{flag} has its things in their places; leave out --layout'
      )
  if args.interpolate and args.save_steps:
    raise ValueError('--interpolate has no steps to show; leave out a flag')
  for flag in (*_RECIPE, 'prompts') if args.reproduce else ():
    if getattr(args, flag) not in (None, []):
      raise ValueError(
        f'--reproduce takes everything from the picture; leave out {flag}'
      )


def _size(text):
  """A type: 'WIDTHxHEIGHT' -> (height, width)."""
  width, _, height = text.partition('x')
  if not (width.isdecimal() and height.isdecimal()) or not all(
    0 < int(n) <= recipes.LONGEST_SIDE for n in (width, height)
  ):
    raise argparse.ArgumentTypeError(
      f'{text!r} is no size; write WIDTHxHEIGHT, such as 1536x1024, of at most '
      f'{recipes.LONGEST_SIDE} each'
    )
  return int(height), int(width)


def vary(args):
  """Sets the flags as --variations means them."""
  args.image = args.variations
  args.num_images = args.num_images or VARIATIONS
  if not args.prompts and not args.prompts_file:
    text = pictures.read_text(args.variations) or {}
    args.prompts = [text.get('prompt', '')[: prompts_lib.LONGEST]]
