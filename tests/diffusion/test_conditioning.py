"""Null text, caption dropout and noise augmentation."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from imagen_jax.diffusion import conditioning, schedules
from tests.support import if_tiny


def _text():
  rng = np.random.default_rng(0)
  text = rng.standard_normal((3, 4, 5)).astype(np.float32)
  mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]], bool)
  return text, mask


def test_null_text_is_zero_with_one_visible_token():
  text, mask = conditioning.null_text(*_text())
  assert not np.any(text) and text.shape == (3, 4, 5)
  np.testing.assert_array_equal(mask, [[True, False, False, False]] * 3)


def test_drop_text_drops_the_chosen_examples_alone():
  text, mask = _text()
  drop = np.array([False, True, False])
  got, got_mask = conditioning.drop_text(text, mask, drop)
  null, null_mask = conditioning.null_text(text, mask)
  for i in range(3):
    expected = (null, null_mask) if drop[i] else (text, mask)
    np.testing.assert_array_equal(got[i], expected[0][i])
    np.testing.assert_array_equal(got_mask[i], expected[1][i])


def test_augment_has_a_level_per_example():
  rng = np.random.default_rng(1)
  low_res, noise = rng.standard_normal((2, 4, 8, 8, 3)).astype(np.float32)
  level = np.array([0.0, 0.1, 0.5, 1.0], np.float32)
  got, logsnr = conditioning.augment(low_res, level, noise)
  np.testing.assert_array_equal(logsnr, schedules.Cosine()(level))
  angle = np.pi / 2 * level.reshape(-1, 1, 1, 1)
  expected = np.cos(angle) * low_res + np.sin(angle) * noise
  np.testing.assert_allclose(got, expected, atol=5e-4)
  np.testing.assert_allclose(got[0], low_res[0], atol=5e-4)


@pytest.mark.parametrize('sigma', [0.5, 1.0, 1.5])
def test_blur_is_the_gaussian_of_scipy(sigma):
  """scipy's, of 32 times the pixels, averaged back: borders continued alike."""
  rng = np.random.default_rng(2)
  picture = rng.standard_normal((1, 12, 10, 3)).astype(np.float32)
  fine = np.repeat(np.repeat(picture[0], 32, axis=0), 32, axis=1)
  fine = scipy.ndimage.gaussian_filter(
    fine, (32 * sigma, 32 * sigma, 0), mode='nearest', truncate=6
  )
  # What the middle of a pixel gathers: it lies between two of the fine ones.
  middle = (fine[15::32] + fine[16::32]) / 2
  expected = (middle[:, 15::32] + middle[:, 16::32]) / 2
  found = conditioning.blur(picture, np.array([sigma], np.float32))[0]
  np.testing.assert_allclose(found, expected, atol=0.01)


def test_blur_keeps_means_and_leaves_what_is_not_blurred():
  rng = np.random.default_rng(3)
  pictures = rng.standard_normal((3, 8, 16, 3)).astype(np.float32)
  found = conditioning.blur(pictures, np.array([0, 0.3, 2.0], np.float32))
  np.testing.assert_allclose(found[0], pictures[0], atol=1e-6)
  flat = conditioning.blur(np.ones((1, 8, 16, 3)), np.array([2.0]))
  np.testing.assert_allclose(flat, 1, rtol=1e-6)
  spread = np.std(np.asarray(found), axis=(1, 2, 3))
  assert spread[0] > 1.05 * spread[1] > 2 * spread[2]


def test_upsample_is_bilinear_at_pixel_centres():
  ramp = jnp.arange(4.0).reshape(1, 1, 4, 1)
  ramp = jnp.broadcast_to(ramp, (1, 4, 4, 3))
  up = conditioning.upsample(ramp, (8, 8))
  expected = [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
  for row in np.asarray(up[0, :, :, 0]):
    np.testing.assert_allclose(row, expected, atol=1e-6)


@pytest.mark.parametrize('size', [(16, 24), (10, 9)])
def test_aligned_upsampling_as_of_torch(size):
  """Bilinear, align_corners=True; 4 x 6 pixels to whole and odd factors."""
  with np.load(if_tiny.DATA / 'scheduler.npz') as stored:
    picture = if_tiny.ours(stored['enlarge/image'])
    expected = if_tiny.ours(stored[f'enlarge/{size[0]}x{size[1]}'])
  found = conditioning.upsample_aligned(picture, size)
  np.testing.assert_allclose(found, expected, atol=2e-6)
