"""The layout model: what it sees and what it does not."""

import jax
import numpy as np
import pytest

from imagen_jax.models import layout_transformer
from tests.support import tiny_cascade

CONFIG = layout_transformer.LayoutTransformerConfig(
  width=16, blocks=2, head_width=8, text_width=8, max_length=6
)
NETWORK = layout_transformer.LayoutTransformer(CONFIG, 3, 5)


def _inputs(seed=0):
  rng = np.random.default_rng(seed)
  z = rng.normal(size=(4, 3, 5)).astype(np.float32)
  text = rng.normal(size=(2, 6, 8)).astype(np.float32)
  mask = np.arange(6) < [[4], [6]]
  return z, rng.normal(size=4).astype(np.float32), text, mask


def _params():
  shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), *_inputs())
  return tiny_cascade.random_arrays(shapes['params'], 0)


def _apply(params, *inputs):
  return np.asarray(jax.jit(NETWORK.apply)({'params': params}, *inputs))


def test_noisy_versions_share_their_text():
  params, (z, logsnr, text, mask) = _params(), _inputs()
  shared = _apply(params, z, logsnr, text, mask)
  apart = _apply(
    params, z, logsnr, np.repeat(text, 2, axis=0), np.repeat(mask, 2, axis=0)
  )
  assert shared.std() > 0.1
  np.testing.assert_allclose(shared, apart, atol=1e-5)


def test_padding_is_not_seen_and_words_are():
  params, (z, logsnr, text, mask) = _params(), _inputs()
  before = _apply(params, z, logsnr, text, mask)
  padded, spoken = text.copy(), text.copy()
  padded[0, 4:] = 7.0
  spoken[0, 1] = 7.0
  np.testing.assert_array_equal(_apply(params, z, logsnr, padded, mask), before)
  after = _apply(params, z, logsnr, spoken, mask)
  assert np.abs(after - before)[:2].max() > 1e-3
  np.testing.assert_array_equal(after[2:], before[2:])


def test_boxes_see_one_another():
  params, (z, logsnr, text, mask) = _params(), _inputs()
  moved = z.copy()
  moved[0, 2] += 1.0
  change = _apply(params, moved, logsnr, text, mask) - _apply(
    params, z, logsnr, text, mask
  )
  assert np.abs(change[0, :2]).max() > 1e-4 and not change[1:].any()


def test_sizes_that_do_not_fit_are_told():
  with pytest.raises(ValueError, match='width 10 is no multiple of head_width'):
    layout_transformer.LayoutTransformerConfig(width=10, head_width=4)
  with pytest.raises(ValueError, match='blocks is 0; it must be at least 1'):
    layout_transformer.LayoutTransformerConfig(blocks=0)
  z, logsnr, text, mask = _inputs()
  with pytest.raises(ValueError, match='at most 6 tokens of width 8'):
    NETWORK.init(jax.random.key(0), z, logsnr, text[..., :7], mask)
