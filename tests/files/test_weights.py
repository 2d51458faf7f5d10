"""Weights on disk: what would load and draw nothing is refused."""

import numpy as np
import pytest
import safetensors.numpy

from imagen_jax.files import weights
from tests.support import full_disk


def test_trees_survive_and_names_are_paths(tmp_path):
  tree = {'a': {'b': np.ones(2, np.float32)}, 'c': np.zeros((1, 3), np.float32)}
  weights.save(tmp_path / 'w', tree)
  assert weights.flatten(tree).keys() == {'a.b', 'c'}
  read = weights.load(tmp_path / 'w')
  np.testing.assert_array_equal(read['a']['b'], tree['a']['b'])
  np.testing.assert_array_equal(read['c'], tree['c'])


def test_a_number_stays_without_dimensions(tmp_path):
  tree = {'scale': np.float32(2), 'turned': np.arange(6.0).reshape(2, 3).T}
  weights.save(tmp_path / 'w', tree)
  found = weights.load(tmp_path / 'w')
  assert found['scale'].shape == () and found['scale'] == 2
  np.testing.assert_array_equal(found['turned'], tree['turned'])


def test_equal_weights_make_equal_files(tmp_path):
  """Checksums name them; safetensors itself shuffles the metadata."""
  tree = {'a': {'b': np.ones(2, np.float32)}, 'c': np.zeros(3, np.float32)}
  said = {f'key {i}': f'é "{i}"' for i in range(9)}
  for i in range(4):
    weights.save(tmp_path / str(i), tree, metadata=dict(said))
  files = {(tmp_path / str(i)).read_bytes() for i in range(4)}
  assert len(files) == 1
  assert weights.metadata(tmp_path / '0') == said
  np.testing.assert_array_equal(weights.load(tmp_path / '0')['c'], tree['c'])


@pytest.mark.parametrize('value', [1e5, np.inf, np.nan])
def test_what_sixteen_bits_cannot_hold_is_named(tmp_path, value):
  tree = {'a': {'b': np.array([1.0, value], np.float32)}}
  with pytest.raises(ValueError, match=r'w: a\.b has values that float16'):
    weights.save(tmp_path / 'w', tree, np.float16)
  assert not list(tmp_path.iterdir())


def test_disk_full_leaves_the_file_before(tmp_path):
  """And is an OSError, which every command turns into one line."""
  weights.save(tmp_path / 'w', {'a': np.ones(9, np.float32)})
  before = (tmp_path / 'w').read_bytes()
  with full_disk.beyond(10_000), pytest.raises(OSError, match='w: .*too large'):
    weights.save(tmp_path / 'w', {'a': np.zeros(9_000, np.float32)})
  assert [path.name for path in tmp_path.iterdir()] == ['w']
  assert (tmp_path / 'w').read_bytes() == before


@pytest.mark.parametrize('names', [('a', 'a.b'), ('a.b', 'a')])
def test_names_that_make_no_tree(tmp_path, names):
  arrays = {name: np.ones(1, np.float32) for name in names}
  safetensors.numpy.save_file(arrays, tmp_path / 'w')
  with pytest.raises(ValueError, match='w is no tree of weights: a'):
    weights.load(tmp_path / 'w')
