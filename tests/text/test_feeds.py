"""The text of a batch, inline and from a cache; encoders that do not fit."""

import numpy as np
import pytest

from imagen_jax.text import cache, cache_reader, feeds
from tests.support import tiny_cache, tiny_cascade


@pytest.fixture(scope='module')
def reader(tmp_path_factory):
  directory = tmp_path_factory.mktemp('cache')
  tiny_cache.make(directory)
  return cache_reader.Reader(directory)


def test_cached_text_is_that_of_the_reader(reader):
  feed = feeds.Cached(reader=reader)
  columns = feed.columns(['caption 1', ''])
  text, mask = feed.encode(['caption 1', ''])
  assert sorted(columns) == ['mask', 'text']
  assert columns['text'].dtype.itemsize == 2 and text.dtype == np.float32
  np.testing.assert_array_equal(columns['text'].astype(np.float32), text)
  np.testing.assert_array_equal(columns['mask'], mask)
  np.testing.assert_array_equal(text, reader.batch(['caption 1', ''])[0])


def test_cache_of_another_encoder_says_which(reader, tmp_path):
  encoder = tiny_cascade.encoder(tmp_path)
  said = 'was made by another encoder than here: .* there and .* here; make'
  with pytest.raises(ValueError, match=said):
    feeds.check_made_by(reader, encoder, 'here')


def test_encoder_id(reader):
  feeds.check_id(reader, cache.encoder_id(reader.manifest.encoder))
  with pytest.raises(ValueError, match='encoder_id asks for 123'):
    feeds.check_id(reader, '123')


def test_sizes():
  feeds.check_fits('s', (16, 12), (16, 12), 'here')
  with pytest.raises(ValueError, match='stage s .* width 16 .* gives 16 and 7'):
    feeds.check_fits('s', (16, 12), (16, 7), 'here')
