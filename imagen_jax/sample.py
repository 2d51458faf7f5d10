"""Draws pictures of sentences with a cascade; section 2 of the paper.

  python -m imagen_jax.sample "a red fox at sunset" --out=DIR

Writes one PNG per picture, named after its prompt, with the recipe in its
metadata, and a contact sheet, sheet.png, where there are 2 to 5,000.
"""

import math
import pathlib
import sys
import tempfile

import tqdm

import imagen_jax
from imagen_jax import cascade as cascade_lib
from imagen_jax import compilation_cache, flags, pictures

SHEET = 'sheet.png'


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
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    prompts = read_prompts(args.prompts, args.prompts_file)
    out = writable(args.out)
    compilation_cache.enable()
    cascade = cascade_lib.load_cascade(args.cascade)
    plan = cascade.plan(
      upto=args.upto,
      guidance=args.guidance,
      steps=args.steps,
      aug_level=args.aug_level,
    )
  except ValueError as e:
    return flags.failed(e, args.out)
  for remark in cascade.remarks(prompts):
    print(f'warning: {remark}', file=sys.stderr)
  try:
    written = draw_and_write(
      cascade, plan, prompts, args.num_images, args.seed, out
    )
  except (ValueError, FloatingPointError, OSError) as e:
    return flags.failed(e, out)
  for path in written:
    print(path)
  return 0


def read_prompts(prompts, path):
  """The prompts of the command line, then those of the file, each once."""
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


def draw_and_write(cascade, plan, prompts, num_images, seed, out):
  """Draws every picture, writing each group as it is done: list of paths."""
  requests = [
    cascade_lib.Request(caption=prompt, index=index)
    for prompt in prompts
    for index in range(num_images)
  ]
  drawn = cascade.stages[: len(plan)]
  size = drawn[-1].resolution
  names = dict(zip(prompts, pictures.slugs(prompts)))
  several = 1 < len(requests) <= pictures.SHEET_MOST
  sheet = pictures.Sheet(prompts, num_images, size) if several else None
  written = []
  # Whole batches of every stage: grouping neither costs nor changes anything.
  group = math.lcm(*(stage.sampling.batch for stage in drawn))
  with Bar(drawn, plan, len(requests), group) as bar:
    for first in range(0, len(requests), group):
      part = requests[first : first + group]
      images = cascade.draw(part, plan, seed=seed, progress=bar.report)
      for n, (request, image) in enumerate(zip(part, images), start=first):
        path = out / f'{names[request.caption]}_seed{seed}_{request.index}.png'
        text = recipe(cascade, plan, request, seed)
        pictures.write_png(path, image, text)
        written.append(path)
        if sheet:
          sheet.add(*divmod(n, num_images), image)
  if sheet:
    sheet.write(out / SHEET)
    written.append(out / SHEET)
  return written


def recipe(cascade, plan, request, seed):
  """What a picture's metadata says: enough to draw it again."""
  drawn = cascade.stages[: len(plan)]
  levels = [_exactly(sampling.aug_level) for sampling in plan[1:]]
  text = {
    'prompt': request.caption,
    'seed': str(seed),
    'index': str(request.index),
    'cascade': cascade.id,
    'resolution': str(drawn[-1].resolution),
    'sampler': ','.join(sampling.sampler for sampling in plan),
    'steps': ','.join(str(sampling.steps) for sampling in plan),
    'guidance': ','.join(_exactly(sampling.guidance) for sampling in plan),
    'aug_level': ','.join(levels),
    'software': f'imagen_jax {imagen_jax.__version__}',
  }
  return {key: value for key, value in text.items() if value or key == 'prompt'}


def _exactly(number):
  """As short as it can be and still be read back as the same number."""
  return repr(float(number)).removesuffix('.0')


class Bar:
  """A progress bar over the steps of all stages and groups."""

  def __init__(self, stages, plan, num_pictures, group):
    self._sizes = {stage.name: stage.resolution for stage in stages}
    batches = [
      sum(
        -(-min(group, num_pictures - first) // stage.sampling.batch)
        for first in range(0, num_pictures, group)
      )
      for stage in stages
    ]
    total = sum(n * sampling.steps for n, sampling in zip(batches, plan))
    self._bar = tqdm.tqdm(total=total, unit='step', disable=None)
    self._step = 0  # of the stage that is running

  def report(self, name, step, steps):
    """The `progress` of `Cascade.draw`."""
    del steps
    self._bar.set_description_str(f'{self._sizes[name]} px')
    self._bar.update(step - self._step if step else 0)
    self._step = step

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self._bar.close()


if __name__ == '__main__':
  sys.exit(main())
