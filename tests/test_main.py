"""`imagen-jax` and `python -m imagen_jax`: the list, and a command by name."""

import pathlib
import subprocess
import sys

import pytest

import imagen_jax
from imagen_jax import __main__ as main_lib

ROOT = pathlib.Path(__file__).parents[1]


def _run(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'imagen_jax', *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )


def test_every_command_is_listed_and_no_other():
  files = {path.stem for path in (ROOT / 'imagen_jax').glob('*.py')}
  assert set(main_lib.COMMANDS) == files - {'__init__', '__main__'}


@pytest.mark.parametrize('arguments', [[], ['--help']])
def test_commands_are_listed_with_a_line_each(arguments):
  done = _run(*arguments)
  assert done.returncode == 0
  rows = [line.split() for line in done.stdout.splitlines() if line[:1] == ' ']
  assert [row[0] for row in rows] == list(main_lib.COMMANDS)
  assert all(len(row) > 2 for row in rows)
  assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_list_imports_nothing_heavy():
  code = (
    'import sys; from imagen_jax import __main__ as m; m.main([]); '
    "print({'jax', 'numpy', 'absl'} & set(sys.modules))"
  )
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
  )
  assert done.stdout.splitlines()[-1] == 'set()'


def test_a_command_gets_its_arguments():
  done = _run('clip-score', '--no_such_flag')
  assert done.returncode == 2
  assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
  assert '--help' in _run('sample', '--help').stdout


def test_a_job_that_gin_configures_runs_by_name():
  done = _run('train', '--gin_file=gin/scenes_64.gin', '--dry_run')
  assert done.returncode == 0, done.stderr
  assert "stages.Stage.name = 'scenes_64'" in done.stdout


@pytest.mark.parametrize(
  ('said', 'near'), [('smaple', 'sample'), ('evalaute', 'evaluate')]
)
def test_an_unknown_command_is_one_line_with_the_nearest(said, near):
  done = _run(said)
  assert done.returncode == 2 and not done.stdout
  assert done.stderr.count('\n') == 1
  assert f"'{said}' is no command; the nearest is {near}," in done.stderr


def test_the_version(capsys):
  assert main_lib.main(['--version']) == 0
  assert capsys.readouterr().out == f'{imagen_jax.__version__}\n'


def test_setup_installs_the_command():
  text = (ROOT / 'setup.py').read_text(encoding='utf-8')
  assert "'imagen-jax = imagen_jax.__main__:run'" in text
