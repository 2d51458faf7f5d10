"""Draws pictures with one stage of the cascade (sections 2.2 to 2.4).

Noise -> guided, thresholded denoiser -> sampler, for a super-resolution stage
on top of a low-res picture that is corrupted at the chosen aug_level and then
upsampled (appendix A.32); or from a picture that is changed (`Edit`).
Everything runs at one compiled batch size, so that a picture does not depend on
its companions: XLA's results differ in the last bits between batch sizes.

  text [n, l, d], mask [n, l], low_res uint8 [n, h / f, w / f, 3]
    -> uint8 [n, h, w, 3]
"""

import dataclasses
import functools
import time

import jax
import numpy as np

from imagen_jax import stages
from imagen_jax.diffusion import grids, images
from imagen_jax.sampling import placement, stage_programs

# Grids are padded to a multiple of this many steps: one program for all.
_CAPACITY = 256
# Looks at the x-predictions of a stage, about.
WATCHED = 8
# Seconds between two reports of progress, about; segments grow towards it.
_REPORT_SECONDS = 0.5
# What XLA says: accelerators, and a CPU that is asked for more at run time.
_NO_MEMORY = ('RESOURCE_EXHAUSTED', 'Out of memory')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit:
  """Pictures to start from instead of noise, at the stage's resolution."""

  picture: np.ndarray  # uint8 [n, h, w, 3]
  strength: float = 1.0  # share of the steps done anew, 0 = none to 1 = all
  mask: np.ndarray | None = None  # bool [n, h, w]: to draw anew; None = all
  resamples: int = 1  # times each step is done, where there is a mask

  def __post_init__(self):
    if not 0 <= self.strength <= 1:
      raise ValueError(f'strength is {self.strength}; it must lie in [0, 1]')
    if self.resamples < 1:
      raise ValueError(
        f'resamples is {self.resamples}; it must be at least 1 (once)'
      )
    if self.mask is not None and self.mask.shape != self.picture.shape[:3]:
      raise ValueError(
        f'the mask is {list(self.mask.shape)}, the picture '
        f'{list(self.picture.shape)}; give a mask of the size of the picture'
      )

  def rows(self, rows):
    """The edit of some pictures alone."""
    mask = None if self.mask is None else self.mask[rows]
    return dataclasses.replace(self, picture=self.picture[rows], mask=mask)

  def widened(self, edge):
    """The same with the borders continued by so many pixels."""
    mask = None if self.mask is None else _widened(self.mask, edge)
    picture = _widened(self.picture, edge)
    return dataclasses.replace(self, picture=picture, mask=mask)


def draw(
  stage,
  params,
  text,
  mask,
  *,
  seed,
  index,
  sampling,
  low_res=None,
  size=None,
  negative=None,
  edit=None,
  devices=None,
  cut=False,
  progress=None,
  watch=None,
  measure=None,
):
  """Draws n pictures with one stage, in batches of `stage.sampling.batch`.

  Args:
    stage: a `stages.Stage`.
    params: its weights.
    text: [n, l, d] float32, embeddings of the captions.
    mask: [n, l] bool.
    seed: int in [0, 2^32).
    index: [n] ints, each picture's number within its prompt. Seed, index,
      resolution and purpose alone make the keys.
    sampling: the `stages.Sampling` to use, but for its batch: that of the
      stage is part of what a seed means.
    low_res: uint8 [n, h / f, w / f, 3], for a super-resolution stage.
    size: (h, w) of the pictures; None = the stage's resolution.
    negative: (text, mask) like the two above: what guidance leads away from;
      None = no text, as in the paper.
    edit: an `Edit`; None = from noise.
    devices: each draws a batch at a time, where there are pictures for more
      than one; their params as of `placement.place`. None = JAX's own choice.
    cut: whether the devices share the rows of each picture, for which one has
      not the memory; the pictures then differ in the last bits.
    progress: None, or called as progress(done, total) in steps of all
      batches, at the start and at the borders of the segments.
    watch: None, or called some WATCHED times a batch as watch(rows, step, x0
      uint8 [rows, h, w, 3]): what the pictures of these rows are thought to be
      after so many steps.
    measure: None, or called before every step as measure(rows, share, figures
      {name: [rows]}): the share of the steps done, and what thresholding and
      guidance are about to do; see `denoising.make_figures`. Takes as long
      as drawing.

  Returns:
    uint8 [n, h, w, 3].
  """
  n = len(index)
  height, width = size or (stage.resolution, stage.resolution)
  if edit is not None and edit.strength == 0:
    return np.array(edit.picture)
  edge = 0 if low_res is None else stages.edge(stage, sampling)
  if edge:
    low_res = _widened(low_res, sampling.margin)
    edit = edit and edit.widened(edge)
    height, width = height + 2 * edge, width + 2 * edge
  inside = np.s_[:, edge : height - edge, edge : width - edge]
  pictures = np.zeros([n, height, width, 3], np.uint8)
  steps = _steps(sampling, edit)
  if not cut:
    devices = _useful(stage, n, devices)
  elif height % len(devices or [None]):
    raise ValueError(
      f'stage {stage.name}: {height} rows cannot be cut over {len(devices)} '
      'devices; give a number that divides them'
    )
  mesh = placement.make_mesh(devices, cut)
  if mesh is None and devices is not None:
    params = placement.on_first(params)
  batch = stage.sampling.batch
  batch *= 1 if cut else len(devices or [None])
  total = -(-n // batch) * steps
  for done, first in enumerate(range(0, n, batch)):
    rows = np.minimum(np.arange(first, first + batch), n - 1)  # last: padding
    report = progress and functools.partial(
      lambda before, step: progress(before + step, total), done * steps
    )
    numbers = range(n)[first:][:batch]
    seen = watch and functools.partial(_watch, watch, numbers, inside)
    said = measure and functools.partial(_measure, measure, numbers, steps)
    draw_batch = _enough_memory(_draw_batch, stage, (height, width))
    part = draw_batch(
      stage,
      params,
      (text[rows], mask[rows]),
      None if negative is None else tuple(x[rows] for x in negative),
      (np.uint32(seed), np.asarray(index, np.int32)[rows]),
      None if low_res is None else low_res[rows],
      (height, width),
      None if edit is None else edit.rows(rows),
      sampling,
      mesh,
      report,
      seen,
      said,
    )
    pictures[first : first + batch] = part[: n - first]
  if edit is not None and edit.mask is not None:
    # The known part to the last bit.
    pictures = np.where(edit.mask[..., None], pictures, edit.picture)
  return pictures[inside]


def _enough_memory(function, stage, size):
  """`function` with one line for a device that runs out of memory."""

  def call(*args):
    try:
      return function(*args)
    except jax.errors.JaxRuntimeError as e:
      reason = str(e).splitlines()[0]
      if not any(said in reason for said in _NO_MEMORY):
        raise
      raise MemoryError(
        f'stage {stage.name}: {stage.sampling.batch} of {size[1]} x {size[0]} '
        f'pixels at once do not fit into the memory of the device ({reason}); '
        'draw fewer pixels (--upto, --size, a smaller picture to --upscale), '
        'cut rows over more devices (--rows_from), guide by one call at a time '
        "(--in_turn), or lower the batch in the stage's stage.json and bind "
        'again'
      ) from e

  return call


def calls(stage, n, devices=None, cut=False):
  """How many compiled batches n pictures take."""
  devices = None if cut else _useful(stage, n, devices)
  return -(-n // (stage.sampling.batch * len(devices or [None])))


def _useful(stage, n, devices):
  """One device where its batch is enough, else all: two programs, not many."""
  if devices is None or n > stage.sampling.batch:
    return devices
  return devices[:1]


def fractions(sampling, steps):
  """The `grids.fractions` of the last `steps` steps, padded."""
  capacity = -(-sampling.steps // _CAPACITY) * _CAPACITY
  if (times := stages.times(sampling)) is not None:
    u = np.zeros(capacity + 1, np.float32)  # after the last time: 0 again
    u[:steps] = times[len(times) - steps :]
    return u
  return grids.fractions(sampling.steps, capacity, sampling.steps - steps)


def _steps(sampling, edit):
  """How many of the steps are run: at least one."""
  if edit is None:
    return sampling.steps
  return max(1, round(edit.strength * sampling.steps))


def _watch(watch, rows, inside, step, x0):
  watch(rows, step, np.asarray(images.to_uint8(x0))[inside][: len(rows)])


def _widened(pictures, pixels):
  """[n, h, w, ...] -> [n, h + 2 pixels, w + 2 pixels, ...]."""
  around = [(0, 0), (pixels, pixels), (pixels, pixels)]
  around += [(0, 0)] * (pictures.ndim - 3)
  return np.pad(pictures, around, 'edge')


def _measure(measure, rows, steps, step, figures):
  figures = {k: np.asarray(v)[: len(rows)] for k, v in figures.items()}
  measure(rows, step / steps, figures)


def _draw_batch(
  stage,
  params,
  text,
  negative,
  noise,
  low_res,
  size,
  edit,
  sampling,
  mesh,
  report,
  watch,
  measure,
):
  """One compiled batch on every device: uint8 [b, h, w, 3]."""
  if report:
    report(0)
  steps = _steps(sampling, edit)
  masked = edit is not None and edit.mask is not None
  begin, run, finish, figures = stage_programs.make(
    stage,
    stage_programs.compiled_part(stage, sampling),
    size,
    edit.resamples if masked else None,
    mesh,
  )
  carry, keys, levels, inputs = begin(
    params,
    *noise,
    fractions(sampling, steps),
    np.int32(steps),
    np.float32(sampling.guidance),
    text,
    negative,
    low_res,
    np.float32(sampling.aug_level),
    None if steps == sampling.steps else edit.picture,
    (edit.picture, edit.mask) if masked else None,
  )
  step, length = 0, 1 if report else steps
  look = -(-steps // WATCHED)
  longest = 1 if measure else look if watch else steps
  while step < steps:
    if measure:
      measure(step, figures(carry.z, np.int32(step), params, inputs))
    length = min(length, steps - step, longest - step % longest)
    before = time.monotonic()
    carry = run(
      carry, np.int32(step), np.int32(length), levels, keys, (params, inputs)
    )
    step += length
    if watch and (step % look == 0 or step == steps):
      watch(step, carry.x0)
    if report:
      carry.z.block_until_ready()
      report(step)
      if time.monotonic() - before < _REPORT_SECONDS / 2:
        length *= 2
  pictures, finite = finish(carry.z)
  if not np.all(finite):
    raise FloatingPointError(
      f'stage {stage.name} drew a picture that is not finite; its weights or '
      'the settings of its sampler are broken'
    )
  return np.asarray(pictures)
