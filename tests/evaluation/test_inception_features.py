"""FID's network gives the features that torch-fidelity and pytorch-fid give.

The network runs on 8 devices, one picture each, in one compiled program.
"""

import functools
import pathlib

import jax
import numpy as np
import pytest

from imagen_jax import convert_inception
from imagen_jax.evaluation import inception_features
from imagen_jax.files import weights
from imagen_jax.models import inception
from imagen_jax.parallel import partitioning
from tests.support import random_inception

DATA = pathlib.Path(__file__).parents[1] / 'data' / 'evaluation'
ORACLE = np.load(DATA / 'inception_random.npz')
PICTURES = ORACLE['small/images_nhwc_uint8']  # [2, 64, 48, 3]

_network = jax.jit(
  lambda params, x: inception.Inception().apply({'params': params}, x)
)


@functools.cache
def params():
  return convert_inception.convert(random_inception.state())


@functools.cache
def outputs():
  """Of both pictures, resized in both ways; the rest of 8 rows is empty."""
  mesh = partitioning.make_mesh()
  both = [inception_features.resized(PICTURES, n) for n in WAYS]
  x = np.zeros((8, inception.SIDE, inception.SIDE, 3), np.float32)
  x[: 2 * len(PICTURES)] = np.concatenate(both)
  x = partitioning.put_batch({'x': x}, mesh)['x']
  found = _network(jax.device_put(params(), partitioning.replicated(mesh)), x)
  assert len(found.pooled.sharding.device_set) == 8
  return {
    name: inception.Output(*(np.asarray(y)[2 * i : 2 * i + 2] for y in found))
    for i, name in enumerate(WAYS)
  }


WAYS = ('torch-fidelity', 'pytorch-fid')


@pytest.mark.parametrize(
  'way, field, name',
  [
    ('torch-fidelity', 'low', 'tf_64'),
    ('torch-fidelity', 'middle', 'tf_192'),
    ('torch-fidelity', 'high', 'tf_768'),
    ('torch-fidelity', 'pooled', 'tf_2048'),
    ('torch-fidelity', 'logits', 'tf_logits_unbiased'),
    ('pytorch-fid', 'high', 'pytorch_fid_768_pooled'),
    ('pytorch-fid', 'pooled', 'pytorch_fid_2048'),
  ],
)
def test_features_are_those_of_both_programs(way, field, name):
  expected = ORACLE[f'small/{name}']
  found = getattr(outputs()[way], field)
  assert found.shape == expected.shape
  assert np.abs(found - expected).max() < 1e-4  # 1e-3 is asked
  other = getattr(outputs()[WAYS[way == WAYS[0]]], field)
  assert np.abs(other - expected).max() > 1e-3  # the way of resizing matters


def test_the_network_has_its_size():
  """As Keras counts its trainable parameters without the classes."""
  shapes = weights.flatten(inception.param_shapes())
  count = {name: int(np.prod(shape)) for name, shape in shapes.items()}
  assert len([n for n in count if n.endswith('kernel')]) == 95
  assert count['fc.kernel'] == 2048 * 1008
  assert sum(count.values()) - count['fc.kernel'] == 21_768_352


@pytest.mark.parametrize('size', [(7, 5), (299, 299), (640, 301)])
def test_resizing_is_its_formula(size):
  """Pixel by pixel, in Python's own numbers."""
  x = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
  found = {n: np.asarray(inception_features.resized(x, n)) for n in WAYS}
  for i, j in ((0, 0), (298, 298), (3, 150), (297, 1)):
    at = [k * s / 299 for k, s in zip((i, j), size)]
    expected = (_between(x[0], at) - 128) / 128
    assert np.abs(found[WAYS[0]][0, i, j] - expected).max() < 1e-5
    at = [max(0, (k + 0.5) * s / 299 - 0.5) for k, s in zip((i, j), size)]
    expected = 2 * _between(x[0], at) / 255 - 1
    assert np.abs(found[WAYS[1]][0, i, j] - expected).max() < 1e-5


def _between(x, at):
  """Bilinear value of x [h, w, 3] at (row, column)."""
  total = 0.0
  for row in (0, 1):
    for column in (0, 1):
      places, share = [], 1.0
      for offset, place, size in zip((row, column), at, x.shape):
        low = int(place)
        share *= place - low if offset else 1 - (place - low)
        places.append(min(low + offset, size - 1))
      total = total + share * x[tuple(places)].astype(np.float64)
  return total


class Means(inception.nn.Module):
  """Stands in for the network: nothing to compile."""

  @inception.nn.compact
  def __call__(self, x):
    scale = self.param('scale', inception.nn.initializers.ones, (3,))
    y = (x * scale).mean((1, 2))
    return inception.Output(y, y, y, y, y)


def test_features_do_not_depend_on_devices_or_batches(monkeypatch):
  monkeypatch.setattr(inception, 'Inception', Means)
  jax.clear_caches()
  tree = {'scale': np.array([1.0, 2.0, 3.0], np.float32)}
  x = np.random.default_rng(1).integers(0, 256, (11, 6, 9, 3), np.uint8)
  eight = inception_features.make(tree, batch=3, layer='64')
  assert eight.batch == 8
  one = inception_features.make(
    tree,
    batch=4,
    layer='64',
    mesh=partitioning.make_mesh(devices=jax.devices()[:1]),
  )
  assert eight.network == one.network
  assert np.abs(eight(x) - one(x)).max() < 1e-5
  assert eight(x).shape == (11, 3) and np.array_equal(
    eight(x)[2:5], eight(x[2:5])
  )
  jax.clear_caches()


def test_weights_are_read_strictly(tmp_path):
  path = tmp_path / 'w.safetensors'
  with pytest.raises(ValueError) as e:
    inception_features.load(path)
  for words in ('are not at', '.pth', 'convert_inception', 'evaluate'):
    assert words in str(e.value)
  weights.save(path, params(), np.float16)
  loaded = inception_features.load(path)
  assert loaded.width == 2048
  kernel = params()['Mixed_7c']['branch_pool']['kernel']
  assert np.array_equal(
    loaded.params['Mixed_7c']['branch_pool']['kernel'],
    kernel.astype(np.float16).astype(np.float32),
  )
  weights.save(path, {'fc': {'kernel': np.zeros((2, 3))}})
  with pytest.raises(ValueError, match=r'Conv2d_1a_3x3\.bias is missing'):
    inception_features.load(path)
  path.write_bytes(b'12345678')
  with pytest.raises(ValueError, match='is damaged'):
    inception_features.load(path)
