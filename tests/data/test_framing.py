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


def _noise(width, height):
  """No pixel tells of its neighbours."""
  rng = np.random.default_rng(1)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def _pictures(resolution, crop=None, factor=None, halve=True):
  return pipeline.Pictures(
    resolution=resolution, crop=crop, low_res_factor=factor, halve=halve
  )


def _means(values, factor):
  """Means of factor x factor pixels, half a level rounded up."""
  h, w, c = values.shape
  blocks = values.reshape(h // factor, factor, w // factor, factor, c)
  return np.floor(blocks.mean((1, 3)) + 0.5).astype(np.uint8)


@pytest.mark.parametrize('size', [(200, 300), (301, 200), (64, 64), (65, 64)])
def test_the_square_is_the_middle_of_the_long_side(size):
  image = _picture(*size)
  seen = framing.frame(image, _pictures(64, halve=False))
  short = min(size)
  left, top = (size[0] - short + 1) // 2, (size[1] - short + 1) // 2
  square = image.crop((left, top, left + short, top + short))
  expected = square.resize((64, 64), PIL.Image.Resampling.BICUBIC)
  # The pixels around the square take part where it was cut.
  difference = np.abs(seen.astype(int) - np.asarray(expected))[2:-2, 2:-2]
  assert seen.shape == (64, 64, 3) and difference.max() <= 1


@pytest.mark.parametrize('halve', [True, False])
@pytest.mark.parametrize(
  'size', [(300, 410), (128, 128), (100, 90), (1000, 700), (256, 700)]
)
def test_a_crop_is_a_window_of_the_whole_on_the_low_res_grid(size, halve):
  image = PIL.Image.fromarray(_noise(*size))
  for place in [(0.5, 0.5), (0.13, 0.61)]:
    whole = framing.frame(
      image, _pictures(128, halve=halve), (*place, 0, 0)
    ).astype(int)
    for u in [(0.0, 0.0), (0.99, 0.4), (0.3, 0.7)]:
      pictures = _pictures(128, 32, 4, halve)
      seen = framing.frame(image, pictures, (*place, *u))
      assert seen.shape == (32, 32, 3)
      x, y = (int(v * 25) * 4 for v in u)
      window = whole[y : y + 32, x : x + 32]
      assert np.abs(window - seen).max() <= 1


@pytest.mark.parametrize('factor', [1, 2, 4, 8])
@pytest.mark.parametrize('place', [(0.0, 0.0), (0.5, 0.5), (0.37, 0.99)])
def test_what_halving_fits_exactly_is_means_of_pixels(factor, place):
  side = 32 * factor
  for width, height in [(side, side), (side + 45, side), (side, 3 * side)]:
    values = _noise(width, height)
    seen = framing.frame(
      PIL.Image.fromarray(values), _pictures(32), (*place, 0, 0)
    )
    left = int(place[0] * (width - side + 1))
    top = int(place[1] * (height - side + 1))
    square = values[top : top + side, left : left + side]
    np.testing.assert_array_equal(seen, _means(square, factor))


@pytest.mark.parametrize(('side', 'factor'), [(300, 4), (252, 2), (127, 1)])
def test_what_is_left_of_halving_is_bicubic(side, factor):
  values = _noise(side, side)
  means = PIL.Image.fromarray(_means(values, factor))
  expected = means.resize((64, 64), PIL.Image.Resampling.BICUBIC)
  seen = framing.frame(PIL.Image.fromarray(values), _pictures(64))
  difference = np.abs(seen.astype(int) - np.asarray(expected))
  # Pillow's reduce rounds by integers, where a mean ends in a half or nearly.
  assert difference.max() <= 1


@pytest.mark.parametrize('size', [(301, 301), (333, 517), (1023, 640)])
def test_halving_moves_and_darkens_nothing(size):
  """Where blocks do not fill the square, smooth pictures show a shift."""
  image = _picture(*size)
  both = [
    framing.frame(image, _pictures(64, halve=halve)).astype(int)
    for halve in (True, False)
  ]
  difference = both[0] - both[1]
  assert np.abs(difference).max() <= 6 and abs(difference.mean()) < 0.3


@pytest.mark.parametrize('size', [(512, 512), (333, 517), (256, 700), (80, 70)])
def test_without_halving_it_is_one_pass_of_bicubic(size):
  values = _noise(*size)
  image, short = PIL.Image.fromarray(values), min(size)
  left, top = (int(0.3 * (v - short + 1)) for v in size)
  expected = image.resize(
    (64, 64),
    PIL.Image.Resampling.BICUBIC,
    box=(left, top, left + short, top + short),
  )
  seen = framing.frame(image, _pictures(64, halve=False), (0.3, 0.3, 0, 0))
  np.testing.assert_array_equal(seen, np.asarray(expected))


def test_all_places_are_reached():
  image = _picture(100, 90)
  edge = 1 - 1e-9
  for u in [(0, 0, 0, 0), (edge,) * 4]:
    assert framing.frame(image, _pictures(64, 16, 4), u).shape == (16, 16, 3)


def test_shrinking_does_not_alias():
  """Stripes of one pixel become their mean, not stripes."""
  stripes = np.zeros([512, 512, 3], np.uint8)
  stripes[:, ::2] = 255
  for pictures in (_pictures(64), _pictures(70), _pictures(64, halve=False)):
    seen = framing.frame(PIL.Image.fromarray(stripes), pictures)
    assert seen.std() < 3 and abs(seen.mean() - 127.5) < 3
