"""How long a step takes, by a roofline of our own and by XLA's estimate.

The roofline divides what a chip must do by what it can: products by its peak,
bytes of memory by its bandwidth, bytes that leave it by half of its links'
bandwidth (which the makers give for both directions together). Reality lies
between two of its readings: everything overlaps (`overlapped`), or the links
wait for the rest (`in turn`). Neither knows of shapes that fill the matrix
units badly; XLA's own estimate does, but not of waiting for other chips.
"""

import dataclasses

PAPER_STEPS, PAPER_BATCH = 2_500_000, 2048  # section 4.1
_DAY = 86_400


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
  """One step of a job, or of a sampler, on one slice."""

  chip: object  # an `accelerators.Accelerator`
  chips: int
  images: int  # of the whole batch
  model_flops: float  # of all chips: in training 3 x the forward pass
  computed_flops: float  # of all chips, with what is recomputed
  moved: float  # bytes read and written in one chip's memory
  sent: float  # bytes that leave one chip
  xla: float | None  # seconds by XLA's estimate; None = not given
  steps: int | None = None  # of the sampler, for an image; None = training


def seconds(work):
  """{name of the estimate or its part: seconds of one step}."""
  chip = work.chip
  parts = {
    'products': work.computed_flops / work.chips / chip.peak_flops,
    'memory': work.moved / chip.memory_rate,
    'links': work.sent / (chip.link_rate / 2),
  }
  times = {
    **parts,
    'overlapped': max(parts.values()),
    'in turn': max(parts['products'], parts['memory']) + parts['links'],
  }
  # Estimates of programs that it cannot judge come out negative or zero.
  if work.xla is not None and work.xla > 0:
    times['xla'] = work.xla
  return times


def figures(work, step_seconds):
  """What a step of `step_seconds` means to the person who pays."""
  rate = work.images / step_seconds / (work.steps or 1)
  peak = work.chip.peak_flops * work.chips
  found = {
    'step_seconds': step_seconds,
    'images_per_second': rate,
    'peak_share': work.model_flops / step_seconds / peak,
  }
  if work.steps is None:
    found['paper_days'] = PAPER_STEPS * PAPER_BATCH / rate / _DAY
  return found


def all_figures(work):
  """`figures` of each whole estimate, by name."""
  times = seconds(work)
  return {
    name: figures(work, times[name])
    for name in ('overlapped', 'in turn', 'xla')
    if name in times
  }
