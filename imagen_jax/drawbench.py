"""Draws DrawBench with a cascade, ready for raters (section 4.3, appendix C).

  python -m imagen_jax.drawbench --sheet=FILE.csv --cascade=DIR --out=DIR

Eight pictures of each of 200 prompts, their category in the metadata, and a
contact sheet of each category. Without --sheet our own 200 fixed prompts of
the embedded scenes are drawn in the same form. Two such directories go to
`imagen_jax.rate --protocol=drawbench`. The same command again goes on.
"""

import dataclasses
import pathlib

from imagen_jax.config import command, flags
from imagen_jax.evaluation import drawbench, records
from imagen_jax.evaluation.scenes import questions
from imagen_jax.files import pictures
from imagen_jax.parallel import compilation
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import series, setting_flags

EACH = 8  # pictures of a prompt, as in the paper


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.drawbench',
    description='Draws the prompts of DrawBench, or our own, for raters.',
    allow_abbrev=False,
  )
  add = p.add_argument
  flags.add_cascade(p)
  add(
    '--sheet',
    metavar='FILE',
    help='the released sheet as CSV or TSV, with the columns Prompts and '
    'Category (default: the 200 fixed prompts of the embedded scenes)',
  )
  add(
    '--num_images',
    type=flags.whole('pictures', 1, 1_000),
    default=EACH,
    metavar='N',
    help=f'of each prompt (default: {EACH}, as in the paper)',
  )
  add(
    '--prompts',
    type=flags.whole('prompts', 1, 200),
    metavar='N',
    help='of each category, evenly spread; more later adds to them (default: '
    'all)',
  )
  add(
    '--upto',
    type=flags.whole('pixels', 1, 2**20),
    metavar='PIXELS',
    help='resolution of the last stage to run (default: all stages)',
  )
  setting_flags.add_preset(p)
  flags.add_seed(p)
  add(
    '--out',
    metavar='DIR',
    default='drawbench',
    help='directory for pictures and contact sheets; the same one goes on '
    'where it was interrupted (default: drawbench)',
  )
  setting_flags.add(p)
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  out = pathlib.Path(args.out)
  try:
    prompts = drawbench.read(args.sheet) if args.sheet else None
    compilation.enable_cache()
    cascade = cascade_lib.load_cascade(args.cascade)
    if prompts is None:
      prompts = drawbench.scenes(questions.claimed(cascade.words))
    prompts = drawbench.some(prompts, args.prompts)
    plan = cascade.plan(
      upto=args.upto, preset=args.preset, **setting_flags.given(args)
    )
    records.claim(out, settings(cascade, plan, args))
    items = listed(prompts, args.num_images)
    series.draw(cascade, plan, items, out, seed=args.seed, title='drawbench')
    size = cascade.stages[len(plan) - 1].resolution
    sheets = write_sheets(prompts, args.num_images, size, out)
  except (ValueError, FloatingPointError, OSError) as e:
    return flags.failed(e, out)
  except KeyboardInterrupt:
    return flags.stopped()
  print(*sheets, sep='\n')
  print(
    f'{args.num_images} pictures of {len(prompts)} prompts in '
    f'{len(sheets)} categories, {size} px, cascade {cascade.id}; rate two '
    'such directories by python -m imagen_jax.rate --protocol=drawbench'
  )
  return 0


def settings(cascade, plan, args):
  """What all pictures of a directory have in common."""
  return {
    'cascade': cascade.id,
    'resolution': cascade.stages[len(plan) - 1].resolution,
    'sampling': [dataclasses.asdict(sampling) for sampling in plan],
    'seed': args.seed,
    'sheet': pathlib.Path(args.sheet).name if args.sheet else None,
  }


def listed(prompts, each) -> list[series.Item]:
  """The pictures to draw. A prompt that comes again goes on counting."""
  seen, items = {}, []
  for prompt in prompts:
    first = seen.get(prompt.caption, 0)
    seen[prompt.caption] = first + each
    items += [
      series.Item(
        path=path(prompt, number),
        caption=prompt.caption,
        index=first + number,
        about={'category': prompt.category},
      )
      for number in range(each)
    ]
  return items


def path(prompt, number) -> str:
  """Where a picture lies."""
  folder = pictures.slug(prompt.category)
  return f'{folder}/{prompt.number:03d}_{number}.png'


def write_sheets(prompts, each, size, out):
  """A contact sheet of each category, a row for each prompt: their paths."""
  written = []
  for category, group in drawbench.by_category(prompts).items():
    captions = [prompt.caption for prompt in group]
    sheet = pictures.Sheet(captions, each, size)
    for row, prompt in enumerate(group):
      for number in range(each):
        image, _ = pictures.read_png(out / path(prompt, number))
        sheet.add(row, number, image)
    # The name is one that scores of a directory pass over.
    written.append(out / f'{pictures.slug(category)}_sheet.png')
    sheet.write(written[-1])
  return written


if __name__ == '__main__':
  command.run(main)
