"""Draws pictures of sentences with a cascade; section 2 of the paper.

  python -m imagen_jax.sample "a red fox at sunset" --out=DIR

Writes one PNG per picture, named after its prompt, with the recipe in its
metadata, and a contact sheet, sheet.png, where there are 2 to 5,000. Starts
from a picture with --image, enlarges one with --upscale, draws one again with
--reproduce.
"""

import pathlib
import sys
import tempfile

import numpy as np

from imagen_jax import cascade as cascade_lib
from imagen_jax import (
  compilation_cache,
  edits,
  flags,
  gallery,
  pictures,
  recipes,
  stages,
)

SAME = 2  # of 255: pictures that differ by no more are the same
# What a recipe holds, as attributes of the parsed flags.
_RECIPE = (
  'prompts_file',
  'upto',
  'guidance',
  'steps',
  'aug_level',
  'sampler',
  'grid',
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
    help='text file with one more prompt a line (default: none)',
  )
  add(
    '--out',
    metavar='DIR',
    default='pictures',
    help='directory for the pictures, made if need be; files of the same '
    'name are replaced (default: pictures)',
  )
  add(
    '--num_images',
    type=flags.whole('pictures', 1, 1_000_000),
    default=1,
    metavar='N',
    help='pictures per prompt (default: 1)',
  )
  add(
    '--seed',
    type=flags.whole('seed', 0, 2**32 - 1),
    default=0,
    metavar='N',
    help='whole number from 0 to 2^32 - 1; a picture depends on its prompt, '
    'the seed and its number within the prompt alone (default: 0)',
  )
  add(
    '--cascade',
    metavar='DIR',
    help='cascade directory, see imagen_jax.bind (default: the one that '
    'ships with the package)',
  )
  add(
    '--upto',
    type=flags.whole('pixels', 1, 2**20),
    metavar='PIXELS',
    help='resolution of the last stage to run (default: all stages)',
  )
  add(
    '--guidance',
    type=flags.list_of(float),
    metavar='W[,W...]',
    help='weight of classifier-free guidance, no unit, 1 = off (default: the '
    "stages' own)",
  )
  add(
    '--steps',
    type=flags.list_of(int),
    metavar='N[,N...]',
    help="network evaluations of a picture (default: the stages' own)",
  )
  add(
    '--aug_level',
    type=flags.list_of(float),
    metavar='A[,A...]',
    help='noise on the picture a super-resolution stage starts from, 0 = none '
    'to 1 = nothing else; one value for all, or one per super-resolution '
    "stage (default: the stages' own)",
  )
  add(
    '--sampler',
    type=flags.list_of(str),
    metavar='NAME[,NAME...]',
    help=f"one of {', '.join(stages.SAMPLERS)} (default: the stages' own)",
  )
  add(
    '--grid',
    type=flags.list_of(str),
    metavar='NAME[,NAME...]',
    help='what the steps divide evenly, one of '
    f"{', '.join(stages.GRIDS)} (default: the stages' own)",
  )
  add(
    '--negative',
    metavar='PROMPT',
    help='sentence that guidance leads away from; needs a guidance other '
    'than 1 (default: no text)',
  )
  add(
    '--save_steps',
    action='store_true',
    help='write beside each picture a strip of how it came about, a row for '
    'each stage (default: no)',
  )
  changed = p.add_argument_group('start from a picture')
  changed.add_argument(
    '--image',
    metavar='FILE',
    help='picture to change; its centre is cut to a square (default: none)',
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
    help='picture of the same size, bright where to draw; the rest stays '
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
  other = p.add_argument_group('instead of sentences')
  other.add_argument(
    '--upscale',
    metavar='FILE',
    help='picture of any size and shape to enlarge by the super-resolution '
    'stages; one sentence may say what it shows (default: none)',
  )
  other.add_argument(
    '--reproduce',
    metavar='FILE',
    help='PNG drawn by this command, to draw again from the recipe in its '
    'metadata and compare; exit code 1 if it differs by more than '
    f'{SAME}/255 (default: none)',
  )
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    check_together(args)
    if args.reproduce:
      return reproduce(args)
    prompts = read_prompts(args.prompts, args.prompts_file, bool(args.upscale))
    out = writable(args.out)
    compilation_cache.enable()
    cascade = cascade_lib.load_cascade(args.cascade)
    plan = cascade.plan(
      upto=args.upto,
      guidance=args.guidance,
      steps=args.steps,
      aug_level=args.aug_level,
      sampler=args.sampler,
      grid=args.grid,
    )
    source = read_source(args, cascade.stages[len(plan) - 1].resolution)
  except ValueError as e:
    return flags.failed(e, args.out)
  for remark in cascade.remarks([p for p in prompts if p or not args.upscale]):
    print(f'warning: {remark}', file=sys.stderr)
  try:
    if args.upscale:
      written = gallery.enlarge(
        cascade, plan, args.upscale, prompts[0], args.seed, out
      )
    else:
      written = gallery.draw(
        cascade,
        plan,
        prompts,
        args.num_images,
        args.seed,
        out,
        negative=args.negative,
        source=source,
        save_steps=args.save_steps,
      )
  except (ValueError, FloatingPointError, OSError) as e:
    return flags.failed(e, out)
  for path in written:
    print(path)
  return 0


def check_together(args):
  """Raises ValueError for flags that make no sense together."""
  alone = [f for f in ('image', 'upscale', 'reproduce') if getattr(args, f)]
  if len(alone) > 1:
    raise ValueError(
      f'--{alone[0]} and --{alone[1]} are two jobs; give them one by one'
    )
  for flag in ('strength', 'mask', 'outpaint'):
    if getattr(args, flag) is not None and not args.image:
      raise ValueError(f'--{flag} needs --image=FILE, the picture to change')
  if args.mask and args.outpaint is not None:
    raise ValueError('--outpaint makes a mask of its own; leave out --mask')
  if args.upscale and args.num_images > 1:
    raise ValueError('--upscale makes one picture; leave out --num_images')
  for flag in (*_RECIPE, 'prompts') if args.reproduce else ():
    if getattr(args, flag):
      raise ValueError(
        f'--reproduce takes everything from the picture; leave out {flag}'
      )


def read_source(args, resolution):
  """The `edits.Source` that the flags ask for, or None."""
  if not args.image:
    return None
  picture = edits.read(args.image)
  mask = args.mask and edits.read_mask(args.mask, picture)
  if picture.shape[0] != picture.shape[1]:
    print(
      f'note: the centre of {args.image} is cut to a square', file=sys.stderr
    )
  picture = edits.square(picture, resolution)
  if mask is not None:
    mask = edits.square(mask, resolution)
  if args.outpaint is not None:
    picture, mask = edits.outpainting(picture, args.outpaint)
  whole = edits.STRENGTH if mask is None else 1.0
  return edits.Source(
    picture=picture,
    mask=mask,
    strength=whole if args.strength is None else args.strength,
    resamples=args.resamples,
  )


def reproduce(args):
  """Draws a picture again; the exit code, 1 where it is another one."""
  stored, text = pictures.read_png(args.reproduce)
  recipe = recipes.read(text, args.reproduce)
  out = writable(args.out)
  compilation_cache.enable()
  cascade = cascade_lib.load_cascade(args.cascade)
  path, image = gallery.draw_again(cascade, recipe, args.reproduce, out)
  print(path)
  if image.shape != stored.shape:
    print(f'another size: {image.shape[0]} px, {stored.shape[0]} px before')
    return 1
  difference = np.abs(image.astype(int) - stored)
  if not difference.any():
    print('the same picture, bit for bit')
    return 0
  print(
    f'differs by at most {difference.max()}/255, on average by '
    f'{difference.mean():.3f}/255'
  )
  return int(difference.max() > SAME)


def read_prompts(prompts, path, upscale=False):
  """The prompts of the command line, then those of the file, each once.

  To `upscale` needs no prompt; it then is the empty one.
  """
  prompts = list(prompts)
  if path is not None:
    try:
      lines = pathlib.Path(path).read_text(encoding='utf-8-sig').splitlines()
    except OSError as e:
      raise ValueError(
        f'--prompts_file={path} cannot be read: {e.strerror}'
      ) from e
    except UnicodeDecodeError as e:
      raise ValueError(
        f'--prompts_file={path} is not UTF-8 text ({e.reason} at byte '
        f'{e.start}); save it as UTF-8'
      ) from e
    prompts += [line.strip() for line in lines if line.strip()]
  for prompt in prompts:
    try:
      prompt.encode()
    except UnicodeEncodeError as e:
      raise ValueError(
        f'the prompt {prompt!r} is not UTF-8 text; type it again or set a '
        'UTF-8 locale'
      ) from e
  if upscale:
    if len(prompts) > 1:
      raise ValueError(
        f'{len(prompts)} prompts for the one picture of --upscale; give one '
        'that says what it shows, or none'
      )
    return prompts or ['']
  if not prompts:
    raise ValueError(
      'no prompt given; write one, such as "a red fox at sunset", or give '
      '--prompts_file=FILE'
    )
  return list(dict.fromkeys(prompts))


def writable(directory):
  """`directory` as a path, made if need be; ValueError if it cannot be."""
  path = pathlib.Path(directory)
  try:
    path.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=path).close()
  except OSError as e:
    raise ValueError(
      f'--out={directory} cannot be written: {e.strerror}; give another '
      'directory'
    ) from e
  return path


if __name__ == '__main__':
  sys.exit(main())
