"""Thresholding against numpy.percentile and stored references."""

import pathlib

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from imagen_jax.diffusion import thresholding

DATA = pathlib.Path(__file__).parents[1] / 'data' / 'samplers'
# The same program for all pictures of a shape.
SCALE = jax.jit(thresholding.scale, static_argnums=1)


def _scale(x0, percentile):
  s = np.percentile(np.abs(x0).astype(np.float64), percentile, axis=(1, 2, 3))
  return np.maximum(s, 1).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize('case', ['unit', 'mild', 'strong', 'r90', 'r100'])
def test_dynamic_oracle(case):
  with np.load(DATA / 'thresholding.npz') as data:
    x0, output = data[f'{case}/input'], data[f'{case}/output']
    s, percentile = data[f'{case}/s'], 100 * data[f'{case}/ratio_and_max'][0]
  got = thresholding.scale(x0, percentile).ravel()
  # The reference interpolates in float32: 4e-5 off where it meets an outlier.
  np.testing.assert_allclose(got, s, rtol=5e-5)
  got = thresholding.dynamic(x0, percentile)
  np.testing.assert_allclose(got, output, atol=1e-5)


def test_static_oracle():
  with np.load(DATA / 'thresholding.npz') as data:
    got = thresholding.static(data['static/input'])
    np.testing.assert_array_equal(got, data['static/output'])


@pytest.mark.parametrize('percentile', [50, 90, 99.5, 99.97, 100])
def test_scale_is_numpy_percentile(percentile):
  rng = np.random.default_rng(3)
  x0 = rng.standard_normal((5, 16, 16, 3)).astype(np.float32)
  x0 *= np.array([0.1, 0.5, 1, 4, 1e4], np.float32).reshape(-1, 1, 1, 1)
  np.testing.assert_allclose(
    SCALE(x0, percentile), _scale(x0, percentile), rtol=1e-6
  )


def test_scale_at_1024_pixels():
  rng = np.random.default_rng(4)
  x0 = 2 * rng.standard_normal((1, 1024, 1024, 3), dtype=np.float32)
  np.testing.assert_allclose(SCALE(x0, 99.5), _scale(x0, 99.5), rtol=1e-6)


@pytest.mark.parametrize(
  'values',
  [
    [0.0] * 12,
    [2.0] * 12,
    [-3.0] * 12,
    [0.0] * 11 + [5.0],
    [0.9] * 11 + [1.2],  # 1 lies between the two neighbouring ranks
    [0.5] * 10 + [1.5, 1.5],
    [1.0] * 11 + [3.0],
    [1.5] * 10 + [2.5, -4.0],
  ],
)
@pytest.mark.parametrize('percentile', [50, 90, 95, 99.5, 100])
def test_scale_with_ties_and_outliers(values, percentile):
  x0 = np.array(values, np.float32).reshape(1, 2, 2, 3)
  np.testing.assert_allclose(
    SCALE(x0, percentile), _scale(x0, percentile), rtol=1e-6
  )


def test_dynamic_formula_and_bounds():
  x0 = 3 * np.random.default_rng(5).standard_normal((4, 8, 8, 3))
  x0 = x0.astype(np.float32)
  s = _scale(x0, 99.5)
  got = thresholding.dynamic(x0)  # 99.5 is the default
  np.testing.assert_allclose(got, np.clip(x0, -s, s) / s, atol=1e-6)
  assert np.abs(got).max() <= 1


def test_dynamic_leaves_pictures_in_range_alone():
  x0 = np.random.default_rng(6).uniform(-1, 1, (3, 8, 8, 3))
  x0 = x0.astype(np.float32)
  np.testing.assert_array_equal(thresholding.dynamic(x0), x0)


def test_pictures_are_scaled_one_by_one():
  x0 = np.random.default_rng(7).standard_normal((3, 8, 8, 3))
  x0 = (x0 * np.array([1, 5, 20]).reshape(-1, 1, 1, 1)).astype(np.float32)
  together = thresholding.dynamic(x0)
  for i in range(3):
    alone = thresholding.dynamic(x0[i : i + 1])
    np.testing.assert_array_equal(together[i : i + 1], alone)


def test_sharded_over_rows_of_pixels():
  devices = jax.devices()[:4]
  mesh = jax.make_mesh(
    (2, 2), ('b', 'h'), (jax.sharding.AxisType.Auto,) * 2, devices=devices
  )
  x0 = 3 * np.random.default_rng(8).standard_normal((2, 8, 8, 3))
  x0 = x0.astype(np.float32)
  placed = jax.device_put(x0, jax.NamedSharding(mesh, P('b', 'h')))
  np.testing.assert_array_equal(SCALE(placed, 99.5), SCALE(x0, 99.5))


@pytest.mark.parametrize('percentile', [0.995, 0, 101])
def test_a_fraction_is_refused(percentile):
  with pytest.raises(ValueError, match='99.5 rather than the fraction'):
    thresholding.dynamic(np.zeros((1, 2, 2, 3)), percentile)


def test_a_cap_bounds_the_scale():
  with np.load(DATA / 'thresholding.npz') as data:
    x0, expected = data['capped/input'], data['capped/output']
    ratio, cap = data['capped/ratio_and_max']
  got = thresholding.dynamic(x0, 100 * ratio, cap=float(cap))
  np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_cap_below_one_is_refused():
  with pytest.raises(ValueError, match='cap=0.5'):
    thresholding.dynamic(np.zeros((1, 2, 2, 3), np.float32), cap=0.5)
