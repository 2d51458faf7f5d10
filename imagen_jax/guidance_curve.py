"""Draws the guidance curve: distance against alignment (figure 4 and A.5).

  python -m imagen_jax.guidance_curve --guidance=1,2,4,8 \
      --threshold=static,dynamic --num=50 --out=guidance_curve

Each guidance weight and kind of thresholding is a point: the same captions and
noise, drawn, measured and kept, so that the same command goes on where it was
interrupted. On scenes (the default) a point is scene-FID against the share of
pictures that show what was asked; on COCO it is FID against the CLIP score, as
in the paper. Writes guidance_curve.csv and guidance_curve.png. A point has its
own protocol id, since its settings are part of what is measured, and the curve
one of all that its points share.
"""

import csv
import dataclasses
import io
import itertools
import pathlib

from imagen_jax import stages as stages_lib
from imagen_jax.config import command, flags
from imagen_jax.evaluation import (
  options,
  picture_sets,
  protocol_runs,
  protocols,
  records,
)
from imagen_jax.evaluation.scenes import alignment
from imagen_jax.files import pictures, plots
from imagen_jax.parallel import compilation
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import presets, series
from imagen_jax.stages import settings as settings_lib

NUM = 50  # captions of a point
_SHOWN = 8  # pictures of each point on the sheet
_VARIED = ('guidance', 'threshold')  # of the base, along the curve


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.guidance_curve',
    description='Draws the guidance curve: distance against alignment.',
    allow_abbrev=False,
  )
  add = p.add_argument
  flags.add_cascade(p)
  add(
    '--guidance',
    type=flags.list_of(float),
    default=[1.0, 1.5, 2.0, 3.0, 5.0, 8.0],
    metavar='W[,W...]',
    help='weights of the base, no unit, 1 = off (default: 1,1.5,2,3,5,8)',
  )
  add(
    '--threshold',
    type=flags.list_of(str),
    default=['static', 'dynamic'],
    metavar='KIND[,KIND...]',
    help=f'of the base, of {", ".join(stages_lib.THRESHOLDS)} (default: '
    'static,dynamic)',
  )
  add(
    '--preset',
    metavar='NAME',
    help='sampler and steps, such as draft (default: those of the protocol)',
  )
  add(
    '--num',
    type=flags.whole('captions', 2, 1_000_000),
    default=NUM,
    metavar='N',
    help=f'captions of a point, the first of the protocol (default: {NUM})',
  )
  add(
    '--upto',
    type=flags.whole('pixels', 1, 2**20),
    metavar='PIXELS',
    help='resolution of the last stage to run (default: that of the protocol)',
  )
  add(
    '--seed',
    type=flags.seed,
    default=0,
    metavar='N',
    help='of the noise, from 0 to 2^32 - 1 (default: 0)',
  )
  add(
    '--out',
    metavar='DIR',
    default='guidance_curve',
    help='directory for pictures, table and curve (default: guidance_curve)',
  )
  options.add_flags(p)
  p.set_defaults(protocol='scenes_64', split=None)
  p.set_defaults(vocabulary=None, paraphrase=False)
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  out = pathlib.Path(args.out)
  try:
    check_flags(args)
    compilation.enable_cache()
    cascade = cascade_lib.load_cascade(args.cascade)
    points = plan_points(cascade, args)
    records.claim(out, {'cascade': cascade.id, 'protocol': args.protocol})
    results = {}
    inception = args.inception
    if protocols.PROTOCOLS[args.protocol].data == 'coco':
      # Without FID there is no curve: that weights are missing is told first.
      inception = inception or options.INCEPTION
    for name, protocol in points.items():
      given = dataclasses.replace(
        options.options(args),
        inception=inception,
        reference=reference(args, out),
        minimum=args.minimum or 2,  # few, and as biased at every point
      )
      result, text = protocol_runs.run(protocol, cascade, given, out / name)
      if result is None:
        raise ValueError(text)
      results[name] = result
    shared = curve_id(results)
    rows = [row(name, points[name], r) for name, r in results.items()]
    write_csv(out / 'guidance_curve.csv', rows)
    picture = curve(rows, points, args, shared)
    text = {'cascade': cascade.id, 'curve': shared}
    pictures.write_png(out / 'guidance_curve.png', picture, text)
    write_sheet(out, points)
  except (ValueError, FloatingPointError, OSError) as e:
    return flags.failed(e, out)
  except KeyboardInterrupt:
    return flags.stopped()
  print((out / 'guidance_curve.csv').read_text(), end='')
  print(
    f'{rows[0]["n"]} captions at each of {len(rows)} points, cascade '
    f'{cascade.id}, curve {shared} in {out / "guidance_curve.png"}'
  )
  return 0


def check_flags(args):
  """Raises ValueError for flags that do not go together here."""
  options.check_flags(args)
  if args.hosts != 1:
    raise ValueError('--hosts: a curve is drawn by one machine; leave it out')
  for kind in args.threshold:
    if kind not in stages_lib.THRESHOLDS:
      raise ValueError(
        f'--threshold={kind} is not one of {", ".join(stages_lib.THRESHOLDS)}'
      )
  if protocols.PROTOCOLS[args.protocol].data == 'coco' and not args.clip:
    raise ValueError('--clip is missing: on COCO the curve is over CLIP scores')


def reference(args, out):
  """Statistics of the reference: given, or those that a point has measured."""
  if args.reference:
    return args.reference
  for path in sorted(out.glob('*/reference.npz')):
    if path.with_name(protocol_runs.SCORES).exists():  # so it is whole
      return str(path)
  return None


def plan_points(cascade, args):
  """{name: protocol of the point}; of the base alone settings are changed."""
  common = protocols.PROTOCOLS[args.protocol].with_changes(
    cascade, num=args.num, seed=args.seed, upto=args.upto
  )
  changed = list(common.changed)
  if args.preset:
    named = presets.settings(args.preset, len(cascade.stages), cascade.presets)
    stages = [
      settings_lib.replaced(sampling, **settings)
      for sampling, settings in zip(common.stages, named)
    ]
    common = dataclasses.replace(common, stages=tuple(stages))
    changed.append('preset')
  points = {}
  for threshold, weight in itertools.product(args.threshold, args.guidance):
    base, *others = common.stages
    base = dataclasses.replace(base, guidance=weight, threshold=threshold)
    points[f'{threshold}_w{weight:g}'] = dataclasses.replace(
      common,
      stages=(base, *others),
      changed=(*changed, 'guidance', 'threshold'),
    )
  return points


def curve_id(results) -> str:
  """The id of what the points share: all but the base's weight and threshold.

  Raises ValueError where they share less, so that no other results are drawn
  into one curve.
  """
  ids = {}
  for name, result in results.items():
    base, *others = result['protocol']['stages']
    base = {k: v for k, v in base.items() if k not in _VARIED}
    shared = {**result['protocol'], 'stages': [base, *others]}
    ids[name] = picture_sets.identity(shared)
  (first, expected), *others = ids.items()
  for name, found in others:
    if found != expected:
      raise ValueError(
        f'{first} and {name} differ in more than guidance and threshold; give '
        'another --out, or remove the directories of the points'
      )
  return expected


def row(name, protocol, result):
  """A line of the table."""
  base, n = protocol.stages[0], result['n']
  line = {
    'threshold': base.threshold,
    'guidance': base.guidance,
    'n': n,
    **{k: round(v, 6) for k, v in result['scores'].items()},
  }
  if protocol.data == 'scenes':
    right = round(result['scores']['alignment'] * n)
    low, high = alignment.wilson(right, n)
    line |= {'alignment_low': round(low, 4), 'alignment_high': round(high, 4)}
  return line | {'point': name, 'protocol_id': result['protocol_id']}


def write_csv(path, rows):
  """The table, replaced whole."""
  text = io.StringIO()
  table = csv.DictWriter(text, rows[0].keys(), lineterminator='\n')
  table.writeheader()
  table.writerows(rows)
  fresh = path.with_suffix('.new')
  fresh.write_text(text.getvalue())
  fresh.replace(path)


def curve(rows, points, args, shared):
  """The figure: uint8 [h, w, 3]; weights stand beside the points."""
  scenes = protocols.PROTOCOLS[args.protocol].data == 'scenes'
  x, y = ('alignment', 'scene_fid') if scenes else ('cosine', 'fid')
  names = {
    'alignment': 'share of pictures right, by the checker',
    'judge_alignment': 'share of pictures right, by the learned judge',
    'cosine': 'CLIP score (mean cosine)',
    'scene_fid': 'scene-FID, less is better',
    'fid': 'FID, less is better',
  }
  base = next(iter(points.values())).stages[0]
  how = f'n = {rows[0]["n"]}, {base.sampler} {base.steps} steps'
  groups = {}
  for line in rows:
    groups.setdefault(line['threshold'], []).append(line)

  def panel(title, x, y, notes=False):
    return plots.Panel(
      title=title,
      x_label=names.get(x, 'guidance weight w'),
      y_label=names[y],
      curves=[
        plots.Curve(
          label=f'{kind} thresholding',
          x=[line[x] for line in some],
          y=[line[y] for line in some],
          low=[line['alignment_low'] for line in some]
          if y == 'alignment'
          else None,
          high=[line['alignment_high'] for line in some]
          if y == 'alignment'
          else None,
          notes=[f'{line["guidance"]:g}' for line in some] if notes else None,
        )
        for kind, some in groups.items()
      ],
    )

  panels = [
    panel(
      f'{args.protocol}, curve {shared}: w beside the points',
      x,
      y,
      notes=True,
    ),
    panel(f'Distance, {how}', 'guidance', y),
    panel('Alignment', 'guidance', x),
  ]
  if scenes:
    panels.append(panel('A second opinion', 'guidance', 'judge_alignment'))
  return plots.draw(panels, columns=2)


def write_sheet(out, points):
  """The first pictures of every point, a row each."""
  size = next(iter(points.values())).resolutions[-1]
  shown = min(_SHOWN, next(iter(points.values())).num)
  sheet = pictures.Sheet(list(points), shown, size)
  items = series.listed(['?'] * shown)  # for where they lie
  for number, name in enumerate(points):
    for column, item in enumerate(items):
      path = out / name / 'images' / item.path
      sheet.add(number, column, pictures.read_png(path)[0])
  sheet.write(out / 'sheet.png')


if __name__ == '__main__':
  command.run(main)
