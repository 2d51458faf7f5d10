"""Weights of a directory: whole, in shards, in 16 bits, or not whole."""

import json

import numpy as np
import pytest
import safetensors.numpy

from imagen_jax.files import remote, sharded, tensors, weights

_VALUES = {
  'a.weight': np.arange(6, dtype=np.float32).reshape(2, 3),
  'b.weight': np.float32([0.1, 0.2]),
}
_INDEX = 'model.safetensors.index.json'


def _write(directory, name='model.safetensors', values=None):
  safetensors.numpy.save_file(values or _VALUES, str(directory / name))


def _shards(directory, index=_INDEX, kind=np.float32):
  names = {}
  for i, (name, value) in enumerate(_VALUES.items()):
    names[name] = f'model-0000{i + 1}-of-00002.safetensors'
    _write(directory, names[name], {name: value.astype(kind)})
  (directory / index).write_text(json.dumps({'weight_map': names}))


def _read(directory, **options):
  found = sharded.find(remote.folder(directory), **options)
  return {
    name: tensor.read(np.dtype('float32')) for name, tensor in found.items()
  }


def _check(found, rtol=0):
  assert set(found) == set(_VALUES)
  for name, value in _VALUES.items():
    np.testing.assert_allclose(found[name], value, rtol=rtol)


@pytest.mark.parametrize('name', ['model.safetensors', 'other.safetensors'])
def test_one_file(tmp_path, name):
  _write(tmp_path, name)
  _check(_read(tmp_path))


def test_shards_with_an_index(tmp_path):
  _shards(tmp_path)
  _check(_read(tmp_path))


def test_full_precision_goes_before_a_variant(tmp_path):
  half = {k: v.astype(np.float16) for k, v in _VALUES.items()}
  _write(tmp_path, 'model.fp16.safetensors', half)
  _check(_read(tmp_path), rtol=1e-3)
  _write(tmp_path)
  _check(_read(tmp_path))
  assert _read(tmp_path, variant='fp16')['b.weight'][0] != np.float32(0.1)


def test_a_variant_in_shards(tmp_path):
  _shards(tmp_path, 'model.safetensors.index.fp16.json', np.float16)
  _check(_read(tmp_path), rtol=1e-3)


def test_a_variant_that_is_not_there(tmp_path):
  _write(tmp_path)
  with pytest.raises(ValueError, match='has no model.bf16.safetensors'):
    _read(tmp_path, variant='bf16')


def test_a_stem_of_another_library(tmp_path):
  _write(tmp_path, 'diffusion_pytorch_model.safetensors')
  _check(_read(tmp_path, stem='diffusion_pytorch_model'))


@pytest.mark.parametrize(
  ('weight_map', 'message'),
  [
    ({'a.weight': '../model.safetensors'}, r'missing are \.\./model'),
    ({'a.weight': 'absent.safetensors'}, 'missing are absent.safetensors'),
    ({'a.weight': 3}, 'weight_map is no table of file names'),
    ({}, 'missing are all'),
    (
      {'c.weight': 'model-00001-of-00002.safetensors'},
      'has no c.weight, which model.safetensors.index.json says it has',
    ),
  ],
)
def test_an_index_that_is_wrong(tmp_path, weight_map, message):
  (tmp_path / 'inside').mkdir()
  _write(tmp_path)
  _shards(tmp_path / 'inside')
  index = tmp_path / 'inside' / _INDEX
  index.write_text(json.dumps({'weight_map': weight_map}))
  with pytest.raises(ValueError, match=message):
    _read(tmp_path / 'inside')


def test_half_of_a_sharded_checkpoint(tmp_path):
  _shards(tmp_path)
  (tmp_path / _INDEX).unlink()
  with pytest.raises(ValueError, match='half of a sharded checkpoint'):
    _read(tmp_path)


def test_a_truncated_file(tmp_path):
  _write(tmp_path)
  path = tmp_path / 'model.safetensors'
  path.write_bytes(path.read_bytes()[:-4])
  with pytest.raises(ValueError, match='is damaged: it has .* bytes'):
    _read(tmp_path)


def test_a_file_that_was_never_fetched(tmp_path):
  pointer = 'version https://example/spec/v1\noid sha256:0\nsize 5\n'
  (tmp_path / 'model.safetensors').write_text(pointer)
  with pytest.raises(
    ValueError, match='a pointer of Git LFS and not the file: run git lfs pull'
  ):
    _read(tmp_path)


def test_pickles_are_not_opened(tmp_path):
  (tmp_path / 'pytorch_model.bin').write_bytes(b'\x80')
  with pytest.raises(ValueError, match='save_pretrained.*safe_serialization'):
    _read(tmp_path)


def test_an_empty_directory(tmp_path):
  with pytest.raises(ValueError, match='has no safetensors file'):
    _read(tmp_path)


@pytest.mark.parametrize('kind', [np.float32, np.float16])
def test_streamed_as_the_library_writes(tmp_path, kind):
  _write(tmp_path)
  found = sharded.find(remote.folder(tmp_path))
  path = tmp_path / 'streamed.safetensors'
  weights.save_streamed(path, found, kind, {'b': 'two', 'a': 'one'})
  read = safetensors.numpy.load_file(str(path))
  assert {k: v.dtype for k, v in read.items()} == dict.fromkeys(
    _VALUES, np.dtype(kind)
  )
  _check(read, rtol=1e-3)
  assert weights.metadata(path) == {'a': 'one', 'b': 'two'}


def test_streaming_refuses_what_is_not_finite(tmp_path):
  _write(tmp_path, values={'a': np.float32([1, np.nan])})
  found = sharded.find(remote.folder(tmp_path))
  path = tmp_path / 'streamed.safetensors'
  with pytest.raises(ValueError, match='streamed.safetensors: a has values'):
    weights.save_streamed(path, found)
  assert not path.exists()
  assert [p.name for p in tmp_path.iterdir()] == ['model.safetensors']


def test_axes_in_another_order():
  tensor = tensors.Tensor(
    name='x', shape=(2, 3), read=lambda dtype: _VALUES['a.weight'].astype(dtype)
  )
  turned = tensors.permuted(tensor, (1, 0))
  assert turned.shape == (3, 2)
  found = turned.read(np.dtype(np.float16))
  np.testing.assert_array_equal(found, _VALUES['a.weight'].T)
  assert found.flags['C_CONTIGUOUS']
