"""The plan's command line, its errors, and what it tries."""

import dataclasses
import json
import pathlib
import sys
import types

import pytest

import gin
from imagen_jax import plan
from imagen_jax.planning import slices
from imagen_jax.training import compute
from tests import tiny_job

LEAF = pathlib.Path(__file__).parents[1] / 'gin' / 'scenes_64.gin'
SLICE = slices.find('v5e:2x4')


@pytest.fixture(autouse=True)
def _clean():
  yield
  gin.clear_config(clear_constants=True)


def _job(**changes):
  return tiny_job.config('text', batch_size=16, **changes)


def _said(argv, capsys):
  try:
    code = plan.main(argv)
  except SystemExit as stop:
    code = stop.code
  assert code == 2
  said = capsys.readouterr().err
  assert said.startswith('error: ') and said.count('\n') == 1
  return said


def test_lists_the_slices(capsys):
  assert plan.main(['--topologies']) == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == len(slices.NAMES)
  assert 'v5e:16x16      256 x TPU v5e' in lines


@pytest.mark.parametrize(
  ('flags', 'said'),
  [
    ([], '--gin_file=FILE and --topology=NAME are needed'),
    ([f'--gin_file={LEAF}', '--topology=v5e:16x61'], 'did you mean v5e:16x16'),
    (['--gin_file=none.gin', '--topology=v5e:2x2'], 'none.gin not found'),
    (
      [f'--gin_file={LEAF}', '--topology=v5e:8x8'],
      'batch_size 16 does not divide over 64 devices',
    ),
    (
      [f'--gin_file={LEAF}', '--topology=v5e:2x2', '--gin.MeshConfig.fsdp=8'],
      'fsdp=8 x tensor=1 does not make the 4 chips of v5e:2x2',
    ),
  ],
)
def test_bad_command_lines(flags, said, capsys):
  assert said in _said(flags, capsys)


def test_a_compiler_that_is_missing(capsys, monkeypatch):
  """The other process says so; this one passes it on."""

  def run(command, **_):
    monkeypatch.setitem(sys.modules, 'libtpu', None)
    inner = [a for a in command if a.startswith('--')]
    gin.clear_config(clear_constants=True)
    code = plan.main(inner)
    said = capsys.readouterr().err
    return types.SimpleNamespace(returncode=code, stderr=said)

  monkeypatch.setattr(plan.subprocess, 'run', run)
  said = _said([f'--gin_file={LEAF}', '--topology=v5e:2x2'], capsys)
  assert 'libtpu, the compiler for TPUs, is not installed' in said


def test_a_compiler_that_dies(monkeypatch, capsys):
  monkeypatch.setattr(
    plan.subprocess,
    'run',
    lambda *_, **__: types.SimpleNamespace(returncode=-9, stderr='no more\n'),
  )
  said = _said([f'--gin_file={LEAF}', '--topology=v5e:2x2'], capsys)
  assert 'ended with code -9, saying no more' in said


def test_variants_change_what_they_name():
  job = plan.Variant(fsdp=4, remat='blocks', micro_batches=2).of(_job())
  assert (job.mesh.fsdp, job.mesh.data) == (4, -1)
  assert job.compute == compute.Compute(remat='blocks', micro_batches=2)
  assert plan.Variant().of(_job()) == _job()


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
  plans = plan.fit(_job(), SLICE, compiler)
  assert plans[-1]['fits'] and not any(p['fits'] for p in plans[:-1])
  assert asked == [
    plan.Variant(),
    plan.Variant(remat='products'),
    plan.Variant(remat='blocks'),
    plan.Variant(fsdp=8),
    plan.Variant(remat='blocks', micro_batches=2),
    plan.Variant(remat='blocks', micro_batches=2, fsdp=8),
  ]


def test_what_fits_is_left_alone_and_what_never_does_ends():
  compiler, asked = _compiler(lambda job: True)
  assert len(plan.fit(_job(), SLICE, compiler)) == len(asked) == 1
  compiler, asked = _compiler(lambda job: False)
  plans = plan.fit(_job(), SLICE, compiler)
  assert not plans[-1]['fits'] and 4 < len(asked) < 12


def test_search_ranks_what_fits_by_time():
  compiler, asked = _compiler(lambda job: job.compute.micro_batches >= 2)
  plans = plan.search(_job(), SLICE, compiler)
  assert len(plans) == len(asked)
  assert plans[0]['mesh']['fsdp'] == 8
  assert plans[0]['compute']['micro_batches'] == 2
  fits = [p['fits'] for p in plans]
  assert fits == sorted(fits, reverse=True)


def test_out_of_memory_is_told_in_bytes():
  message = (
    'RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in '
    'memory space hbm. Used 21.50G of 15.75G hbm. Exceeded by 5.75G.'
  )
  assert plan._problem(message) == 'needs 23.1 GB of the 16.9 GB of a chip'
  assert plan._problem('INTERNAL: x\nmore') == 'INTERNAL: x'


def test_help_names_every_flag(capsys):
  with pytest.raises(SystemExit) as stop:
    plan.main(['--help'])
  assert stop.value.code == 0
  text = capsys.readouterr().out
  for action in plan.parser()._actions:
    if action.dest not in ('help', 'variant', 'inside'):
      assert all(option in text for option in action.option_strings)
      assert 'default' in action.help
  json.dumps(vars(plan.Variant()))
