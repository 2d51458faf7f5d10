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


def test_directory_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.warns(UserWarning, match='cannot be written') as caught:
    assert compilation.enable_cache(tmp_path / 'file' / 'below') is None
  assert compilation.CACHE_VARIABLE in str(caught[0].message)
  assert os.path.isfile(tmp_path / 'file')
