"""Metrics: JSON lines always, TensorBoard where clu and TensorFlow are there,
Weights & Biases where it is asked for, and a line for the person at the
terminal."""

import json
import math
import pathlib
import sys
import time

from imagen_jax.files import json_files, lines, retrying, weights
from imagen_jax.parallel import accelerators, processes
from imagen_jax.training import flops, writers

_LONGEST = 1 << 16  # bytes of a line of metrics.jsonl; more is none


def require_finite(metrics, step):
  """Raises ValueError where one of the metrics is not a number any more.

  The loss of a step is that before its update: a gradient that is not finite
  shows first in its norm, and would be saved in the parameters.
  """
  for name, value in metrics.items():
    if not math.isfinite(value := float(value)):
      raise ValueError(
        f'{name} is {value} at step {step}; nothing of it was saved: lower the '
        'learning rate or the clip and run again from the last checkpoint'
      )


class Metrics:
  """Writes scalars of one run to `<workdir>/metrics.jsonl`.

  Of several processes the first writes, the others do nothing.
  """

  def __init__(self, workdir, start_step, wandb=None):
    """`wandb` is a project of Weights & Biases, None = not there.

    Raises ValueError where the file or that project cannot be written.
    """
    self._lines, self._writers = None, []
    if not processes.is_first():
      return
    path = pathlib.Path(workdir) / 'metrics.jsonl'
    _drop_from(path, start_step)
    self._lines = lines.Lines(path)
    self._writers = [
      writer for writer in (writers.tensorboard(workdir),) if writer
    ]
    if wandb is not None:
      self._writers.append(writers.weights_and_biases(workdir, wandb))

  def write(self, step, **scalars):
    """One line: the step, the wall time and the scalars (floats).

    JSON has no word for what is not finite: null. A full disk ends nothing:
    see `files.lines`.
    """
    if self._lines is None:
      return
    scalars = {k: float(v) for k, v in scalars.items()}
    written = {k: v if math.isfinite(v) else None for k, v in scalars.items()}
    row = {'step': int(step), 'time': round(time.time(), 1), **written}
    self._lines.add(json.dumps(row))
    for writer in self._writers:
      writer.write_scalars(int(step), scalars)

  def close(self):
    if self._lines is not None:
      self._lines.close()
    for writer in self._writers:
      writer.flush()


def read(path):
  """The rows of a metrics file and how many of its lines are none.

  A crash cuts a line short; JSON may be anything. A row is a dict with a
  `step`, in the order of the file; a number that no float can hold is None in
  it, as is one that is not finite.
  """
  rows, broken = [], 0
  with open(path, 'rb') as file:
    while line := file.readline(_LONGEST):
      row = _row(line)
      if row is not None:
        rows.append(row)
      elif line.strip():
        broken += 1
      while len(line) == _LONGEST and line[-1:] != b'\n':
        line = file.readline(_LONGEST)  # the rest of it
  return rows, broken


def _row(line):
  """A line of the file as a row, or None."""
  try:
    row = json_files.parse(line.decode(errors='replace'), 'a row')
  except ValueError:
    return None
  if not isinstance(row, dict) or type(row.get('step')) is not int:
    return None
  if not 0 <= row['step'] < 2**63:
    return None
  return {name: _bounded(value) for name, value in row.items()}


def _bounded(value):
  if not isinstance(value, int | float):
    return value
  try:
    return value if math.isfinite(value) else None
  except OverflowError:  # hundreds of digits
    return None


def _drop_from(path, step):
  """Removes the rows that a resumed run is about to write again."""
  if not path.exists():
    return
  rows, broken = read(path)
  kept = [json.dumps(row) + '\n' for row in rows if row['step'] <= step]
  if len(kept) == len(rows) and not broken:
    return
  try:
    retrying.patiently(
      lambda: weights.save_bytes(path, ''.join(kept).encode()),
      f'{path} is not written',
    )
  except OSError as e:
    raise ValueError(
      f'{path} cannot be written: {e.strerror or e}; free space there and run '
      'the same command again'
    ) from e


class Progress:
  """Examples per second and time left, on one line of standard error."""

  def __init__(self, start_step, total_steps, batch_size, unit='images'):
    self._total = total_steps
    self._batch = batch_size
    self._unit = unit
    self._step = start_step
    self._mark = time.monotonic()

  def is_due(self, step, every):
    """True every `every` steps (0: never) and at the last one."""
    return (every > 0 and step % every == 0) or step == self._total

  def report(self, step, **scalars):
    """Prints the line; returns examples/s since it or a pause was last."""
    now = time.monotonic()
    per_step = (now - self._mark) / max(1, step - self._step)
    self._step, self._mark = step, now
    rate = self._batch / max(per_step, 1e-9)
    left = per_step * (self._total - step)
    values = '  '.join(f'{k} {float(v):.4g}' for k, v in scalars.items())
    line = (
      f'step {step}/{self._total}  {values}  {rate:.1f} {self._unit}/s  '
      f'{_duration(left)} left'
    )
    end = '\n' if not sys.stderr.isatty() else ''
    start = '' if not sys.stderr.isatty() else '\r\x1b[K'
    if processes.is_first():
      print(f'{start}{line}', end=end, file=sys.stderr, flush=True)
    return rate

  def note(self, step, text):
    """A line of its own about a step."""
    start = '\r\x1b[K' if sys.stderr.isatty() else ''
    if processes.is_first():
      print(f'{start}step {step}  {text}', file=sys.stderr, flush=True)

  def restart_clock(self, step):
    """After a pause at `step` (validation, saving): it was no training."""
    self._step, self._mark = step, time.monotonic()


class Throughput:
  """Images per second as floating-point operations, and as share of the peak.

  Model operations: three times the forward pass, whatever is recomputed.
  """

  def __init__(self, forward_flops, devices):
    self._flops = flops.STEP_OVER_FORWARD * forward_flops  # of one image
    chip = accelerators.of_kind(devices.flat[0].device_kind)
    self._peak = chip and chip.peak_flops * devices.size

  def of(self, images_per_second):
    """Scalars by name; `peak_share` where the device's peak is known."""
    rate = images_per_second * self._flops
    scalars = {
      'images_per_second': images_per_second,
      'tflops_per_second': rate / 1e12,
    }
    if self._peak is not None:
      scalars['peak_share'] = rate / self._peak
    return scalars


def _duration(seconds):
  minutes, seconds = divmod(int(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02d}:{seconds:02d}'
