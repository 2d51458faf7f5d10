"""Safetensors files that are not whole and plain: refused by both readers."""

import json

import numpy as np
import pytest

from imagen_jax.files import remote, tensors, weights


def _file(path, header, payload):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, 'little') + text + payload)
  return path


def _entry(first, last, shape=(2,), dtype='F32'):
  return {'dtype': dtype, 'shape': [*shape], 'data_offsets': [first, last]}


def _twice(one, two):
  return f'{{"a": {json.dumps(one)}, "a": {json.dumps(two)}}}'.encode()


BAD = {
  'overlap': ({'a': _entry(0, 8), 'b': _entry(4, 12)}, 12, 'overlap or leave'),
  'same place': ({'a': _entry(0, 8), 'b': _entry(0, 8)}, 8, 'overlap or leave'),
  'gap': ({'a': _entry(0, 8), 'b': _entry(12, 20)}, 20, 'overlap or leave'),
  'late': ({'a': _entry(4, 12)}, 12, 'overlap or leave'),
  'backwards': ({'a': _entry(8, 0)}, 8, 'overlap or leave'),
  'twice': (_twice(_entry(0, 8), _entry(8, 16)), 16, "'a' is there twice"),
  'twice, other shapes': (
    _twice(_entry(0, 8, (1, 2)), _entry(0, 8, (2, 1))),
    8,
    "'a' is there twice",
  ),
  'a field twice': (
    b'{"a": {"dtype": "F32", "shape": [2], "shape": [1, 2], '
    b'"data_offsets": [0, 8]}}',
    8,
    "'shape' is there twice",
  ),
  'nested': (b'{"a":' * 50_000, 8, 'damaged'),
  'no object': (b'[1]', 8, 'damaged'),
  'numbers': ({'a': _entry(0, 10**30)}, 8, 'damaged'),
  'a bool': ({'a': {**_entry(0, 8), 'shape': [True, 2]}}, 8, 'damaged'),
  'shape': ({'a': _entry(0, 8, (3,))}, 8, 'damaged'),
}


@pytest.mark.parametrize(('header', 'size', 'said'), BAD.values(), ids=BAD)
def test_a_header_that_is_not_plain_is_refused(tmp_path, header, size, said):
  path = _file(tmp_path / 'x.safetensors', header, bytes(size))
  with pytest.raises(ValueError, match=said) as one:
    tensors.safetensors(remote.folder(tmp_path), 'x.safetensors')
  with pytest.raises(ValueError, match=said if said != 'shape' else '') as two:
    weights.load(path)
  for caught in (one, two):
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_header_of_gigabytes_is_not_read(tmp_path):
  path = tmp_path / 'x.safetensors'
  with open(path, 'wb') as file:
    file.write((3 << 30).to_bytes(8, 'little'))
    file.truncate(4 << 30)  # takes no room
  for read in (
    lambda: tensors.safetensors(remote.folder(tmp_path), path.name),
    lambda: weights.load(path),
  ):
    with pytest.raises(ValueError, match='a header of 3221225472 bytes'):
      read()


def test_what_the_library_writes_is_read_by_both(tmp_path):
  tree = {'b': {'x': np.ones([2, 3])}, 'a': np.zeros([1]), 'c': np.ones([0, 4])}
  weights.save(tmp_path / 'x.safetensors', tree, metadata={'step': '1'})
  found = tensors.safetensors(remote.folder(tmp_path), 'x.safetensors')
  assert {name: t.shape for name, t in found.items()} == {
    'a': (1,),
    'b.x': (2, 3),
    'c': (0, 4),
  }
  again = weights.load(tmp_path / 'x.safetensors')
  np.testing.assert_array_equal(again['b']['x'], tree['b']['x'])
