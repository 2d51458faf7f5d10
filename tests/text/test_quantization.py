"""Embeddings as bytes: size, cosine, and what the divisors are for."""

import pathlib

import numpy as np
import pytest

import imagen_jax
from imagen_jax import text
from imagen_jax.data.emoji_scenes import source
from imagen_jax.text import quantization

SHIPPED = pathlib.Path(imagen_jax.__file__).parent / 'pretrained/scenes/text'


def _outliers(width, tokens=500):
  """Normal embeddings with 5 channels at 20x and 2 at 100x, and the others."""
  rng = np.random.default_rng(0)
  values = rng.normal(size=(tokens, width)).astype(np.float32)
  large = rng.choice(width, 7, replace=False)
  values[:, large[:5]] *= 20
  values[:, large[5:]] *= 100
  return values, np.setdiff1d(np.arange(width), large)


def _cosine(a, b):
  """The smallest over the tokens."""
  a, b = a.astype(np.float64), b.astype(np.float64)
  norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
  return float(((a * b).sum(axis=-1) / norms).min())


def _round_trip(values, dtype, divisors):
  record = quantization.encode(values, dtype, divisors)
  return quantization.decode(record, values.shape[1], dtype, divisors)


@pytest.mark.parametrize('dtype', quantization.DTYPES)
@pytest.mark.parametrize('width', [256, 300, 4096])
def test_cosine_with_outlier_channels(width, dtype):
  values, ordinary = _outliers(width)
  found = _round_trip(values, dtype, quantization.channel_divisors(values))
  assert found.shape == values.shape
  assert _cosine(values, found) > 0.9997
  assert _cosine(values[:, ordinary], found[:, ordinary]) > 0.9997


def test_cosine_of_the_shipped_encoder():
  """Of every token of captions it was trained on, both types."""
  scenes = source.EmojiScenes('validation', 'full')
  encoder = text.load_encoder(SHIPPED)
  features, mask = encoder.encode([scenes.caption(i) for i in range(64)], 64)
  values = features[mask]
  assert values.shape[0] > 400
  for dtype in quantization.DTYPES:
    divisors = quantization.channel_divisors(values)
    assert _cosine(values, _round_trip(values, dtype, divisors)) > 0.999


def test_a_scale_alone_loses_the_ordinary_channels():
  """The reason for the divisors."""
  values, ordinary = _outliers(256)
  found = _round_trip(values, 'int8', np.ones(256, np.float32))
  assert _cosine(values[:, ordinary], found[:, ordinary]) < 0.9


@pytest.mark.parametrize(
  ('dtype', 'size'), [('bfloat16', 8192), ('int8', 4160)]
)
def test_bytes_of_a_token_of_t5_xxl(dtype, size):
  values, _ = _outliers(4096, tokens=3)
  record = quantization.encode(
    values, dtype, quantization.channel_divisors(values)
  )
  assert len(record) == 3 * size == 3 * quantization.token_bytes(4096, dtype)


@pytest.mark.parametrize('size', [1e-6, 1.0, 1e6])
def test_size_of_the_embeddings_does_not_matter(size):
  values = _outliers(256)[0] * np.float32(size)
  found = _round_trip(values, 'int8', quantization.channel_divisors(values))
  assert _cosine(values, found) > 0.9997
  np.testing.assert_allclose(
    np.abs(found).max(), np.abs(values).max(), rtol=0.01
  )


def test_zero_channels_and_tokens_stay_zero():
  values, _ = _outliers(256, tokens=4)
  values[:, :130] = 0
  values[2] = 0
  found = _round_trip(values, 'int8', quantization.channel_divisors(values))
  assert (found[:, :130] == 0).all() and (found[2] == 0).all()
  assert (found[0, 130:] != 0).any()
  empty = quantization.channel_divisors(values[:0])
  np.testing.assert_array_equal(empty, np.ones(256))
