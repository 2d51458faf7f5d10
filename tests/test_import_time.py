"""`import imagen_jax` costs nothing: no heavy module comes with it."""

import json
import subprocess
import sys

import pytest

HEAVY = ('jax', 'flax', 'optax', 'orbax', 'tensorflow', 'numpy', 'PIL')


def _imported_by(statement):
  """Names of the top-level modules that a fresh Python has afterwards."""
  code = (
    f'{statement}\nimport json, sys\n'
    'print(json.dumps(sorted({m.partition(".")[0] for m in sys.modules})))'
  )
  run = subprocess.run(
    [sys.executable, '-c', code], check=True, capture_output=True, text=True
  )
  return set(json.loads(run.stdout.splitlines()[-1]))


def test_the_package_imports_nothing_heavy():
  imported = _imported_by('import imagen_jax; imagen_jax.load_cascade')
  assert 'imagen_jax' in imported
  # A site-packages .pth file may import things of its own.
  assert not (imported & set(HEAVY)) - _imported_by('pass')


def test_the_maths_imports_jax_and_numpy_alone():
  names = 'guidance, process, samplers, schedules, thresholding'
  imported = _imported_by(f'from imagen_jax.diffusion import {names}')
  heavy = set(HEAVY) - {'jax', 'numpy'}
  assert not (imported & heavy) - _imported_by('pass')


@pytest.mark.parametrize('name', ['__version__', 'load_cascade'])
def test_the_public_names_are_there(name):
  import imagen_jax

  assert hasattr(imagen_jax, name)
