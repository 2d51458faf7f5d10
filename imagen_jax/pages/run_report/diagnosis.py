"""Is a training run as it should be? What is odd in it, and what to change.

diagnose(run) -> [Finding], the odd ones with a remedy

Each check compares with what holds for every diffusion model: a loss that the
best linear guess reaches, a caption that is worth something, gradients that do
not grow. With the run of a reference, also with its losses after as many
pictures. Not in the paper.
"""

import dataclasses
import pathlib

import numpy as np
import PIL.Image

from imagen_jax.pages import charts
from imagen_jax.pages.run_report import curves, runs
from imagen_jax.training import noise_levels

_FEW = 6  # reports that a trend needs
_EARLY = 500  # steps before which a level of noise need not be learnt
_HEARD = 50_000  # pictures after which a caption should be worth something
_PIXELS = 50_000_000  # of a sheet of samples that is looked at


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
  """What one check saw."""

  subject: str
  message: str  # with its numbers
  remedy: str = ''  # what to change; '' = nothing is odd

  @property
  def odd(self) -> bool:
    return bool(self.remedy)


def diagnose(run: runs.Run, reference: runs.Run | None = None) -> list[Finding]:
  """All findings on a run, in the order in which one would look."""
  checks = (
    _gradients,
    _trend,
    _noise_levels,
    _caption,
    _repetition,
    _average,
    _samples,
    _speed,
  )
  findings = [finding for check in checks if (finding := check(run))]
  return findings + (_against(run, reference) if reference else [])


def seen(run: runs.Run, step: int | None = None) -> int:
  """Pictures seen until `step`, the last one by default; steps if unknown."""
  batch = run.count('TrainConfig.batch_size') or 1
  return (run.rows[-1]['step'] if step is None else step) * batch


def _gradients(run):
  subject = 'gradients'
  gone = sum(
    1 for row in run.rows if row.get('loss', 0) is None or _null_norm(row)
  )
  _, skipped = run.series('skipped')
  if gone or sum(skipped):
    return Finding(
      subject=subject,
      message=f'not finite in {gone} reports, {sum(skipped):,.0f} steps '
      'were skipped',
      remedy='lower LearningRate.peak or TrainConfig.clip, or make '
      'LearningRate.warmup longer',
    )
  steps, norms = run.series('grad_norm')
  if len(norms) < _FEW:
    return None
  first, _, last = _thirds(norms)
  if last > 3 * first:
    return Finding(
      subject=subject,
      message=f'their norm grew from {charts.number(first)} to '
      f'{charts.number(last)}',
      remedy='lower LearningRate.peak; with Muon, raise Muon.weight_decay: '
      'kernels that grow drown what captions add',
    )
  sudden = [s for s, x in zip(steps, norms) if x > 10 * np.median(norms)]
  if len(sudden) > 0.02 * len(norms):
    return Finding(
      subject=subject,
      message=f'jumps of ten times the median at {len(sudden)} reports, the '
      f'last at step {sudden[-1]:,}',
      remedy='set TrainConfig.clip = 1.0, make the warm-up longer, or look '
      'for odd pictures with data_report',
    )
  return Finding(
    subject=subject, message=f'norm {charts.number(last)}, none skipped'
  )


def _null_norm(row):
  return 'grad_norm' in row and row['grad_norm'] is None


def _trend(run):
  """The training loss: one batch a report, so medians of thirds."""
  _, losses = run.series('loss')
  if len(losses) < _FEW:
    return Finding(
      subject='loss', message=f'{len(losses)} reports are too few for a trend'
    )
  first, middle, last = _thirds(losses)
  message = ' -> '.join(map(charts.number, (first, middle, last)))
  message = f'medians of its thirds {message}'
  if last > 1.15 * min(first, middle):
    rates = run.series('learning_rate')[1]
    raised = rates and rates[0] < 0.5 * max(rates)
    return Finding(
      subject='loss',
      message=f'rises: {message}',
      remedy='wait: it rises when weights that were trained before get a '
      'high rate again, and falls when the rate does'
      if raised and run.settings.get('TrainConfig.init_from')
      else 'halve LearningRate.peak and go on from an earlier checkpoint',
    )
  return Finding(subject='loss', message=message)


def _noise_levels(run):
  """Against the best linear guess, which needs no picture to be learnt."""
  kind = run.settings.get('Stage.prediction')
  series = {n: run.series(f'loss_logsnr_{n}')[1] for n in noise_levels.NAMES}
  series = {name: losses for name, losses in series.items() if losses}
  if kind not in noise_levels.PREDICTIONS or not series:
    return None
  worse, steps = [], run.rows[-1]['step']
  for name, losses in series.items():
    loss, guess = _thirds(losses)[-1], noise_levels.linear_guess(kind, name)
    if loss > guess:
      worse.append((name, loss, guess))
  if not worse:
    return Finding(
      subject='noise levels',
      message='each is below the loss of the best linear guess',
    )
  if steps < _EARLY:
    return Finding(
      subject='noise levels',
      message=f'{len(worse)} are not learnt yet, which is normal before step '
      f'{_EARLY}',
    )
  parts = [
    f'logsnr {curves.level(name)}: {charts.number(loss)} where a linear guess '
    f'has {charts.number(guess)}'
    for name, loss, guess in worse
  ]
  clean = all(name in noise_levels.NAMES[-3:] for name, _, _ in worse)
  return Finding(
    subject='noise levels',
    message=f'not learnt at {"; ".join(parts)}',
    remedy='edges and surfaces stay soft: let the rate decay, train more at '
    'little noise (Cosine.shift nearer to 0), or make the network wider where '
    'pixels are folded'
    if clean
    else 'train on; if it stays so, look at the pictures with data_report '
    'and at Stage.prediction',
  )


def _caption(run):
  if run.settings.get('Stage.low_res') is not None:
    return None  # the small picture says nearly all
  name = 'validation_caption_gap'
  gaps = run.series(name)[1] or run.series('caption_gap')[1]
  losses = run.series('validation_loss')[1] or run.series('loss')[1]
  if not gaps or not losses or losses[-1] <= 0:
    return None
  share = float(np.mean(gaps[-max(1, len(gaps) // 3) :]) / losses[-1])
  message = f'without its caption a loss grows by {share:.1%}'
  if share > 0.01 or seen(run) < _HEARD:
    early = '' if share > 0.01 else f', normal before {_HEARD:,} pictures'
    return Finding(subject='captions', message=message + early)
  return Finding(
    subject='captions',
    message=f'{message}: the text is not heard',
    remedy='see with data_report that captions belong to their pictures, and '
    'that TrainConfig.text is the encoder meant; with Muon, raise its '
    'weight_decay',
  )


def _repetition(run):
  steps, losses = run.series('validation_loss')
  if len(losses) < 3:
    return None
  best = int(np.argmin(losses))
  message = (
    f'least {charts.number(losses[best])} at step {steps[best]:,}, now '
    f'{charts.number(losses[-1])}'
  )
  if losses[-1] <= 1.05 * losses[best]:
    return Finding(subject='validation', message=message)
  return Finding(
    subject='validation',
    message=message,
    remedy='where the training loss still falls, the data are learnt by '
    'heart: stop there (TrainConfig.keep_best = 1 keeps that step), or add '
    'pictures; where it rises too, halve the learning rate',
  )


def _average(run):
  decay = run.settings.get('TrainConfig.ema_decay')
  first, last = run.rows[0]['step'], run.rows[-1]['step']
  if not isinstance(decay, float) or decay >= 1 or last - first < _EARLY:
    return None
  span = 1 / (1 - decay)
  message = f'stage/ averages the weights of some {span:,.0f} steps of {last:,}'
  if span < last / 2:
    return Finding(subject='average', message=message)
  return Finding(
    subject='average',
    message=f'{message}: its pictures lag behind the loss',
    remedy=f'set TrainConfig.ema_decay = {1 - 10 / last:.4g} or less, or '
    'train longer',
  )


def _samples(run):
  """What the newest sheet of samples shows, by its pixels alone."""
  if not run.samples:
    return None
  step, path = run.samples[-1]
  pixels = _pixels(path)
  if pixels is None:
    return Finding(
      subject='samples', message=f'{path.name} cannot be read, left out'
    )
  spread = float(pixels.std())
  colour = float(np.ptp(pixels, axis=2).mean())
  grain = float(np.abs(np.diff(pixels, axis=1)).mean())
  message = (
    f'at step {step:,}: contrast {spread:.0f}, colour {colour:.0f}, grain '
    f'{grain:.0f} of 255'
  )
  remedy = ''
  if spread < 8:
    remedy = (
      'the pictures are blank: lower the guidance, see that the loss falls '
      'and that the text directory is the one that is trained with'
    )
  elif grain > 40:
    remedy = (
      'the pictures are noise: train on, and let the EMA average fewer steps '
      'of a short run'
    )
  elif colour < 6:
    remedy = (
      'the pictures are grey: if the data are not, lower the guidance, or '
      'take threshold = dynamic for photographs and static for flat art'
    )
  return Finding(subject='samples', message=message, remedy=remedy)


def _pixels(path: pathlib.Path):
  """A sheet as float32 [h, w, 3] of 0 to 255, made small; None = unreadable."""
  try:
    with PIL.Image.open(path, formats=['PNG']) as image:
      if image.width * image.height > _PIXELS:
        return None
      return np.asarray(image.convert('RGB'), np.float32)
  except Exception:  # decoders raise whatever they like of damage
    return None


def _speed(run):
  _, rates = run.series('images_per_second')
  if len(rates) < _FEW:
    return None
  thirds = _thirds(rates)
  message = f'{charts.number(thirds[-1])} pictures a second'
  if thirds[-1] >= 0.6 * max(thirds):
    return Finding(subject='speed', message=message)
  return Finding(
    subject='speed',
    message=f'{message}, was {charts.number(max(thirds))}',
    remedy='see what else runs on the machine, and whether the data keep up '
    '(Loading.workers, or embed the captions once)',
  )


def _against(run, reference):
  """Losses of both after as many pictures, as far as both have come."""
  findings = []
  names = ['validation_loss', *(f'loss_logsnr_{n}' for n in noise_levels.NAMES)]
  for name in names:
    pair = _alike(run, reference, name)
    if pair is None:
      continue
    ours, theirs, pictures = pair
    message = (
      f'{name} {charts.number(ours)} after {pictures:,} pictures, the '
      f'reference has {charts.number(theirs)}'
    )
    remedy = ''
    if ours > 1.3 * theirs:
      remedy = 'compare the config.gin of both: rate, batch, schedule, data'
    findings.append(
      Finding(subject='reference', message=message, remedy=remedy)
    )
  return findings or [
    Finding(
      subject='reference', message='has no losses at as many pictures as this'
    )
  ]


def _alike(run, reference, name):
  """(ours, theirs, pictures) where both have a value; means of a tenth."""
  curve = [
    (np.array([seen(r, s) for s in steps]), np.array(values))
    for r in (run, reference)
    for steps, values in [r.series(name)]
  ]
  if not all(len(values) for _, values in curve):
    return None
  at = min(pictures[-1] for pictures, _ in curve)
  if any(pictures[0] > at for pictures, _ in curve):
    return None
  near = [
    float(np.mean(values[(pictures >= 0.9 * at) & (pictures <= at)]))
    if np.any((pictures >= 0.9 * at) & (pictures <= at))
    else float(np.interp(at, pictures, values))
    for pictures, values in curve
  ]
  return *near, int(at)


def _thirds(values):
  """Medians of the first, the middle and the last third."""
  return [float(np.median(x)) for x in np.array_split(values, 3) if len(x)]
