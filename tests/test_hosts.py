"""Several processes compute what one does; flags that do not fit are told."""

import jax
import numpy as np
import pytest

from imagen_jax import partitioning
from imagen_jax.text import encoders
from tests import processes, sharded_sgd, tiny_cascade


@pytest.fixture(scope='module')
def text(tmp_path_factory):
  directory = tmp_path_factory.mktemp('text')
  encoders.save(directory / 'text', tiny_cascade.encoder(directory))
  return directory / 'text'


@pytest.fixture(scope='module')
def one(text):
  """What one process with one device computes."""
  mesh = partitioning.MeshConfig(data=1)
  return sharded_sgd.compute(sharded_sgd.job(text, mesh), jax.devices()[:1])


def _apart(found, one, name):
  """Largest difference of the arrays called `name`, and largest of them."""
  keys = [k for k in one if k.startswith(name)]
  assert keys and set(keys) <= set(found)
  apart = max(float(np.abs(found[k] - one[k]).max()) for k in keys)
  return apart, max(float(np.abs(one[k]).max()) for k in keys)


@pytest.mark.parametrize(
  ('count', 'data', 'fsdp'),
  [(2, 1, 4), pytest.param(4, 2, 4, marks=pytest.mark.slow)],
)
def test_processes_agree_with_one(text, one, tmp_path, count, data, fsdp):
  codes = processes.launch(
    'tests.sharded_sgd',
    count,
    [
      f'--text={text}',
      f'--out={tmp_path / "found.npz"}',
      f'--data={data}',
      f'--fsdp={fsdp}',
    ],
  )
  assert codes == [0] * count
  found = np.load(tmp_path / 'found.npz')
  assert found['across'] > 10, 'parameters must lie across processes'
  np.testing.assert_array_equal(found['rows'], np.arange(16))
  loss = abs(float(found['loss']) / float(one['loss']) - 1)
  apart, largest = _apart(found, one, 'gradients')
  moved, _ = _apart(found, one, 'params')
  print(
    f'{count} processes: loss differs by {loss:.1e}, gradients by '
    f'{apart / largest:.1e} of the largest, parameters after '
    f'{sharded_sgd.STEPS} SGD steps by {moved:.1e}'
  )
  assert loss < 1e-5 and apart / largest < 1e-5 and moved < 1e-6
