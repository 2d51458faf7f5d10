"""Changes of a job that may make it fit, or faster, and which to try.

A job is a `jobs.TrainConfig`; a plan is the dict that compiling one gives, with
whether it `fits`. `compile_variant(variant)` makes plans of variants.
"""

import dataclasses
import sys

import jax

from imagen_jax.models import execution
from imagen_jax.parallel import partitioning
from imagen_jax.planning import report

_MOST_PARTS = 16  # micro-batches that are worth trying


class Died(ValueError):
  """The process that compiled a variant has ended without a word on it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
  """Settings of the job to change; None = as it is."""

  fsdp: int | None = None
  remat: str | None = None
  micro_batches: int | None = None
  sampler_batch: int | None = None  # pictures a chip draws at once
  in_turn: bool | None = None  # guidance by one call after the other
  cut: bool | None = None  # whether chips share the rows of a drawn picture

  def __str__(self):
    """Such as 'fsdp=16, remat=blocks'."""
    given = {k: v for k, v in vars(self).items() if v is not None}
    return ', '.join(f'{k}={v}' for k, v in given.items()) or 'as it is'

  def of(self, config):
    """The job so changed; `cut` is none of its settings."""
    if self.fsdp is not None:
      mesh = dataclasses.replace(config.mesh, data=-1, fsdp=self.fsdp)
      config = dataclasses.replace(config, mesh=mesh)
    sampling = _changed(
      config.stage.sampling, batch=self.sampler_batch, in_turn=self.in_turn
    )
    compute = _changed(
      config.compute, remat=self.remat, micro_batches=self.micro_batches
    )
    stage = dataclasses.replace(config.stage, sampling=sampling)
    return dataclasses.replace(config, stage=stage, compute=compute)


def _changed(settings, **given):
  """A configuration with what is given changed; None = as it is."""
  given = {name: value for name, value in given.items() if value is not None}
  return dataclasses.replace(settings, **given)


def check(config, slice_):
  """Raises ValueError where mesh or batch cannot be, before any compiling."""
  m = config.mesh
  rest = m.fsdp * m.tensor
  data = slice_.chips // rest if m.data == -1 else m.data
  if data * rest != slice_.chips:
    raise ValueError(
      f'mesh data={m.data} x fsdp={m.fsdp} x tensor={m.tensor} does not make '
      f'the {slice_.chips} chips of {slice_.name}; change MeshConfig '
      '(data=-1: all that are left)'
    )
  size = {'data': data, 'fsdp': m.fsdp, 'tensor': m.tensor}
  mesh = jax.sharding.AbstractMesh(tuple(size.values()), tuple(size))
  partitioning.check_batch(
    config.batch_size, mesh, config.compute.micro_batches
  )


def remedies(config, slice_):
  """Variants that need less memory, the smallest change first."""
  chips = slice_.chips
  remat = execution.REMATS[execution.REMATS.index(config.compute.remat) + 1 :]
  found = [Variant(remat=r) for r in remat]
  spread = None if config.mesh.fsdp == chips else chips
  if spread:
    found.append(Variant(fsdp=spread))
  last = remat[-1] if remat else None
  parts = config.compute.micro_batches
  while (parts := parts * 2) <= _MOST_PARTS:
    found.append(Variant(remat=last, micro_batches=parts))
    if spread:
      found.append(Variant(remat=last, micro_batches=parts, fsdp=spread))
  return possible(config, slice_, found)


def sampling_remedies(config, slice_):
  """The same for drawing: fewer pictures at once, then their rows cut."""
  sampling, found = config.stage.sampling, []
  batch = sampling.batch
  while (batch := batch // 2) >= 1:
    found.append(Variant(sampler_batch=batch))
  if sampling.guidance != 1.0 and not sampling.in_turn:
    found.append(Variant(sampler_batch=1, in_turn=True))
  if slice_.chips > 1 and config.stage.resolution % slice_.chips == 0:
    found.append(Variant(sampler_batch=1, in_turn=True, cut=True))
  return found


def searched(config, slice_):
  """[[variants of rising memory thrift]]: of each list the first that fits."""
  chips = slice_.chips
  widths = [n for n in (8, 16, 32, 64, 128, 256) if n <= chips] or [chips]
  parts = [n for n in (1, 2, 4, 8) if n <= _MOST_PARTS]
  lists = [
    [Variant(fsdp=f, remat=r, micro_batches=n) for n in parts]
    for f in widths
    if chips % f == 0
    for r in execution.REMATS
  ]
  return [possible(config, slice_, variants) for variants in lists]


def possible(config, slice_, variants):
  """Those of the variants whose mesh and batch divide."""
  kept = []
  for variant in variants:
    try:
      check(variant.of(config), slice_)
    except ValueError:
      continue
    kept.append(variant)
  return kept


def fit(variants, compile_variant):
  """Plans, of the job as it is and then of variants, until one fits.

  The last is it, if any does.
  """
  plans = [compile_variant(Variant())]
  if plans[-1]['fits']:
    return plans
  _note(plans[-1])
  for variant in variants:
    plans.append(compile_variant(variant))
    _note(plans[-1])
    if plans[-1]['fits']:
      break
  return plans


def search(lists, compile_variant):
  """Plans of the first that fits of each list, the fastest first.

  Those that do not fit come last. Of a list whose compiler dies no more is
  tried; raises Died where it dies in every one.
  """
  plans, died = [], None
  for variants in lists:
    for variant in variants:
      try:
        plans.append(compile_variant(variant))
      except Died as e:
        died = e
        print(f'  {variant}: {e}', file=sys.stderr, flush=True)
        break
      _note(plans[-1])
      if plans[-1]['fits']:
        break
  if died and not plans:
    raise died
  return sorted(
    plans,
    key=lambda p: (
      (0, p['estimates']['in turn']['step_seconds']) if p['fits'] else (1, 0)
    ),
  )


def _note(plan):
  print(report.row(plan), file=sys.stderr, flush=True)
