"""The plan's command line, its errors, and what it tries."""

import json
import pathlib
import sys
import types

import pytest

import gin
from imagen_jax import plan
from imagen_jax.planning import slices, variants

LEAF = pathlib.Path(__file__).parents[1] / 'gin' / 'scenes_64.gin'


@pytest.fixture(autouse=True)
def _clean():
  yield
  gin.clear_config(clear_constants=True)


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
    (
      [f'--gin_file={LEAF}', '--topology=v5e:2x2', '--sample', '--search'],
      '--search ranks train steps; leave it or --sample out',
    ),
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


def _plan(variant):
  """As the compiler would give: two micro-batches are needed."""
  parts = variant.micro_batches or 1
  plan = {
    'name': 'tiny', 'parameters': 10, 'batch': 16, 'topology': 'v5e:2x2',
    'chips': 4, 'chip': 'TPU v5e', 'level': 'quick', 'fits': parts > 1,
    'problem': 'needs 20.0 GB', 'compute': {
      'remat': variant.remat or 'none', 'micro_batches': parts, 'scan': False,
    },
    'mesh': {'data': 4 // (variant.fsdp or 1), 'fsdp': variant.fsdp or 1},
  }  # fmt: skip
  if not plan['fits']:
    return plan
  figures = {
    'step_seconds': 0.5 / plan['mesh']['fsdp'], 'images_per_second': 32.0,
    'peak_share': 0.5, 'paper_days': 3.0,
  }  # fmt: skip
  return plan | {
    'compile_seconds': 1.0, 'memory': {'peak': 2e9}, 'hbm': 16e9,
    'flops': {'model': 1e12, 'computed': 1e12}, 'moved': 0.0, 'sent': 0.0,
    'collectives': [], 'estimates': {'in turn': figures, 'xla': figures},
    'seconds': {'products': 0.1, 'memory': 0.1, 'links': 0.1},
  }  # fmt: skip


def _run(monkeypatch, *flags, fits=True):
  def compile_apart(args, bindings, variant):
    return _plan(variant) | ({} if fits else {'fits': False})

  monkeypatch.setattr(plan, 'compile_apart', compile_apart)
  return plan.main([f'--gin_file={LEAF}', '--topology=v5e:2x2', *flags])


def test_a_job_that_does_not_fit_is_told_what_to_change(
  monkeypatch, capsys, tmp_path
):
  out = tmp_path / 'plan.json'
  assert _run(monkeypatch, f'--json={out}') == 0
  said = capsys.readouterr().out
  assert 'does not fit as it is: needs 20.0 GB' in said
  assert 'fits with: ' in said and 'micro-batches 2' in said
  plans = json.loads(out.read_text())
  assert [p['fits'] for p in plans] == [False] * (len(plans) - 1) + [True]
  assert plans[-1] == _plan(variants.Variant(remat='blocks', micro_batches=2))


def test_a_file_that_cannot_be_written_loses_no_plan(
  monkeypatch, capsys, tmp_path
):
  out = tmp_path / 'none' / 'plan.json'
  assert _run(monkeypatch, f'--json={out}') == 2
  said = capsys.readouterr()
  assert 'fits with: ' in said.out
  assert said.err.splitlines()[-1].startswith(f'error: --json={out}: ')


def test_nothing_that_fits_is_a_failure(monkeypatch, capsys):
  assert _run(monkeypatch, fits=False) == 1
  assert 'DOES NOT FIT: needs 20.0 GB' in capsys.readouterr().out


def test_a_search_tells_the_fastest_first(monkeypatch, capsys):
  assert _run(monkeypatch, '--search') == 0
  lines = capsys.readouterr().out.splitlines()
  assert 'the fastest first' in lines[0]
  seconds = [float(line.split('s')[0]) for line in lines[1:4]]
  assert seconds == sorted(seconds)


def test_help_names_every_flag(capsys):
  with pytest.raises(SystemExit) as stop:
    plan.main(['--help'])
  assert stop.value.code == 0
  text = capsys.readouterr().out
  for action in plan.parser()._actions:
    if action.dest not in ('help', 'variant', 'inside'):
      assert all(option in text for option in action.option_strings)
      assert 'default' in action.help
  json.dumps(vars(variants.Variant()))
