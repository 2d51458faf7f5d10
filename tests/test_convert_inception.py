"""Weights of torch become ours, or are refused (parity: inception_features)."""

import sys
import types

import numpy as np
import pytest

from imagen_jax import convert_inception
from imagen_jax.files import weights
from tests.support import random_inception


@pytest.fixture(scope='module')
def state():
  return random_inception.state()


class Torch(types.SimpleNamespace):
  """Stands in for torch, which is not among what tests need."""

  def __init__(self, state):
    self.state, self.asked = state, []

  def load(self, path, **settings):
    self.asked.append(settings)
    if self.state is None:
      raise RuntimeError('no zip archive')
    return {
      k: types.SimpleNamespace(numpy=lambda v=v: v)
      for k, v in self.state.items()
    }


def _run(tmp_path, monkeypatch, torch, source='w.pth'):
  (tmp_path / 'w.pth').write_bytes(b'pth')
  monkeypatch.setitem(sys.modules, 'torch', torch)
  return convert_inception.main(
    [f'--source={tmp_path / source}', f'--out={tmp_path / "out.safetensors"}']
  )


def test_writes_folded_weights(state, tmp_path, monkeypatch, capsys):
  counters = {'Mixed_5b.branch1x1.bn.num_batches_tracked': np.array(7)}
  torch = Torch(state | counters)
  assert _run(tmp_path, monkeypatch, torch) == 0
  assert torch.asked == [{'map_location': 'cpu', 'weights_only': True}]
  out = tmp_path / 'out.safetensors'
  flat = weights.flatten(weights.load(out))
  name = 'Mixed_6c.branch7x7_2'
  norm = {
    k: state[f'{name}.bn.{k}'].astype(float) for k in convert_inception._NORM
  }
  scale = norm['weight'] / np.sqrt(norm['running_var'] + 0.001)
  assert flat[f'{name}.kernel'].shape == (1, 7, 160, 160)
  expected = state[f'{name}.conv.weight'][5, 6, 0, 2] * scale[5]
  assert abs(flat[f'{name}.kernel'][0, 2, 6, 5] / expected - 1) < 1e-6
  expected = norm['bias'] - norm['running_mean'] * scale
  assert np.abs(flat[f'{name}.bias'] - expected).max() < 1e-6
  assert np.array_equal(flat['fc.kernel'], state['fc.weight'].T)
  assert weights.metadata(out)['source_sha256'][:8] in capsys.readouterr().out


def test_other_weights_are_refused(state):
  without = {k: v for k, v in state.items() if k != 'fc.bias'}
  with pytest.raises(ValueError, match=r'fc\.bias is missing'):
    convert_inception.convert(without)
  more = state | {'AuxLogits.fc.weight': np.zeros(3)}
  with pytest.raises(ValueError, match=r'AuxLogits\.fc\.weight is left over'):
    convert_inception.convert(more)
  usual = state | {'fc.weight': np.zeros((1000, 2048), np.float32)}
  with pytest.raises(ValueError, match=r'\(2048, 1000\), it should be'):
    convert_inception.convert(usual)


@pytest.mark.parametrize(
  'torch, source, words',
  [
    (Torch({}), 'none.pth', 'does not exist'),
    (None, 'w.pth', "pip install 'imagen-jax[inception]'"),
    (Torch(None), 'w.pth', 'RuntimeError'),
    (Torch({}), 'w.pth', 'is missing'),
  ],
)
def test_bad_input_is_one_line(
  tmp_path, monkeypatch, capsys, torch, source, words
):
  assert _run(tmp_path, monkeypatch, torch, source) == 2
  error = capsys.readouterr().err
  assert words in error and error.count('\n') == 1
  assert not (tmp_path / 'out.safetensors').exists()
