"""What is tried where a job does not fit, and the order of a search."""

import dataclasses

import pytest

from imagen_jax.planning import slices, variants
from imagen_jax.training import compute
from tests.support import tiny_job

SLICE = slices.find('v5e:2x4')


def _job(**changes):
  return tiny_job.config('text', batch_size=16, **changes)


def test_variants_change_what_they_name():
  job = variants.Variant(fsdp=4, remat='blocks', micro_batches=2).of(_job())
  assert (job.mesh.fsdp, job.mesh.data) == (4, -1)
  assert job.compute == compute.Compute(remat='blocks', micro_batches=2)
  assert variants.Variant().of(_job()) == _job()


def _compiler(fits):
  """Stands for the compiler; takes down what it is asked to compile."""
  asked = []

  def compile_variant(variant):
    asked.append(variant)
    job = variant.of(_job())
    seconds = 10 / job.mesh.fsdp + job.compute.micro_batches
    return {
      'fits': fits(job),
      'problem': 'needs more',
      'mesh': {'fsdp': job.mesh.fsdp},
      'compute': dataclasses.asdict(job.compute),
      'memory': {'peak': 1},
      'estimates': {'in turn': {'step_seconds': seconds}},
    }

  return compile_variant, asked


def test_the_smallest_change_that_fits_is_found():
  compiler, asked = _compiler(
    lambda job: job.mesh.fsdp == 8 and job.compute.micro_batches == 2
  )
  plans = variants.fit(variants.remedies(_job(), SLICE), compiler)
  assert plans[-1]['fits'] and not any(p['fits'] for p in plans[:-1])
  assert asked == [
    variants.Variant(),
    variants.Variant(remat='products'),
    variants.Variant(remat='blocks'),
    variants.Variant(fsdp=8),
    variants.Variant(remat='blocks', micro_batches=2),
    variants.Variant(remat='blocks', micro_batches=2, fsdp=8),
  ]


def test_what_fits_is_left_alone_and_what_never_does_ends():
  compiler, asked = _compiler(lambda job: True)
  assert (
    len(variants.fit(variants.remedies(_job(), SLICE), compiler))
    == len(asked)
    == 1
  )
  compiler, asked = _compiler(lambda job: False)
  plans = variants.fit(variants.remedies(_job(), SLICE), compiler)
  assert not plans[-1]['fits'] and 4 < len(asked) < 12


def test_search_ranks_what_fits_by_time():
  compiler, asked = _compiler(lambda job: job.compute.micro_batches >= 2)
  plans = variants.search(variants.searched(_job(), SLICE), compiler)
  assert len(plans) == len(asked)
  assert plans[0]['mesh']['fsdp'] == 8
  assert plans[0]['compute']['micro_batches'] == 2
  fits = [p['fits'] for p in plans]
  assert fits == sorted(fits, reverse=True)


def test_a_search_goes_on_where_the_compiler_dies(capsys):
  compiler, asked = _compiler(lambda job: True)

  def dies_of_8(variant):
    if variant.fsdp == 8:
      raise variants.Died('code -9')
    return compiler(variant)

  lists = [
    [variants.Variant(fsdp=n, remat=r) for r in ('none', 'blocks')]
    for n in (8, 4)
  ]
  plans = variants.search(lists, dies_of_8)
  assert asked == [lists[1][0]] and len(plans) == 1
  assert 'fsdp=8, remat=none: code -9' in capsys.readouterr().err
  with pytest.raises(variants.Died, match='code -9'):
    variants.search(lists[:1], dies_of_8)


def test_of_a_sampler_fewer_pictures_come_first():
  job = _job()
  sampling = dataclasses.replace(job.stage.sampling, batch=4, guidance=2.0)
  stage = dataclasses.replace(job.stage, sampling=sampling)
  job = dataclasses.replace(job, stage=stage)
  assert job.stage.resolution % SLICE.chips == 0
  assert variants.sampling_remedies(job, SLICE) == [
    variants.Variant(sampler_batch=2),
    variants.Variant(sampler_batch=1),
    variants.Variant(sampler_batch=1, in_turn=True),
    variants.Variant(sampler_batch=1, in_turn=True, cut=True),
  ]
  changed = variants.Variant(sampler_batch=1, in_turn=True).of(job)
  assert changed.stage.sampling.batch == 1 and changed.stage.sampling.in_turn
  assert changed.compute == job.compute
  # Without guidance there is nothing to take in turn, on one chip none to cut.
  sampling = dataclasses.replace(sampling, batch=1, guidance=1.0)
  stage = dataclasses.replace(job.stage, sampling=sampling)
  job = dataclasses.replace(job, stage=stage)
  assert variants.sampling_remedies(job, slices.find('v5e:1x1')) == []
