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
import time

import jax
import numpy as np

from imagen_jax import stages
from imagen_jax.diffusion import grids, images
from imagen_jax.sampling import bundles, placement, stage_programs

# Where all steps are one `lax.scan` if nobody looks between them. On a CPU each
# number of steps would be compiled for itself, for tens of seconds.
SCANNING = ('tpu', 'gpu')
# Grids are padded to a multiple of this many steps: one program for all.
_CAPACITY = 256
# Looks at the x-predictions of a stage, about.
WATCHED = 8
# Seconds between two reports of progress, about; segments grow towards it.
_REPORT_SECONDS = 0.5
# What XLA says: accelerators, and a CPU that is asked for more at run time.
_NO_MEMORY = ('RESOURCE_EXHAUSTED', 'Out of memory')


def draw(
  stage,
  params,
  sampling,
  conditions,
  seeds,
  *,
  canvas=bundles.PLAIN,
  devices=bundles.ANY,
  observer=bundles.NOBODY,
):
  """Draws n pictures with one stage, in batches of `stage.sampling.batch`.

  Args:
    stage: a `stages.Stage`.
    params: its weights.
    sampling: the `stages.Sampling` to use, but for its batch: that of the
      stage is part of what a seed means.
    conditions: `bundles.Conditions` of n pictures.
    seeds: their `bundles.Seeds`.
    canvas, devices, observer: see `bundles`.

  Returns:
    uint8 [n, h, w, 3].
  """
  n, edit = len(seeds.index), canvas.edit
  height, width = canvas.size or (stage.resolution, stage.resolution)
  if edit is not None and edit.strength == 0:
    return np.array(edit.picture)
  edge = 0 if conditions.low_res is None else stages.edge(stage, sampling)
  if edge:
    conditions = dataclasses.replace(
      conditions, low_res=bundles.widened(conditions.low_res, sampling.margin)
    )
    edit = edit and edit.widened(edge)
    height, width = height + 2 * edge, width + 2 * edge
  inside = np.s_[:, edge : height - edge, edge : width - edge]
  pictures = np.zeros([n, height, width, 3], np.uint8)
  mesh, params = _placed(stage, params, n, height, devices)
  batch = stage.sampling.batch
  batch *= 1 if mesh is None or devices.cut else mesh.size
  draw_batch = _enough_memory(_draw_batch, stage, (height, width))
  for first in range(0, n, batch):
    rows = np.minimum(np.arange(first, first + batch), n - 1)  # last: padding
    part = draw_batch(
      stage,
      params,
      sampling,
      conditions.rows(rows),
      seeds.rows(rows),
      bundles.Canvas(size=(height, width), edit=edit and edit.rows(rows)),
      mesh,
      _of_batch(observer, range(n)[first:][:batch], inside, (first, n, batch)),
    )
    pictures[first : first + batch] = part[: n - first]
  if edit is not None and edit.mask is not None:
    # The known part to the last bit.
    pictures = np.where(edit.mask[..., None], pictures, edit.picture)
  return pictures[inside]


def _placed(stage, params, n, height, devices):
  """(mesh of the devices that are used, params on them)."""
  some, cut = devices.devices, devices.cut
  if not cut:
    some = _useful(stage, n, some)
  elif height % len(some or [None]):
    raise ValueError(
      f'stage {stage.name}: {height} rows cannot be cut over {len(some)} '
      'devices; give a number that divides them'
    )
  mesh = placement.make_mesh(some, cut)
  if mesh is None and some is not None:
    params = placement.on_first(params)
  return mesh, params


def _of_batch(observer, rows, inside, place):
  """An `Observer` of one batch: progress(step, steps), watch(step, x0 [b,
  h, w, 3] about [-1, 1]), measure(step, steps, figures)."""
  progress, watch, measure = (
    observer.progress,
    observer.watch,
    observer.measure,
  )
  first, n, batch = place
  done, batches = first // batch, -(-n // batch)

  def report(step, steps):
    progress(done * steps + step, batches * steps)

  def see(step, x0):
    watch(rows, step, np.asarray(images.to_uint8(x0))[inside][: len(rows)])

  def note(step, steps, figures):
    figures = {k: np.asarray(v)[: len(rows)] for k, v in figures.items()}
    measure(rows, step / steps, figures)

  return bundles.Observer(
    progress=progress and report,
    watch=watch and see,
    measure=measure and note,
  )


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


def _draw_batch(
  stage, params, sampling, conditions, seeds, canvas, mesh, observer
):
  """One compiled batch on every device: uint8 [b, h, w, 3]."""
  edit, steps = canvas.edit, canvas.steps(sampling)
  if observer.progress:
    observer.progress(0, steps)
  programs = stage_programs.make(
    stage,
    stage_programs.compiled_part(stage, sampling),
    canvas.size,
    edit.resamples if canvas.masked else None,
    mesh,
  )
  carry, *rest = programs.begin(
    params,
    seeds,
    conditions,
    stage_programs.Numbers(
      fractions=fractions(sampling, steps),
      steps=np.int32(steps),
      guidance=np.float32(sampling.guidance),
      aug_level=np.float32(sampling.aug_level),
    ),
    None if steps == sampling.steps else edit.picture,
    (edit.picture, edit.mask) if canvas.masked else None,
  )
  carry = _run(programs, params, carry, rest, steps, observer)
  pictures, finite = programs.finish(carry.z)
  if not np.all(finite):
    raise FloatingPointError(
      f'stage {stage.name} drew a picture that is not finite; its weights or '
      'the settings of its sampler are broken'
    )
  return np.asarray(pictures)


def _is_accelerated(x):
  """Whether it lies where a program for each number of steps is worth it."""
  return all(device.platform in SCANNING for device in x.devices())


def _run(programs, params, carry, rest, steps, observer):
  """All steps in segments, whose borders are where observers are told."""
  keys, levels, inputs = rest
  if observer == bundles.NOBODY and _is_accelerated(carry.z):
    # Nobody looks between the steps: one program, for this number of them.
    return programs.run_all(carry, levels[: steps + 1], keys, (params, inputs))
  progress, watch, measure = (
    observer.progress,
    observer.watch,
    observer.measure,
  )
  step, length = 0, 1 if progress else steps
  look = -(-steps // WATCHED)
  longest = 1 if measure else look if watch else steps
  while step < steps:
    if measure:
      figures = programs.figures(carry.z, np.int32(step), params, inputs)
      measure(step, steps, figures)
    length = min(length, steps - step, longest - step % longest)
    before = time.monotonic()
    carry = programs.run(
      carry, np.int32(step), np.int32(length), levels, keys, (params, inputs)
    )
    step += length
    if watch and (step % look == 0 or step == steps):
      watch(step, carry.x0)
    if progress:
      carry.z.block_until_ready()
      progress(step, steps)
      if time.monotonic() - before < _REPORT_SECONDS / 2:
        length *= 2
  return carry
