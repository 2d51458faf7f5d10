"""What was written is read: exactly in bfloat16, closely in int8."""

import concurrent.futures

import jax
import ml_dtypes
import numpy as np
import pytest

from imagen_jax.text import cache, cache_reader, quantization
from tests.support import tiny_cache


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
  path = tmp_path_factory.mktemp('cache')
  tiny_cache.make(path)
  return path


def _expected():
  return {
    caption: values.astype(ml_dtypes.bfloat16)
    for caption, values in tiny_cache.embeddings().items()
  }


def test_true_tokens_in_the_order_asked_for(directory):
  expected = _expected()
  captions = [*reversed(tiny_cache.CAPTIONS), 'caption 3', 'caption 3']
  found = cache_reader.Reader(directory).read(captions)
  for caption, values in zip(captions, found, strict=True):
    np.testing.assert_array_equal(values, expected[caption])


def test_a_batch_is_zero_at_padding(directory):
  captions = ['caption 4', '', 'caption 10']
  text, mask = cache_reader.Reader(directory).batch(captions)
  assert text.shape == (3, tiny_cache.LENGTH, tiny_cache.WIDTH)
  assert mask.sum(axis=1).tolist() == [6, 1, 12]
  assert (text[~mask] == 0).all() and (text[mask] != 0).any(axis=-1).all()
  np.testing.assert_array_equal(text[0, :6], _expected()['caption 4'])


def test_int8_is_close(tmp_path):
  tiny_cache.make(tmp_path, dtype='int8', width=300)
  reader = cache_reader.Reader(tmp_path)
  expected = tiny_cache.embeddings(width=300)
  for caption, values in zip(expected, reader.read(list(expected))):
    error = np.abs(values - expected[caption]).max()
    assert 0 < error < 0.02 * np.abs(expected[caption]).max()


@pytest.mark.parametrize('width', [256, 300])
def test_int8_columns_give_the_same_values_on_the_device(tmp_path, width):
  tiny_cache.make(tmp_path, dtype='int8', width=width)
  reader = cache_reader.Reader(tmp_path)
  captions = ['caption 4', '', 'caption 10']
  columns = reader.columns(captions)
  mask = columns.pop('mask')
  assert columns['codes'].dtype == np.int8
  text = np.asarray(jax.jit(quantization.dequantize)(**columns))
  assert text.shape == (3, tiny_cache.LENGTH, width)
  assert (text[~mask] == 0).all()
  for row, values in enumerate(reader.read(captions)):
    np.testing.assert_array_equal(text[row, : len(values)], values)
    assert mask[row].sum() == len(values)


def test_more_shards_than_may_be_open(directory, monkeypatch):
  monkeypatch.setattr(cache_reader, '_OPEN_SHARDS', 1)
  reader, expected = cache_reader.Reader(directory), _expected()
  for caption in tiny_cache.CAPTIONS:
    np.testing.assert_array_equal(reader.read([caption])[0], expected[caption])


def test_many_threads(directory):
  reader, expected = cache_reader.Reader(directory), _expected()
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    parts = list(pool.map(reader.read, [tiny_cache.CAPTIONS] * 16))
  for part in parts:
    for caption, values in zip(tiny_cache.CAPTIONS, part):
      np.testing.assert_array_equal(values, expected[caption])


def test_caption_that_is_not_there(directory):
  reader = cache_reader.Reader(directory)
  with pytest.raises(ValueError, match="caption 'caption 3 ' is not in the ca"):
    reader.read(['caption 3', 'caption 3 '])
  with pytest.raises(ValueError, match=r'embed --captions=FILE and this'):
    reader.batch(['x' * 500])


def test_cache_that_is_not_complete(tmp_path):
  made = tiny_cache.make(tmp_path)
  cache.shard_path(tmp_path, 1, made.shards).unlink()
  with pytest.raises(ValueError, match='1 of 3 shards are missing.*run the sa'):
    cache_reader.Reader(tmp_path)


def _caption_in(shard):
  return next(
    caption
    for caption in tiny_cache.CAPTIONS
    if cache.shard_of(cache.digest(caption), 3) == shard
  )


@pytest.mark.parametrize('damage', ['cut', 'empty', 'bit', 'other'])
def test_damaged_shard(tmp_path, damage):
  made = tiny_cache.make(tmp_path)
  path = cache.shard_path(tmp_path, 1, made.shards)
  content = bytearray(path.read_bytes())
  if damage == 'cut':
    content = content[: len(content) // 2]
  elif damage == 'empty':
    content = b''
  elif damage == 'bit':
    values = tiny_cache.embeddings()[_caption_in(1)]
    record = values.astype(ml_dtypes.bfloat16).tobytes()
    content[bytes(content).index(record)] ^= 1
  else:
    content = cache.shard_path(tmp_path, 0, made.shards).read_bytes()
  path.write_bytes(content)
  reader = cache_reader.Reader(tmp_path)
  with pytest.raises(ValueError, match=f'{path.name} (is|cannot be)') as stop:
    reader.read([_caption_in(1)])
  assert '\n' not in str(stop.value)
  reader.read([_caption_in(2)])  # the others are good
