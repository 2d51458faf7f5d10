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
