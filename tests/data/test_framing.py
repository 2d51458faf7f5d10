"""Squares and crops: the right region, antialiased, windows of the whole."""

import numpy as np
import PIL.Image
import pytest

from imagen_jax.data import framing, pipeline


def _picture(width, height):
  """Smooth colours, none alike."""
  rng = np.random.default_rng(0)
  small = rng.integers(0, 256, (9, 9, 3), np.uint8)
  image = PIL.Image.fromarray(small)
  return image.resize((width, height), PIL.Image.Resampling.BICUBIC)


def _pictures(resolution, crop=None, factor=None):
  return pipeline.Pictures(
    resolution=resolution, crop=crop, low_res_factor=factor
  )


@pytest.mark.parametrize('size', [(200, 300), (301, 200), (64, 64), (65, 64)])
def test_the_square_is_the_middle_of_the_long_side(size):
  image = _picture(*size)
  seen = framing.frame(image, _pictures(64))
  short = min(size)
  left, top = (size[0] - short + 1) // 2, (size[1] - short + 1) // 2
  square = image.crop((left, top, left + short, top + short))
  expected = square.resize((64, 64), PIL.Image.Resampling.BICUBIC)
  # The pictures around the square take part where it was cut.
  difference = np.abs(seen.astype(int) - np.asarray(expected))[2:-2, 2:-2]
  assert seen.shape == (64, 64, 3) and difference.max() <= 1


@pytest.mark.parametrize(
  'size', [(300, 410), (128, 128), (100, 90), (1000, 700)]
)
def test_a_crop_is_a_window_of_the_whole_on_the_low_res_grid(size):
  image = _picture(*size)
  whole = framing.frame(image, _pictures(128)).astype(int)
  for u in [(0.5, 0.5, 0.0, 0.0), (0.5, 0.5, 0.99, 0.4), (0.5, 0.5, 0.3, 0.7)]:
    seen = framing.frame(image, _pictures(128, 32, 4), u)
    assert seen.shape == (32, 32, 3)
    x, y = (int(v * 25) * 4 for v in u[2:])
    window = whole[y : y + 32, x : x + 32]
    assert np.abs(window - seen).max() <= 1


def test_all_places_are_reached():
  image = _picture(100, 90)
  edge = 1 - 1e-9
  for u in [(0, 0, 0, 0), (edge,) * 4]:
    assert framing.frame(image, _pictures(64, 16, 4), u).shape == (16, 16, 3)


def test_shrinking_does_not_alias():
  """Stripes of one pixel become their mean, not stripes."""
  stripes = np.zeros([512, 512, 3], np.uint8)
  stripes[:, ::2] = 255
  seen = framing.frame(PIL.Image.fromarray(stripes), _pictures(64))
  assert seen.std() < 3 and abs(seen.mean() - 127.5) < 3
