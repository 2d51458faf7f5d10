"""Finds the settings of a stage: guidance x threshold x steps x aug_level.

  python -m imagen_jax.sweep --guidance=1,2,4,8 --threshold=static,dynamic \
      --split=validation --num=50 --upto=64 --out=sweep

Draws the first captions of a split at every combination, reads the pictures
back with the checker of the data set, and writes sweep.csv and sweep.png: how
many show what was asked, how much what is seen looks like the data set's own
drawings, and one against the other (the paper's figures 3 and A.5, with the
checker in the place of CLIP and FID). The pictures of all combinations are the
same in seed and captions. They are kept: the same command goes on where it was
interrupted, and more values or more captions add to what is there. What the
stages before the one that is tried give is drawn once for all combinations.
"""

import csv
import dataclasses
import io
import itertools
import pathlib
import statistics

import numpy as np
import tqdm

from imagen_jax import stages as stages_lib
from imagen_jax.config import command, flags
from imagen_jax.data.emoji_scenes import checker, scenes, splits
from imagen_jax.evaluation import records
from imagen_jax.evaluation.scenes import alignment, questions
from imagen_jax.files import pictures, plots
from imagen_jax.parallel import compilation
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import setting_flags
from imagen_jax.stages import settings as settings_lib

LEAST = 64  # pixels; the checker reads nothing smaller
# Settings that may be swept, in the order of the columns.
SWEPT = settings_lib.deciding()
_BEFORE = 'before'  # folder of what the earlier stages gave
_SHOWN = 8  # pictures of each combination on the sheet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
  """A combination: what is said of the swept stage."""

  settings: tuple[tuple[str, object], ...]

  @property
  def name(self):
    """A piece of a file name: guidance=2,steps=8."""
    return ','.join(f'{k}={_said(k, v)}' for k, v in self.settings) or 'own'


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.sweep',
    description='Tries settings of a stage on the scenes of the embedded data '
    'set. Lists are tried in every combination.',
    allow_abbrev=False,
  )
  add = p.add_argument
  flags.add_cascade(p)
  add(
    '--split',
    choices=[name for name in splits.SIZES if name != 'train'],
    default='validation',
    help='whose captions are drawn (default: validation)',
  )
  add(
    '--num',
    type=flags.whole('captions', 1, 100_000),
    default=50,
    metavar='N',
    help='captions, the first of the split (default: 50)',
  )
  add(
    '--upto',
    type=flags.whole('pixels', LEAST, 2**20),
    default=LEAST,
    metavar='PIXELS',
    help='resolution of the last stage to run, and to judge (default: '
    f'{LEAST})',
  )
  add(
    '--stage',
    type=flags.whole('pixels', 1, 2**20),
    metavar='PIXELS',
    help='resolution of the stage whose settings are tried; the others keep '
    'theirs (default: the last that runs)',
  )
  setting_flags.add_preset(p)
  add(
    '--vocabulary',
    choices=tuple(splits.VOCABULARIES),
    help='of the captions (default: the larger one that the cascade claims)',
  )
  flags.add_seed(p)
  add(
    '--out',
    metavar='DIR',
    default='sweep',
    help='directory for sweep.csv, sweep.png, the sheet and the pictures '
    '(default: sweep)',
  )
  setting_flags.add(
    p,
    SWEPT,
    lists='one value or several to try, separated by commas',
    default="the stage's own",
  )
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  out = pathlib.Path(args.out)
  try:
    compilation.enable_cache()
    cascade = cascade_lib.load_cascade(args.cascade)
    place, plans = plan_points(cascade, args)
    vocabulary = args.vocabulary or questions.claimed(cascade.words)
    chosen = questions.examples(args.split, vocabulary, args.num)
    records.claim(out, fixed(cascade, vocabulary, args))
    judged = run(cascade, plans, place, chosen, vocabulary, args.seed, out)
    rows = [row(point, judged[point]) for point in plans]
    write_csv(out / 'sweep.csv', rows)
    pictures.write_png(out / 'sweep.png', curves(rows, args), {})
    write_sheet(out, plans, chosen, args.upto)
  except (ValueError, FloatingPointError, OSError) as e:
    return flags.failed(e, out)
  print((out / 'sweep.csv').read_text(), end='')
  print(
    f'{len(chosen)} captions of {args.split} at each of {len(rows)} points; '
    f'curves in {out / "sweep.png"}, pictures in {out / "sheet.png"}'
  )
  return 0


def plan_points(cascade, args):
  """Which of the stages is tried, and point -> the plan of its pictures."""
  swept = setting_flags.given(args, SWEPT)
  swept_size = args.stage or args.upto
  is_base = swept_size == cascade.stages[0].resolution
  for name in swept:
    if is_base and not stages_lib.SETTINGS[name].base:
      raise ValueError(
        f'--{name} is of super-resolution, and the stage is the base; give a '
        'larger --upto or --stage'
      )
  plan = cascade.plan(upto=args.upto, preset=args.preset)
  sizes = [stage.resolution for stage in cascade.stages[: len(plan)]]
  if args.stage is not None and args.stage not in sizes:
    raise ValueError(
      f'--stage={args.stage}, the stages that run end at '
      f'{", ".join(map(str, sizes))}; choose one of these'
    )
  place = sizes.index(swept_size)
  points = {}
  for values in itertools.product(*swept.values()):
    settings = dict(zip(swept, values))
    changed = settings_lib.replaced(plan[place], **settings)
    stages_lib.edge(cascade.stages[place], changed)  # checks the margin
    point = Point(settings=tuple(settings.items()))
    points[point] = (*plan[:place], changed, *plan[place + 1 :])
  return place, points


def fixed(cascade, vocabulary, args):
  """What all pictures of a directory have in common."""
  plan = cascade.plan(upto=args.upto, preset=args.preset)
  return {
    'cascade': cascade.id,
    'split': args.split,
    'upto': args.upto,
    'stage': args.stage or args.upto,
    'preset': args.preset,
    # A preset of the cascade's own may change, and is none of its id.
    'sampling': [dataclasses.asdict(sampling) for sampling in plan],
    'seed': args.seed,
    'vocabulary': vocabulary,
    'data_version': scenes.VERSION,
  }


def run(cascade, plans, place, chosen, vocabulary, seed, out):
  """Draws and judges what is not there yet: point -> records."""
  judged = {}
  total = len(plans) * len(chosen)
  with tqdm.tqdm(total=total, unit='picture', disable=None) as bar:
    for point, plan in plans.items():
      path = out / f'{point.name}.jsonl'
      done = {
        index: record
        for index, record in records.read(path).items()
        if record['checker'] == checker.VERSION
        and records.picture_path(out, point.name, index).exists()
      }
      missing = [e for e in chosen if e.index not in done]
      bar.set_description_str(point.name)
      bar.update(len(chosen) - len(missing))
      (out / point.name).mkdir(exist_ok=True)
      for example, image in drawn(cascade, plan, place, missing, seed, out):
        target = records.picture_path(out, point.name, example.index)
        pictures.write_png(target, image, {'prompt': example.caption})
        record = {
          'index': example.index,
          'caption': example.caption,
          'checker': checker.VERSION,
          **alignment.judge(image, example.scene, vocabulary),
        }
        records.append(path, record)
        done[example.index] = record
        bar.update()
      judged[point] = [done[e.index] for e in chosen]
  return judged


def drawn(cascade, plan, place, examples, seed, out):
  """Yields (example, picture); `place` is that of the stage that is tried."""
  group = cascade.group(len(plan))
  for first in range(0, len(examples), group):
    part = examples[first : first + group]
    options = {'seed': seed}
    if place:
      options['given'] = before(cascade, plan[:place], part, seed, out)
    yield from zip(part, cascade.draw(_requests(part), plan, **options))


def before(cascade, plan, examples, seed, out):
  """What the stages of a plan give, kept in files: uint8 [n, h, w, 3]."""
  paths = [records.picture_path(out, _BEFORE, e.index) for e in examples]
  missing = [(e, p) for e, p in zip(examples, paths) if not p.exists()]
  if missing:
    (out / _BEFORE).mkdir(exist_ok=True)
    images = cascade.draw(_requests(e for e, _ in missing), plan, seed=seed)
    for (example, path), image in zip(missing, images):
      pictures.write_png(path, image, {'prompt': example.caption})
  return np.stack([pictures.read_png(path)[0] for path in paths])


def _requests(examples):
  return [
    cascade_lib.Request(caption=e.caption, index=e.repeat) for e in examples
  ]


def likeness(record):
  """How much of what is seen a drawing of the data set explains, in [0, 1].

  The checker's own unexplained energy of each thing it found, whatever was
  asked for: blurred, garish and torn things cost. Nothing found is 0.
  """
  costs = [min(1.0, found['cost']) for found in record['read']['found']]
  return 1.0 - statistics.fmean(costs) if costs else 0.0


def row(point, judged):
  """A line of the table."""
  share = alignment.shares(r['verdict'] for r in judged)['all']
  low, high = share.interval
  values = [likeness(record) for record in judged]
  error = 0.0  # of the mean, at 95%
  if len(values) > 1:
    error = 1.96 * statistics.stdev(values) / len(values) ** 0.5
  return {k: _column(k, v) for k, v in point.settings} | {
    'n': len(judged),
    'alignment': round(share.value, 4),
    'alignment_low': round(low, 4),
    'alignment_high': round(high, 4),
    'likeness': round(statistics.fmean(values), 4),
    'likeness_error': round(error, 4),
  }


def write_csv(path, rows):
  """The table as CSV, replaced whole."""
  text = io.StringIO()
  table = csv.DictWriter(text, rows[0].keys(), lineterminator='\n')
  table.writeheader()
  table.writerows(rows)
  fresh = path.with_suffix('.new')
  fresh.write_text(text.getvalue())
  fresh.replace(path)


def curves(rows, args):
  """The table as curves: uint8 [h, w, 3]."""
  swept = [k for k in SWEPT if len({r.get(k) for r in rows}) > 1]
  along = next((k for k in swept if _are_numbers(k, rows)), None)
  groups = {}
  for r in rows:
    label = ', '.join(f'{k} {_said(k, r[k])}' for k in swept if k != along)
    groups.setdefault(label or f'n = {rows[0]["n"]}', []).append(r)

  def panel(title, x, y, margins=None, notes=False):
    lines = []
    for label, some in groups.items():
      # Without a number that varies, the points stand side by side.
      xs = [r.get(x, n) for n, r in enumerate(some)]
      given = margins and [margins(r) for r in some]
      lines.append(
        plots.Curve(
          label=label,
          x=xs,
          y=[r[y] for r in some],
          low=given and [g[0] for g in given],
          high=given and [g[1] for g in given],
          notes=[_said(along, r[along]) for r in some]
          if notes and along
          else None,
        )
      )
    return plots.Panel(title=title, x_label=x or '', y_label=y, curves=lines)

  where = f'{args.split}, n = {rows[0]["n"]}'
  return plots.draw(
    [
      panel(
        f'Shows what was asked ({where})',
        along,
        'alignment',
        lambda r: (r['alignment_low'], r['alignment_high']),
      ),
      panel(
        'Looks like a drawing of the data set',
        along,
        'likeness',
        lambda r: (
          r['likeness'] - r['likeness_error'],
          r['likeness'] + r['likeness_error'],
        ),
      ),
      panel(
        'One against the other' + (f', {along} beside' if along else ''),
        'likeness',
        'alignment',
        notes=True,
      ),
    ],
    columns=3,
  )


def write_sheet(out, plans, chosen, resolution):
  """The first pictures of every combination, a row each."""
  shown = chosen[:_SHOWN]
  sheet = pictures.Sheet([p.name for p in plans], len(shown), resolution)
  for number, point in enumerate(plans):
    for column, example in enumerate(shown):
      path = records.picture_path(out, point.name, example.index)
      sheet.add(number, column, pictures.read_png(path)[0])
  sheet.write(out / 'sheet.png')


def _said(name, value):
  """A value in a name of a file or a curve."""
  if isinstance(value, tuple):
    return stages_lib.SETTINGS[name].spell(value)
  return f'{value:g}' if isinstance(value, float) else str(value)


def _column(name, value):
  """A value in the table."""
  return _said(name, value) if isinstance(value, tuple) else value


def _are_numbers(name, rows):
  """Whether the values of a setting can be drawn along an axis."""
  return all(isinstance(r.get(name), int | float) for r in rows)


if __name__ == '__main__':
  command.run(main)
