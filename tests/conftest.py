"""Settings of the whole suite: CPU with 8 emulated devices, fixed seeds.

The environment is set while this file is imported, which is before any test
module and hence before anything imports JAX.
"""

import atexit
import os
import random
import shutil
import sys
import tempfile

import numpy as np
import pytest

DEVICES = 8

if 'jax' in sys.modules:
  raise RuntimeError(
    'JAX was imported before tests/conftest.py could choose its devices; '
    'run pytest from the root of the repository, without plugins that '
    'import JAX.'
  )


def _force_devices(count: int) -> None:
  """Makes JAX, here and in subprocesses, see `count` CPU devices."""
  flag = '--xla_force_host_platform_device_count'
  others = [
    f for f in os.environ.get('XLA_FLAGS', '').split() if not f.startswith(flag)
  ]
  # Most of the suite's time is compilation of programs that run once: without
  # LLVM's optimizations it takes less than half (67 s of CPU to 29 for one
  # test of the trainer). Convolutions and matrix products are library calls.
  fast = '--xla_backend_optimization_level=0'
  os.environ['XLA_FLAGS'] = ' '.join([fast, *others, f'{flag}={count}'])
  os.environ['JAX_PLATFORMS'] = 'cpu'


def _share_compilations() -> None:
  """Compiles a program once for all tests and the processes they start.

  A directory given from outside is kept (launch/test.sh gives one, so that
  a second run of the suite is quick); otherwise it lives as long as the run.
  """
  if 'IMAGEN_JAX_CACHE' not in os.environ:
    directory = tempfile.mkdtemp(prefix='imagen_jax_tests_')
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.environ['IMAGEN_JAX_CACHE'] = directory
  if os.environ['IMAGEN_JAX_CACHE'] != 'off':
    os.environ['JAX_COMPILATION_CACHE_DIR'] = os.environ['IMAGEN_JAX_CACHE']
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.5'


_force_devices(DEVICES)
_share_compilations()
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'


def pytest_collection_modifyitems(items):
  """Marks what `launch/test.sh --data` runs, and the default lane skips."""
  from tests.support import extras  # when tests can be imported

  for item in items:
    if isinstance(item, pytest.Function) and extras.needs_data(item):
      item.add_marker(pytest.mark.data_extra)


@pytest.fixture(autouse=True)
def _seeds():
  """No test depends on which tests ran before it."""
  random.seed(0)
  np.random.seed(0)
