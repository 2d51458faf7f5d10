"""The charts of a run: what is drawn of its scalars, and in which words.

sections(run) -> [(title, sentence, [figure])], HTML figures of `charts`.
"""

import math
from collections.abc import Sequence

import numpy as np

from imagen_jax.files import plots
from imagen_jax.pages import charts
from imagen_jax.pages.run_report import runs
from imagen_jax.training import noise_levels, optimizers

_BY_NOISE = 'loss_logsnr_'
_AVERAGED = 30  # a curve of so many reports or more is smoothed
_LOG = 5  # times the least; a wider range gets a logarithmic axis


def sections(run: runs.Run) -> list[tuple[str, str, list[str]]]:
  """All charts by section; a section without data is left out."""
  rate, said = learning_rate(run)
  found = [
    (
      'Curves',
      '',
      [
        _single(run, 'loss', 'Training loss', smooth=True),
        _single(run, 'validation_loss', 'Validation loss'),
        _chart('Learning rate', '', rate, note=said, markers=False),
        _single(
          run, 'images_per_second', 'Speed', 'images/s', least=0, smooth=True
        ),
        _single(
          run, 'tflops_per_second', 'Computing', 'TFLOP/s', least=0, smooth=True
        ),
        _single(
          run, 'peak_share', 'Share of the peak', 'of 1', least=0, smooth=True
        ),
      ],
    ),
    (
      'Loss by noise level',
      'Each level is a range of logsnr, the logarithm of signal over noise. '
      'The training loss is the mean over all of them and hides what changes.',
      _by_noise(run),
    ),
    (
      'What the caption is worth',
      'Loss without the caption less loss with it, at equal noise: above 0 the '
      'network uses the text.',
      [_gap(run)],
    ),
    ('Other metrics', '', [_single(run, n, n) for n in _others(run)]),
  ]
  found = [
    (title, sentence, list(filter(None, figures)))
    for title, sentence, figures in found
  ]
  return [section for section in found if section[2]]


def learning_rate(run: runs.Run) -> tuple[tuple[Sequence, Sequence], str]:
  """((steps, values), where they are from); as recorded, else as configured."""
  steps, values = run.series('learning_rate')
  if steps:
    return (steps, values), ''
  fields = {
    name.partition('.')[2]: value
    for name, value in run.settings.items()
    if name.startswith('LearningRate.')
  }
  if not fields:
    return ([], []), ''
  steps = np.linspace(1, max(2, run.rows[-1]['step']), 200).astype(int)
  try:
    schedule = optimizers.LearningRate(**fields).schedule()
    values = [float(schedule(step - 1)) for step in steps]
  except (TypeError, ValueError, OverflowError):
    return ([], []), ''
  return (steps.tolist(), values), 'not recorded: as config.gin has it'


def smoothed(values: Sequence[float]) -> list[float]:
  """Means over about a twelfth of the curve, over less at its ends."""
  reach = _reach(values)
  sums = np.concatenate([[0.0], np.cumsum(values)])
  places = np.arange(len(values))
  # As far to the left as to the right, so that the ends are not bent.
  reach = np.minimum(reach, np.minimum(places, len(values) - 1 - places))
  first, end = places - reach, places + reach + 1
  return ((sums[end] - sums[first]) / (end - first)).tolist()


def _reach(values):
  """Values to each side of one over which its mean is taken."""
  return max(2, len(values) // 24)


def told(steps: Sequence[int], values: Sequence[float]) -> str:
  """A curve in a sentence."""
  least, most = int(np.argmin(values)), int(np.argmax(values))
  say = charts.number
  if len(steps) == 1:
    return f'{say(values[0])} at step {steps[0]:,}.'
  return (
    f'from {say(values[0])} at step {steps[0]:,} to {say(values[-1])} at step '
    f'{steps[-1]:,}; lowest {say(values[least])} at step {steps[least]:,}, '
    f'highest {say(values[most])} at step {steps[most]:,}.'
  )


def _single(run, name, title, unit='', *, least=None, smooth=False):
  """A scalar over steps, or None where there is none."""
  series = run.series(name)
  return _chart(title, unit, series, least=least, smooth=smooth)


def _chart(
  title, unit, series, *, least=None, smooth=False, note='', markers=None
):
  steps, values = _finite(series)
  if not steps:
    return None
  curve = plots.Curve(label=title, x=steps, y=values)
  curves, shown = [curve], values
  if smooth and len(steps) >= _AVERAGED:
    shown = smoothed(values)
    curves = [
      plots.Curve(label=title, x=steps, y=values, faint=True),
      plots.Curve(label=title, x=steps, y=shown),
    ]
    note = f'line: mean of {2 * _reach(steps) + 1} reports'
  panel = plots.Panel(
    title=title,
    x_label='step',
    y_label=unit,
    curves=curves,
    y_least=least,
    y_log=least is None and _is_wide(values),
    markers=len(steps) < _AVERAGED if markers is None else markers,
  )
  return charts.lines(panel, told(steps, shown), note=note)


def _by_noise(run):
  """Over steps, a curve a level; and over levels, at three times of the run."""
  names = [_BY_NOISE + n for n in noise_levels.NAMES]
  found = {n: _finite(run.series(n)) for n in names}
  found = {n: series for n, series in found.items() if series[0]}
  if not found:
    return []
  means = {
    n: smoothed(v) if len(v) >= _AVERAGED else v for n, (_, v) in found.items()
  }
  values = [v for several in means.values() for v in several]
  over_time = plots.Panel(
    title='Over time',
    x_label='step',
    y_label='loss, a curve a range of logsnr',
    curves=[
      plots.Curve(label=level(n), x=steps, y=means[n])
      for n, (steps, _) in found.items()
    ],
    y_log=_is_wide(values),
    markers=False,
  )
  sentence = '; '.join(
    f'logsnr {level(n)}: {charts.number(v[0])} to {charts.number(v[-1])}'
    for n, v in means.items()
  )
  figures = [charts.lines(over_time, f'{sentence}.', ordered=True)]
  last = max(steps[-1] for steps, _ in found.values())
  parts = [
    part for k in range(3) if (part := _profile(found, last, k)) is not None
  ]
  if len(found) > 1 and parts:
    values = [v for part in parts for v in part.y]
    by_level = plots.Panel(
      title='By level',
      x_label='logsnr, middle of the range: noise to the left',
      y_label='loss, means over thirds of the run',
      curves=parts,
      y_log=_is_wide(values),
    )
    ranges = ', '.join(map(level, found))
    sentence = f'the ranges are {ranges}. ' + '; '.join(
      f'{part.label}: {", ".join(map(charts.number, part.y))}' for part in parts
    )
    note = f'outermost: all {ranges.split(", ")[0]}, {ranges.split(", ")[-1]}'
    figures.append(charts.lines(by_level, f'{sentence}.', note=note))
  return figures


def _profile(found, last, third):
  """The mean loss of each level in a third of the run, or None."""
  first, end = last * third // 3, last * (third + 1) // 3
  points = {}
  for name, (steps, values) in found.items():
    some = [v for s, v in zip(steps, values) if first < s <= end]
    if some:
      points[_middle(name)] = float(np.mean(some))
  if not points:
    return None
  label = ('first third', 'second third', 'last third')[third]
  return plots.Curve(label=label, x=list(points), y=list(points.values()))


def _middle(name):
  """Where a range is drawn; those without an end a little beyond theirs."""
  place = noise_levels.NAMES.index(name.removeprefix(_BY_NOISE))
  edges = noise_levels.EDGES
  edges = (edges[0] - 4, *edges, edges[-1] + 4)
  return (edges[place] + edges[place + 1]) / 2


def level(name: str) -> str:
  """loss_logsnr_-10_-6 -> '-10 to -6'."""
  name = name.removeprefix(_BY_NOISE)
  if name.startswith(('below_', 'above_')):
    return name.replace('_', ' ')
  return name.replace('_', ' to ')


def _gap(run):
  curves, sentences = [], []
  for name, label in (
    ('caption_gap', 'training'),
    ('validation_caption_gap', 'validation'),
  ):
    steps, values = _finite(run.series(name))
    if not steps:
      continue
    if len(steps) >= _AVERAGED:
      curves.append(plots.Curve(label=label, x=steps, y=values, faint=True))
      values = smoothed(values)
    curves.append(plots.Curve(label=label, x=steps, y=values))
    sentences.append(f'{label} {told(steps, values)}')
  if not curves:
    return None
  panel = plots.Panel(
    title='Caption gap',
    x_label='step',
    y_label='loss',
    curves=curves,
    y_least=0,
    markers=False,
  )
  return charts.lines(panel, ' '.join(sentences))


def _others(run):
  """Scalars that no other chart shows, and that ever change from 0."""
  shown = {
    'loss',
    'validation_loss',
    'learning_rate',
    'images_per_second',
    'tflops_per_second',
    'peak_share',
    'caption_gap',
    'validation_caption_gap',
    *(_BY_NOISE + name for name in noise_levels.NAMES),
  }
  return [n for n in run.names() if n not in shown and any(run.series(n)[1])]


def _finite(series):
  """JSON of Python may hold NaN, which has no place on an axis."""
  pairs = [(s, v) for s, v in zip(*series) if math.isfinite(v)]
  return [s for s, _ in pairs], [v for _, v in pairs]


def _is_wide(values):
  return min(values) > 0 and max(values) > _LOG * min(values)
