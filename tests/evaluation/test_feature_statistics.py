"""Moments and samples of features do not depend on how they were cut up."""

import numpy as np
import pytest

from imagen_jax.evaluation import feature_statistics as fs


def _parts(x, *cuts):
  """Statistics of parts of x, merged in their order."""
  found = fs.empty(x.shape[1])
  for first, last in zip((0, *cuts), (*cuts, len(x))):
    found = fs.merge(found, fs.of(x[first:last], first))
  return found


def test_parts_make_the_whole(monkeypatch):
  """In float64, also far from zero, where sums of squares would cancel."""
  monkeypatch.setattr(fs, 'KEPT', 20)
  x = (1e4 + np.random.default_rng(0).standard_normal((101, 7))).astype(
    np.float32
  )
  exact = x.astype(np.float64)
  for found in (_parts(x), _parts(x, 1, 2, 60), _parts(x, 50, 50)):
    assert found.count == 101
    assert np.abs(found.mean / exact.mean(0) - 1).max() < 1e-14
    difference = found.covariance() - np.cov(exact, rowvar=False)
    assert np.abs(difference).max() < 1e-9
  back = fs.merge(fs.of(x[40:], 40), fs.of(x[:40], 0))
  assert np.array_equal(back.numbers, _parts(x, 9).numbers)
  assert np.array_equal(back.sample, x[back.numbers]) and len(back.sample) == 20


def test_the_sample_is_uniform(monkeypatch):
  monkeypatch.setattr(fs, 'KEPT', 1000)
  numbers = fs.of(np.zeros((10_000, 1)), 0).numbers
  shares, _ = np.histogram(numbers, 10, (0, 10_000))
  assert shares.sum() == 1000 and abs(shares - 100).max() < 4 * 90**0.5


def test_files_keep_everything(tmp_path):
  path = tmp_path / 's.npz'
  found = _parts(np.random.default_rng(1).standard_normal((9, 3)))
  about = {'network': 'abc', 'size': [4, 5]}
  fs.save(path, found, about)
  again, said = fs.load(path)
  assert said == about and again.count == 9
  for name in ('mean', 'scatter', 'sample', 'numbers'):
    one, two = getattr(found, name), getattr(again, name)
    assert one.dtype == two.dtype and np.array_equal(one, two)
  assert [p.name for p in tmp_path.iterdir()] == ['s.npz']


def test_bad_files_are_refused(tmp_path):
  path = tmp_path / 's.npz'
  with pytest.raises(ValueError, match='does not exist'):
    fs.load(path)
  fs.save(path, fs.of(np.ones((3, 2)), 0), {})
  with np.load(path) as file:
    arrays = dict(file)
  whole = path.read_bytes()
  path.write_bytes(whole[:-100])
  with pytest.raises(ValueError, match='damaged'):
    fs.load(path)
  path.write_text('hello')
  with pytest.raises(ValueError, match='damaged'):
    fs.load(path)
  np.savez(path, **{**arrays, 'mean': arrays['mean'] + 1})
  with pytest.raises(ValueError, match='altered: its numbers have sha256'):
    fs.load(path)
  np.savez(path, mu=np.ones(2), sigma=np.ones((2, 2)))
  with pytest.raises(ValueError, match='mu, sigma and does not say what made'):
    fs.load(path)
  np.savez(path, header=np.array([{}], dtype=object))
  with pytest.raises(ValueError, match='damaged'):
    fs.load(path)


def test_bad_features_are_refused():
  x = np.ones((5, 2))
  x[3, 1] = np.nan
  with pytest.raises(ValueError, match='features of picture 13 are not finite'):
    fs.of(x, 10)
  with pytest.raises(ValueError, match=r'features of d\.png are not finite'):
    fs.of(x, 10, ['a.png', 'b.png', 'c.png', 'd.png', 'e.png'])
  with pytest.raises(ValueError, match='both parts hold picture 2'):
    fs.merge(fs.of(np.ones((3, 2)), 0), fs.of(np.ones((3, 2)), 2))
  with pytest.raises(ValueError, match='of 2 and of 3 features'):
    fs.merge(fs.of(np.ones((3, 2)), 0), fs.of(np.ones((3, 3)), 3))
