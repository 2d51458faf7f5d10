"""Facts about the fid command, with a network that takes means of colours."""

import json

import numpy as np
import PIL.Image
import pytest

from imagen_jax import fid
from imagen_jax.evaluation import (
  feature_statistics,
  inception_features,
  picture_sets,
)


class Means:
  """Stands in for Inception: means of the three colours, and of all."""

  width, batch = 4, 4

  def __init__(self):
    self.resize, self.layer, self.asked, self.nan = None, None, 0, False
    self.stop_after = None  # batches

  def about(self):
    return {'network': 'abc', 'resize': self.resize, 'features': self.layer}

  def __call__(self, images):
    if self.stop_after == 0:
      raise KeyboardInterrupt
    self.stop_after = self.stop_after and self.stop_after - 1
    self.asked += len(images)
    colours = images.mean((1, 2))
    found = np.concatenate([colours, images.mean((1, 2, 3))[:, None]], 1)
    if self.nan:
      found[1] = np.nan
    return found.astype(np.float32)


@pytest.fixture
def network(monkeypatch):
  network = Means()

  def load(path, *, resize, layer, batch):
    network.resize, network.layer = resize, layer
    return network

  monkeypatch.setattr(inception_features, 'load', load)
  return network


@pytest.fixture
def sets(tmp_path):
  """Two directories of 9 and 11 pictures, and their pixels."""
  rng, pixels = np.random.default_rng(0), {}
  for name, n in (('a', 9), ('b', 11)):
    (tmp_path / name).mkdir()
    pixels[name] = rng.integers(0, 256, (n, 6, 8, 3), np.uint8)
    for i, image in enumerate(pixels[name]):
      PIL.Image.fromarray(image).save(tmp_path / name / f'{i:02d}.png')
  return pixels


def _run(tmp_path, *more, images='a', reference='b', out='out'):
  arguments = [f'--reference={tmp_path / reference}', f'--out={tmp_path / out}']
  if images:
    arguments.append(f'--images={tmp_path / images}')
  return fid.main([*arguments, *more])


def _error(capsys):
  error = capsys.readouterr().err
  assert error.startswith('error: ') and error.count('\n') == 1, error
  return error


def test_distances_of_two_directories(network, sets, tmp_path, capsys):
  assert _run(tmp_path) == 0
  found = json.loads((tmp_path / 'out' / 'scores.json').read_text())
  features = {k: Means()(v).astype(np.float64) for k, v in sets.items()}
  a, b = features['a'], features['b']
  apart = a.mean(0) - b.mean(0)
  covs = [np.cov(x, rowvar=False) for x in (a, b)]
  shared = np.sqrt(np.abs(np.linalg.eigvals(covs[0] @ covs[1]))).sum()
  expected = apart @ apart + sum(map(np.trace, covs)) - 2 * shared
  assert abs(found['fid'] / expected - 1) < 1e-4  # not the symmetric form
  assert found['images']['count'] == 9 and found['reference']['count'] == 11
  printed = capsys.readouterr().out
  assert f'{found["fid"]:.4f}' in printed and found['protocol_id'] in printed
  assert 'torch-fidelity resize of 8 x 6 px, not cropped' in printed
  assert network.asked == 20
  # Nothing is measured again, and a file of statistics says the same.
  assert _run(tmp_path) == 0 and network.asked == 20
  assert capsys.readouterr().out == printed
  assert _run(tmp_path, reference='out/reference.npz', out='two') == 0
  again = json.loads((tmp_path / 'two' / 'scores.json').read_text())
  assert again['fid'] == found['fid'] and network.asked == 29
  assert again['protocol_id'] == found['protocol_id']


def test_goes_on_where_it_was_interrupted(
  network, sets, tmp_path, monkeypatch, capsys
):
  assert _run(tmp_path, images=None, out='whole') == 0
  assert 'statistics of' in capsys.readouterr().out
  whole, _ = feature_statistics.load(tmp_path / 'whole' / 'reference.npz')
  network.asked, network.stop_after = 0, 2
  monkeypatch.setattr(picture_sets, 'SAVED_EVERY', 0)
  with pytest.raises(KeyboardInterrupt):
    _run(tmp_path, images=None)
  path = tmp_path / 'out' / 'reference.npz'
  assert feature_statistics.load(path)[0].count == 8 and network.asked == 8
  network.stop_after = None
  assert _run(tmp_path, reference='out/reference.npz', out='x') == 2
  assert '8 of 11 pictures; run the same command' in _error(capsys)
  assert _run(tmp_path, images=None) == 0 and network.asked == 11
  found, _ = feature_statistics.load(path)
  assert np.abs(found.scatter - whole.scatter).max() < 1e-9
  assert np.array_equal(found.sample, whole.sample)


def test_other_protocols_are_refused(network, sets, tmp_path, capsys):
  assert _run(tmp_path) == 0
  kept = 'out/reference.npz'
  assert _run(tmp_path, '--resize=pytorch-fid', reference=kept, out='o') == 2
  assert 'resize torch-fidelity, not pytorch-fid' in _error(capsys)
  assert _run(tmp_path, '--crop=8', reference=kept, out='o') == 2
  assert 'made with crop None, not 8' in _error(capsys)
  assert _run(tmp_path, '--resize=pytorch-fid') == 2
  assert 'statistics of other settings' in _error(capsys)
  (tmp_path / 'a' / '00.png').unlink()
  assert _run(tmp_path) == 2
  assert 'statistics of other pictures' in _error(capsys)
  np.savez(tmp_path / 'theirs.npz', mu=np.ones(2), sigma=np.ones((2, 2)))
  assert _run(tmp_path, reference='theirs.npz', out='o') == 2
  assert 'does not say what made it' in _error(capsys)
  other = feature_statistics.of(np.ones((9, 4)), 0)
  feature_statistics.save(tmp_path / 'theirs.npz', other, {'layer': 'x'})
  assert _run(tmp_path, reference='theirs.npz', out='o') == 2
  assert 'says layer of what made it' in _error(capsys)
  assert not (tmp_path / 'o').exists()


def test_bad_pictures_are_refused(network, sets, tmp_path, capsys):
  for path in sorted((tmp_path / 'a').iterdir())[4:]:
    path.unlink()
  assert _run(tmp_path) == 2
  error = _error(capsys)
  assert '4 pictures, at least 5' in error and 'draw 1 more' in error
  assert _run(tmp_path, '--minimum=3') == 0
  capsys.readouterr()
  square = PIL.Image.fromarray(np.zeros((8, 8, 3), np.uint8))
  square.save(tmp_path / 'b' / '07.png')
  assert _run(tmp_path, '--minimum=3', out='o') == 2
  assert '8 x 8 pixels' in _error(capsys)
  square.save(tmp_path / 'b' / '00.png')
  assert _run(tmp_path, '--minimum=3', out='o') == 2
  assert 'has size [6, 8]' in _error(capsys)
  assert _run(tmp_path, '--minimum=3', '--crop=8', out='p') == 0
  capsys.readouterr()
  network.nan = True
  assert _run(tmp_path, '--minimum=3', '--crop=8', out='q') == 2
  error = _error(capsys)
  assert '01.png are not finite' in error
  assert not (tmp_path / 'q' / 'reference.npz').exists()


def test_bad_flags_are_one_line(tmp_path, sets, capsys):
  weights = tmp_path / 'none.safetensors'
  assert _run(tmp_path, f'--inception={weights}') == 2
  error = _error(capsys)
  assert 'convert_inception' in error and str(weights) in error
  for flag in ('--crop=1', '--features=100', '--resize=nearest'):
    with pytest.raises(SystemExit) as stop:
      _run(tmp_path, flag)
    assert stop.value.code == 2
    _error(capsys)
