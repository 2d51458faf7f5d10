"""Coverage is exact, crops are slices, and resolutions agree."""

import types

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from imagen_jax.data.emoji_scenes import coverage, drawing, sprites


def item(noun, colour, x, y, side):
  return types.SimpleNamespace(noun=noun, colour=colour, x=x, y=y, side=side)


def scenes():
  """Three scenes: overlap, borders, small and large sprites, odd places."""
  return [
    types.SimpleNamespace(
      background='sunset',
      items=[
        item('fox', 'red', 0.31, 0.42, 0.37),
        item('key', 'blue', 0.55, 0.47, 0.3),
      ],
    ),
    types.SimpleNamespace(
      background='beach',
      items=[
        item('robot', None, 0.05, 0.93, 0.35),
        item('umbrella', 'green', 0.97, 0.1, 0.28),
      ],
    ),
    types.SimpleNamespace(
      background='white', items=[item('soccer ball', 'pink', 0.5, 0.5, 0.97)]
    ),
  ]


def supersampled(noun, colour, pixels, factor=12):
  """The sprite by Pillow's polygons on a finer grid, [p, p, 4]."""
  out = np.zeros((pixels, pixels, 4))
  side = pixels * factor
  for rgb, opacity, rule, polygons in sprites.paths(noun, colour):
    number = np.zeros((side, side), np.int64)
    for polygon in polygons:
      mask = PIL.Image.new('L', (side, side))
      points = [tuple(point) for point in polygon * side - 0.5]
      PIL.ImageDraw.Draw(mask).polygon(points, fill=1)
      x, y = polygon.T
      turn = np.sign((np.roll(x, 1) * y - x * np.roll(y, 1)).sum())
      number += int(turn) * np.array(mask, np.int64)
    inside = number % 2 == 1 if rule == 'evenodd' else number != 0
    alpha = inside.reshape(pixels, factor, pixels, factor).mean((1, 3))
    alpha = (alpha * opacity)[..., None]
    out = out * (1 - alpha) + alpha * np.array([*rgb, 1.0])
  return out


def polygon_edges(points):
  points = np.array(points, np.float64)
  return np.concatenate([points, np.roll(points, -1, axis=0)], axis=1)


def test_coverage_of_a_triangle_is_its_area_in_each_pixel():
  edges = polygon_edges([(0, 0), (2, 0), (0, 2)])
  owner = np.zeros(3, np.int64)
  (number,) = coverage.winding(edges, owner, np.array([[0, 0, 3, 3]]))
  np.testing.assert_array_equal(
    np.abs(number), [[1, 0.5, 0], [0.5, 0, 0], [0, 0, 0]]
  )


def test_coverage_sums_to_the_area_of_a_polygon():
  rng = np.random.default_rng(0)
  angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
  points = coverage.quantize(
    np.stack([10 + 8 * np.cos(angles), 10 + 8 * np.sin(angles)], axis=1)
  )
  x, y = points.T
  area = np.abs(np.sum(np.roll(x, 1) * y - x * np.roll(y, 1))) / 2
  owner = np.zeros(len(points), np.int64)
  (number,) = coverage.winding(
    polygon_edges(points), owner, np.array([[0, 0, 20, 20]])
  )
  np.testing.assert_allclose(np.abs(number).sum(), area, atol=1e-2)
  assert np.abs(number).max() <= 1


def test_fill_rules():
  number = np.array([0, 0.25, 1, -1, 2, 1.5, -2])
  np.testing.assert_array_equal(
    coverage.fill(number, 'nonzero'), [0, 0.25, 1, 1, 1, 1, 1]
  )
  np.testing.assert_array_equal(
    coverage.fill(number, 'evenodd'), [0, 0.25, 1, 1, 0, 0.5, 0]
  )


@pytest.mark.parametrize('noun', ['fox', 'house', 'crown', 'robot'])
def test_sprites_agree_with_pillow(noun):
  difference = drawing.sprite(noun, None, 64) - supersampled(noun, None, 64)
  assert 255 * np.abs(difference).mean() < 1


def test_sprites_are_premultiplied_and_keep_their_margin():
  for noun in sprites.OBJECTS:
    image = drawing.sprite(noun, None, 32)
    assert image.shape == (32, 32, 4) and image.dtype == np.float32
    assert image.min() >= 0
    assert np.all(image[..., :3] <= image[..., 3:] + 1e-5)
    assert image[..., 3].max() == 1
    border = [image[0], image[-1], image[:, 0], image[:, -1]]
    assert max(edge.max() for edge in border) == 0


@pytest.mark.parametrize('resolution', [64, 256, 1024])
def test_crop_equals_slice_bit_for_bit(resolution):
  rng = np.random.default_rng(resolution)
  for scene in scenes():
    full = drawing.draw(scene, resolution)
    for _ in range(12):
      height, width = rng.integers(1, resolution // 2, 2)
      top = rng.integers(0, resolution - height + 1)
      left = rng.integers(0, resolution - width + 1)
      part = drawing.draw(scene, resolution, (top, left, height, width))
      np.testing.assert_array_equal(
        part, full[top : top + height, left : left + width]
      )


def test_windows_of_a_sprite_are_exact_before_rounding_too():
  full = drawing.rasterise('robot', 'pink', 301, (0, 0, 301, 301))
  for top, left, height, width in ((3, 250, 70, 51), (99, 41, 1, 64)):
    part = drawing.rasterise('robot', 'pink', 301, (top, left, height, width))
    np.testing.assert_array_equal(
      part, full[:, top : top + height, left : left + width]
    )


def test_resolutions_show_the_same_picture():
  # Measured over 10 random scenes: 0.08 at most for 1024 against 256, 0.36
  # for 256 against 64; the rest is rounding and fringes of stacked paths.
  for scene in scenes():
    fine, middle, coarse = (drawing.draw(scene, r) for r in (1024, 256, 64))
    for large, small in ((fine, middle), (middle, coarse)):
      r = len(small)
      mean = large.reshape(r, 4, r, 4, 3).mean(axis=(1, 3))
      assert np.abs(mean - small).mean() < 0.6


def test_backgrounds_depend_on_height_alone_and_are_twelve():
  assert len(drawing.BACKGROUNDS) == 12
  for name in drawing.BACKGROUNDS:
    empty = types.SimpleNamespace(background=name, items=[])
    picture = drawing.draw(empty, 64)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, picture[:, :1].repeat(64, axis=1))
    large = drawing.background(name, 256).reshape(64, 4, 1, 3).mean(axis=1)
    np.testing.assert_allclose(large, drawing.background(name, 64), atol=0.5)


def test_boxes_are_whole_and_the_same_at_every_resolution():
  thing = item('star', None, 0.337, 0.613, 0.29)
  top, left, side = drawing.box(thing, 64)
  assert drawing.box(thing, 256) == (4 * top, 4 * left, 4 * side)
  assert drawing.box(thing, 1024) == (16 * top, 16 * left, 16 * side)
  assert abs(left + side / 2 - 0.337 * 64) <= 1
  assert drawing.draw(scenes()[0], 32).shape == (32, 32, 3)


def test_bad_requests_are_refused():
  scene = scenes()[0]
  with pytest.raises(ValueError, match='leaves the picture of 64 x 64'):
    drawing.draw(scene, 64, (40, 0, 32, 32))
  scene.background = 'moon'
  with pytest.raises(ValueError, match="no background 'moon'"):
    drawing.draw(scene, 64)
