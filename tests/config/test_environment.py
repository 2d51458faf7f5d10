"""Options of JAX that others set change nothing, or are told."""

import os
import subprocess
import sys

import jax
import pytest

import imagen_jax
from imagen_jax import text
from imagen_jax.config import environment

ODD = {
  'JAX_ENABLE_X64': '1',
  'JAX_THREEFRY_PARTITIONABLE': '0',
  'JAX_DEFAULT_PRNG_IMPL': 'rbg',
  'JAX_RANDOM_SEED_OFFSET': '7',
  'JAX_DEFAULT_MATMUL_PRECISION': 'bfloat16',
  'JAX_NUMPY_DTYPE_PROMOTION': 'strict',
  'JAX_NUMPY_RANK_PROMOTION': 'raise',
  'JAX_DISABLE_JIT': '1',
  'JAX_LEGACY_PRNG_KEY': 'error',
}

# What a command has of its options, printed by one that is guarded.
PROBE = """
import sys
from imagen_jax.config import command, environment
def main():
  import jax
  options = environment.OPTIONS.items()
  print([n for n, value in options if getattr(jax.config, n) != value])
  print(ascii(sys.argv[1:]), sys.stdout.encoding, chr(233))
command.run(main)
"""


def _probe(*words, **variables):
  return subprocess.run(
    [sys.executable, '-c', PROBE, *words],
    env={**os.environ, **variables},
    capture_output=True,
    encoding='utf-8',
    errors='surrogateescape',
  )


def test_every_option_has_a_variable_here():
  assert {name.upper() for name in environment.OPTIONS} == set(ODD)
  for name, value in environment.OPTIONS.items():
    assert getattr(jax.config, name) == value, 'not what the tests run with'


def test_a_command_has_its_own():
  done = _probe(**ODD)
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[0] == '[]'


def test_a_value_that_jax_refuses():
  """Read before a command could tell it, where the package is imported."""
  done = subprocess.run(
    [sys.executable, '-m', 'imagen_jax.fid', '--nonesuch'],
    env={**os.environ, 'JAX_ENABLE_X64': 'maybe'},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2 and done.stderr.count('\n') == 1


def test_who_imports_the_package_keeps_theirs():
  code = 'import os, imagen_jax; print(os.environ["JAX_ENABLE_X64"])'
  done = subprocess.run(
    [sys.executable, '-c', code],
    env={**os.environ, **ODD},
    capture_output=True,
    text=True,
  )
  assert done.stdout == '1\n'


@pytest.mark.parametrize(
  'context',
  [
    lambda: jax.enable_x64(True),
    lambda: jax.threefry_partitionable(False),
    lambda: jax.default_prng_impl('rbg'),
    lambda: jax.numpy_dtype_promotion('strict'),
    lambda: jax.numpy_rank_promotion('raise'),
    lambda: jax.default_matmul_precision('bfloat16'),
  ],
)
def test_who_imports_the_package_is_told(context, tmp_path):
  with context():
    with pytest.raises(ValueError, match='jax.config.update') as caught:
      imagen_jax.load_cascade()
    with pytest.raises(ValueError, match='jax.config.update'):
      text.load_encoder(tmp_path)
  assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
  'variables',
  [
    {'LC_ALL': 'C', 'PYTHONUTF8': '0'},
    {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'},
    {'LC_ALL': 'POSIX'},
    {'LC_ALL': 'C.UTF-8', 'PYTHONIOENCODING': 'ascii'},
    {'LC_ALL': 'nonesuch', 'LANG': 'nonesuch'},
  ],
)
def test_locales_change_no_prompt(variables):
  done = _probe('é日', **variables)
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1].startswith(ascii(['é日']))


def test_an_accelerator_that_is_not_there():
  done = subprocess.run(
    [sys.executable, '-m', 'imagen_jax.sample', 'a fox', '--out=unused'],
    env={**os.environ, 'JAX_PLATFORMS': 'tpu'},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  last = done.stderr.splitlines()[-1]
  assert last.startswith('error: JAX_PLATFORMS=tpu asks for what is not here')
  assert 'Traceback' not in done.stderr
