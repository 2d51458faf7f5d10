"""What is installed: the wheel has every file of the package, and its needs."""

import pathlib
import re
import runpy
import subprocess
import tomllib

import pytest
import setuptools

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'imagen_jax'


@pytest.fixture(scope='module')
def settings():
  """What setup.py gives to setuptools."""
  given = {}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      setuptools, 'setup', lambda **settings: given.update(settings)
    )
    patch.chdir(ROOT)
    runpy.run_path(str(ROOT / 'setup.py'))
  return given


def _tracked():
  """Files of the package that belong to the repository."""
  try:
    listed = subprocess.run(
      ['git', 'ls-files', 'imagen_jax'],
      cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
  except (OSError, subprocess.CalledProcessError):
    pytest.skip('no clone of git here')
  return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def _installed(settings):
  """Files that setuptools takes: modules of the packages, and their data."""
  modules = {
    path
    for package in settings['packages']
    for path in (ROOT / package.replace('.', '/')).glob('*.py')
  }
  data = {
    path
    for package, patterns in settings['package_data'].items()
    for pattern in patterns
    for path in (ROOT / package.replace('.', '/')).glob(pattern)
    if path.is_file()
  }
  return {str(path.relative_to(ROOT)) for path in modules | data}


def test_the_wheel_has_every_file_of_the_package(settings):
  missing = sorted(_tracked() - _installed(settings))
  assert missing == []


def test_a_file_of_each_kind_is_there(settings):
  """So that the test above is not true of nothing."""
  installed = _installed(settings)
  kinds = {name.rpartition('.')[2] for name in installed}
  assert kinds >= {'py', 'css', 'js', 'json', 'safetensors', 'model', 'typed'}
  assert 'imagen_jax/py.typed' in installed
  assert 'imagen_jax/pretrained/scenes/cascade.json' in installed


def test_a_file_of_a_new_kind_would_be_missed(settings):
  """What the first test is for."""
  few = {**settings, 'package_data': {'imagen_jax': ['**/*.json']}}
  assert 'imagen_jax/pages/style.css' in _tracked() - _installed(few)


def _names(requirements):
  return [
    re.match(r'[\w.-]+', r)[0].lower().replace('_', '-') for r in requirements
  ]


def test_the_next_orbax_waits_until_it_is_tried(settings):
  (orbax,) = [r for r in settings['install_requires'] if 'orbax' in r]
  assert orbax.endswith(',<1.0')


def test_requirements_name_what_the_project_is_made_with(settings):
  lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
  wanted = [line for line in lines if line.strip() and line[0] not in '#-']
  named = _names(wanted)
  assert named == [
    *('jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'pillow'),
    *('tensorflow-datasets', 'seqio', 'clu'),
  ]
  for line in wanted:
    assert re.search(r' # \w.{10}', line), f'{line}: what is it for?'
  of_data = _names(settings['extras_require']['data'])
  assert set(named) <= {*_names(settings['install_requires']), *of_data}
  assert any(line.startswith('# t5x ') for line in lines)  # no index has it
  assert lines[-1] == '-e .[data,dev]'


def test_every_python_that_is_named_is_allowed(settings):
  versions = [
    c.rpartition(' ')[2]
    for c in settings['classifiers']
    if re.search(r'Python :: 3\.\d+$', c)
  ]
  assert versions == ['3.11', '3.12', '3.13']
  assert settings['python_requires'] == f'>={versions[0]}'


def test_our_own_deprecations_are_errors():
  text = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
  filters = tomllib.loads(text)['tool']['pytest']['ini_options']
  for kind in ('Deprecation', 'PendingDeprecation', 'Future'):
    assert f'error::{kind}Warning:imagen_jax' in filters['filterwarnings']
