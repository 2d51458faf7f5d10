"""launch/*.sh: they find a Python, make one environment, install once.

The interpreters are scripts that write down how they were called, so nothing
is installed and nothing is drawn.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ['bash', 'dirname', 'basename', 'cat', 'cksum', 'mkdir', 'cp', 'chmod']

# Says yes to every question but the version's and the venv module's, and
# makes environments whose python is a copy of itself.
PYTHON = """#!{bash}
echo "$*" >>"{log}"
case "$*" in
  *version_info*) exit {version} ;;
  *ensurepip*) exit {bare} ;;
  --version) echo Python of the test ;;
  '-m venv'*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
  """A clone with the scripts alone, and a PATH with the least they need."""
  root = tmp_path / 'clone'
  shutil.copytree(ROOT / 'launch', root / 'launch')
  (root / 'setup.py').write_text('one')
  (tmp_path / 'bin').mkdir()
  for tool in TOOLS:
    (tmp_path / 'bin' / tool).symlink_to(shutil.which(tool))
  return root


def add_python(clone, name='python3', version=0, bare=0):
  """A fake interpreter; version and bare are exit codes, 0 = good."""
  path = clone.parent / 'bin' / name
  log = clone.parent / 'calls'
  bash = shutil.which('bash')
  path.write_text(PYTHON.format(bash=bash, log=log, version=version, bare=bare))
  path.chmod(0o755)


def launch(clone, *arguments, script='quickstart.sh', **environment):
  """Runs a script: (result, what its interpreters were asked)."""
  log = clone.parent / 'calls'
  log.write_text('')
  result = subprocess.run(
    ['bash', clone / 'launch' / script, *arguments],
    env={'PATH': str(clone.parent / 'bin'), 'HOME': os.devnull, **environment},
    capture_output=True,
    text=True,
  )
  return result, log.read_text().splitlines()


def installs(calls):
  return [call for call in calls if call.startswith('-m pip install')]


@pytest.mark.parametrize('version', [None, 1])
def test_says_what_it_needs_where_no_python_fits(clone, version):
  if version is not None:
    add_python(clone, version=version)
  result, _ = launch(clone)
  assert result.returncode == 1
  assert 'needs Python 3.11, 3.12 or 3.13' in result.stderr
  assert len(result.stderr.splitlines()) == 1


def test_says_what_is_missing_where_venv_cannot_work(clone):
  add_python(clone, bare=1)
  result, _ = launch(clone)
  assert result.returncode == 1
  assert 'apt install python3-venv' in result.stderr


def test_takes_another_python_where_the_first_does_not_fit(clone):
  add_python(clone, 'python3', version=1)
  add_python(clone, 'python3.12')
  result, _ = launch(clone)
  assert result.returncode == 0, result.stderr
  assert (clone / '.venv' / 'bin' / 'python').exists()


def test_installs_once_and_again_for_another_setup(clone):
  add_python(clone)
  result, calls = launch(clone, 'three stars', '--seed=7')
  assert result.returncode == 0, result.stderr
  assert 'MB' in result.stderr
  assert installs(calls) == [f'-m pip install --quiet --editable {clone}']
  wanted = '-m imagen_jax.sample --num_images=1 three stars --seed=7'
  assert calls[-1] == wanted

  result, calls = launch(clone, 'three stars')
  assert not installs(calls)
  assert not result.stderr

  (clone / 'setup.py').write_text('two')
  _, calls = launch(clone, 'three stars')
  assert installs(calls)


def test_draws_a_fox_where_nothing_is_asked(clone):
  add_python(clone)
  _, calls = launch(clone)
  assert calls[-1].endswith('a red fox at sunset')


def test_uses_the_active_environment(clone, tmp_path):
  add_python(clone)
  (tmp_path / 'mine' / 'bin').mkdir(parents=True)
  shutil.copy(tmp_path / 'bin' / 'python3', tmp_path / 'mine' / 'bin/python')
  result, calls = launch(clone, VIRTUAL_ENV=str(tmp_path / 'mine'))
  assert result.returncode == 0, result.stderr
  assert installs(calls)
  assert not (clone / '.venv').exists()


def test_an_active_environment_of_another_python_is_an_error(clone, tmp_path):
  add_python(clone, version=1)
  (tmp_path / 'mine' / 'bin').mkdir(parents=True)
  shutil.copy(tmp_path / 'bin' / 'python3', tmp_path / 'mine' / 'bin/python')
  result, _ = launch(clone, VIRTUAL_ENV=str(tmp_path / 'mine'))
  assert result.returncode == 1
  assert 'deactivate or delete' in result.stderr


def test_a_failed_installation_is_tried_again(clone):
  add_python(clone)
  path = clone.parent / 'bin' / 'python3'
  path.write_text(path.read_text() + '[ "$2" != pip ] || exit 1\n')
  result, _ = launch(clone)
  assert result.returncode == 1
  assert 'run this again' in result.stderr
  result, calls = launch(clone)
  assert installs(calls)


TESTS = '-m pytest -n 2 --dist loadfile'
DRAWS_OR_TRAINS = re.compile(
  r'^from imagen_jax(\.sampling)? import .*\b(cascade|sample|train)\b'
  r'|load_cascade\(',
  re.MULTILINE,
)


def test_all_tests_are_run_where_nothing_is_asked(clone):
  add_python(clone)
  result, calls = launch(clone, script='test.sh')
  assert result.returncode == 0, result.stderr
  assert installs(calls) == [f'-m pip install --quiet --editable {clone}[dev]']
  assert calls[-1] == TESTS


def test_arguments_go_to_pytest(clone):
  add_python(clone)
  _, calls = launch(clone, '-m', 'slow', script='test.sh')
  assert calls[-1] == f'{TESTS} -m slow'


def test_the_fast_lane_is_made_of_paths_that_are_there(clone):
  add_python(clone)
  _, calls = launch(clone, '--fast', '-k', 'name', script='test.sh')
  assert calls[-1].startswith(f'{TESTS} ') and calls[-1].endswith(' -k name')
  told = calls[-1].removeprefix(TESTS).removesuffix('-k name').split()
  paths = [path.removeprefix('--ignore=') for path in told]
  assert len(paths) > 3
  assert not [path for path in paths if not (ROOT / path).exists()]


def test_the_fast_lane_trains_nothing_and_leaves_the_shipped_cascade(clone):
  add_python(clone)
  _, calls = launch(clone, '--fast', script='test.sh')
  told = calls[-1].removeprefix(TESTS).split()
  paths = [path for path in told if not path.startswith('--ignore=')]
  heavy = ('tests/training', 'tests/sampling', 'tests/test_train')
  assert not [path for path in paths if path.startswith(heavy)]
  files = [
    file
    for path in paths
    for file in (sorted((ROOT / path).rglob('test_*.py')) or [ROOT / path])
  ]
  ignored = {path.removeprefix('--ignore=') for path in told}
  files = [f for f in files if f.relative_to(ROOT).as_posix() not in ignored]
  for file in files:
    source = file.read_text(encoding='utf-8')
    assert not DRAWS_OR_TRAINS.search(source), file
