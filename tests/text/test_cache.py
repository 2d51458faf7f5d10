"""Names, manifests and indices of a cache of embeddings."""

import collections
import json

import numpy as np
import pytest

from imagen_jax.text import cache
from tests.support import tiny_cache


def test_captions_spread_evenly_over_shards():
  names = [cache.digest(f'caption {i}') for i in range(4000)]
  counts = collections.Counter(cache.shard_of(name, 8) for name in names)
  assert sorted(counts) == list(range(8))
  assert max(counts.values()) < 1.2 * 500


def test_a_digest_is_that_of_the_exact_text():
  same = {cache.digest(text) for text in ('a fox', 'a fox ', 'A fox', '')}
  assert len(same) == 4
  assert all(len(name) == cache.DIGEST_BYTES for name in same)


def test_manifest_comes_back(tmp_path):
  manifest = tiny_cache.manifest()
  cache.write_manifest(tmp_path, manifest)
  assert cache.read_manifest(tmp_path) == manifest
  assert tiny_cache.manifest(dtype='int8').id != manifest.id


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    (None, 'is no cache of embeddings'),
    ('{"format_version": 1,', 'is damaged'),
    ('[]', 'format None'),
    ('{"format_version": 9}', 'format 9 .* update imagen_jax'),
  ],
)
def test_manifest_that_is_none(tmp_path, text, said):
  if text is not None:
    (tmp_path / cache.FILE).write_text(text)
  with pytest.raises(ValueError, match=said):
    cache.read_manifest(tmp_path)


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    ({'dtype': 'int4'}, "'int4', not one of"),
    ({'dtype': ['int8']}, r"\['int8'\], not one of"),
    ({'width': '16'}, "width is '16'; it must be a whole number above 0"),
    ({'shards': 0}, 'shards is 0; it must be a whole number above 0'),
    ({'encoder': 'x'}, "encoder is 'x'; it must be dict"),
  ],
)
def test_manifest_that_is_altered(tmp_path, change, said):
  fields = cache.to_json(tiny_cache.manifest()) | change
  (tmp_path / cache.FILE).write_text(json.dumps(fields))
  with pytest.raises(ValueError, match=said):
    cache.read_manifest(tmp_path)


def test_index_comes_back_and_knows_its_cache():
  index = cache.Index(
    digests=np.arange(32, dtype=np.uint8).reshape(2, 16),
    lengths=np.array([3, 5], np.int32),
    truncated=np.array([False, True]),
    divisors=None,
  )
  record = cache.pack_index(index, 1, 'abc')
  found = cache.unpack_index(record, 1, 'abc', 'file')
  np.testing.assert_array_equal(found.digests, index.digests)
  np.testing.assert_array_equal(found.truncated, index.truncated)
  assert found.divisors is None
  with pytest.raises(ValueError, match='file is shard abc/1, .* needs abc/2'):
    cache.unpack_index(record, 2, 'abc', 'file')
  with pytest.raises(ValueError, match='file is damaged'):
    cache.unpack_index(record[:40], 1, 'abc', 'file')


def test_difference_names_the_first_and_looks_inside():
  there = {'encoder': {'kind': 't5', 'weights': 'a' * 64}, 'shards': 2}
  here = {'encoder': {'kind': 't5', 'weights': 'b' * 64}, 'shards': 2}
  assert cache.difference(there, there) is None
  said = 'encoder.weights is aaaaaaaaaaaa... there and bbbbbbbbbbbb... here'
  assert cache.difference(there, here) == said
  assert cache.difference({}, {'a': 1}) == 'a is None there and 1 here'
