"""Embeddings do not depend on the bucket, the batch or the company."""

import numpy as np
import pytest

from imagen_jax.text import buckets
from tests.support import tiny_cascade


@pytest.fixture(scope='module')
def encoder(tmp_path_factory):
  return tiny_cascade.encoder(tmp_path_factory.mktemp('encoder'))


def test_lengths_end_at_the_limit():
  assert buckets.lengths(32) == (8, 16, 24, 32)
  assert buckets.lengths(77) == (8, 16, 24, 32, 48, 64, 77)
  assert buckets.lengths(8) == (8,)
  assert buckets.lengths(5) == (5,)


@pytest.mark.parametrize('devices', [1, 3, 8, 256])
def test_rows_divide_over_the_devices(devices):
  for length in buckets.lengths(128):
    n = buckets.rows(length, 8192, devices)
    assert n % devices == 0 and n % 8 == 0 and n > 0
    assert n * length <= 8192 or n <= 8 * devices


def test_equal_to_the_encoder_alone_and_short_ones_cost_less(
  encoder, monkeypatch
):
  captions = ['', 'a', *tiny_cascade.CAPTIONS, *tiny_cascade.WORDS]
  tokens, mask = encoder.tokenizer.encode(captions)
  expected, _ = encoder.encode(captions)
  bucketed = buckets.BucketEncoder(encoder, batch_tokens=64)
  shapes = []
  start = bucketed._start
  monkeypatch.setattr(
    bucketed,
    '_start',
    lambda t, m, rows, length, size: (
      shapes.append((size, length)),
      start(t, m, rows, length, size),
    )[1],
  )
  found = {}
  for rows, values in bucketed.encode(tokens, mask):
    found |= dict(zip(rows.tolist(), values, strict=True))
  assert sorted(found) == list(range(len(captions)))
  for row, values in found.items():
    np.testing.assert_allclose(
      values, expected[row, mask[row]], rtol=0, atol=1e-5
    )
  short = (mask.sum(axis=1) <= 8).sum()
  long = len(captions) - short
  assert 0 < long < short
  assert shapes.count((8, 8)) == -(-short // 8)
  assert shapes.count((8, 12)) == -(-long // 8) == len(shapes) - -(-short // 8)
