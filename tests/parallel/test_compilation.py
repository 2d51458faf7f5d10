"""The persistent compilation cache: where it lives and how it is turned off."""

import os
import pathlib

import jax
import jax.numpy as jnp
import pytest

from imagen_jax.parallel import compilation

SETTINGS = (
  'jax_enable_compilation_cache',
  'jax_compilation_cache_dir',
  'jax_persistent_cache_min_compile_time_secs',
  'jax_persistent_cache_min_entry_size_bytes',
)


@pytest.fixture(autouse=True)
def _settings(monkeypatch):
  """Puts JAX's settings back, so that the other tests keep their cache."""
  kept = {name: getattr(jax.config, name) for name in SETTINGS}
  monkeypatch.delenv(compilation.CACHE_VARIABLE, raising=False)
  yield
  for name, value in kept.items():
    jax.config.update(name, value)
  reset()


def reset():
  """JAX opens its cache once; make it look at its settings again."""
  from jax.experimental.compilation_cache import compilation_cache as jax_cache

  jax_cache.reset_cache()


def test_programs_are_kept_where_the_variable_says(tmp_path, monkeypatch):
  monkeypatch.setenv(compilation.CACHE_VARIABLE, str(tmp_path / 'a' / 'b'))
  assert compilation.enable_cache() == str(tmp_path / 'a' / 'b')
  reset()
  jax.jit(lambda x: x * 3 + 7)(jnp.arange(11.0))
  assert list((tmp_path / 'a' / 'b').glob('jit*'))


def test_an_argument_goes_before_the_variable(tmp_path, monkeypatch):
  monkeypatch.setenv(compilation.CACHE_VARIABLE, str(tmp_path / 'variable'))
  chosen = compilation.enable_cache(tmp_path / 'argument')
  assert chosen == str(tmp_path / 'argument')


def test_jax_setting_is_respected(tmp_path):
  jax.config.update('jax_compilation_cache_dir', str(tmp_path))
  assert compilation.enable_cache() == str(tmp_path)


def test_default_is_in_the_users_cache(monkeypatch, tmp_path):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert compilation.default_cache() == tmp_path / 'imagen_jax'
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setattr(pathlib.Path, 'home', lambda: tmp_path)
  expected = tmp_path / '.cache' / 'imagen_jax'
  assert compilation.default_cache() == expected


def test_off(monkeypatch):
  monkeypatch.setenv(compilation.CACHE_VARIABLE, 'off')
  assert compilation.enable_cache() is None
  assert not jax.config.jax_enable_compilation_cache


def _refused(directory, capsys):
  """The line that says why a directory is not used."""
  assert compilation.enable_cache(directory) is None
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('warning: compiled programs are not kept: ')
  assert line.endswith(
    f'or set {compilation.CACHE_VARIABLE} to another directory, or to off'
  )
  return line


def test_directory_that_cannot_be_written(tmp_path, capsys):
  (tmp_path / 'file').write_text('')
  line = _refused(tmp_path / 'file' / 'below', capsys)
  assert 'below cannot be written (' in line
  assert os.path.isfile(tmp_path / 'file')


def test_a_new_directory_is_the_users_alone(tmp_path):
  before = os.umask(0)
  try:
    compilation.enable_cache(tmp_path / 'new')
  finally:
    os.umask(before)
  assert (tmp_path / 'new').stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize('mode', [0o770, 0o707, 0o1777])
def test_a_directory_that_others_may_write_is_refused(tmp_path, mode, capsys):
  """Programs are code: who may write there could have it run."""
  shared = tmp_path / 'shared'
  shared.mkdir()
  shared.chmod(mode)
  assert f'{shared} may be written by others' in _refused(shared, capsys)
  assert not list(shared.iterdir())
  assert not jax.config.jax_enable_compilation_cache
  shared.chmod(0o755)
  assert compilation.enable_cache(shared) == str(shared)


def test_a_link_to_such_a_directory_is_one(tmp_path, capsys):
  shared = tmp_path / 'shared'
  shared.mkdir()
  shared.chmod(0o777)
  (tmp_path / 'link').symlink_to(shared)
  assert 'may be written by others' in _refused(tmp_path / 'link', capsys)


def test_a_directory_that_others_may_replace_is_refused(tmp_path, capsys):
  (tmp_path / 'shared' / 'mine').mkdir(parents=True)
  (tmp_path / 'shared').chmod(0o777)
  line = _refused(tmp_path / 'shared' / 'mine', capsys)
  assert f'may be replaced by others, who may write {tmp_path / "shared"}' in (
    line
  )
  (tmp_path / 'shared').chmod(0o1777)  # as /tmp: each removes their own alone
  assert compilation.enable_cache(tmp_path / 'shared' / 'mine')


def test_a_directory_of_another_user_is_refused(tmp_path, monkeypatch, capsys):
  mine = os.geteuid()
  monkeypatch.setattr(os, 'geteuid', lambda: mine + 12345)
  if mine:  # root's directories are trusted: root may do anything
    assert 'belongs to another user' in _refused(tmp_path, capsys)
  elif hasattr(os, 'chown'):
    os.chown(tmp_path, 65534, 65534)
    line = _refused(tmp_path, capsys)
    assert 'belongs to another user (65534)' in line


def test_a_bucket_is_left_to_jax():
  assert compilation.enable_cache('gs://bucket/cache') == 'gs://bucket/cache'
