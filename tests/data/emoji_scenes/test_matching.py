"""Facts about the matching of one thing with the templates."""

import numpy as np
import pytest

from imagen_jax.data.emoji_scenes import matching


@pytest.fixture(scope='module')
def known():
  return matching.templates('lite')


def paint(known, k, box, background):
  """A picture [64, 64, 6] with template k in a box, and the background."""
  behind = np.ones((64, 64, 3), np.float32) * np.float32(background)
  left, top, right, bottom = box
  # The template's window is the box and its margin on every side.
  y = ((np.arange(64) + 0.5 - top) / (bottom - top) + matching.MARGIN) / (
    1 + 2 * matching.MARGIN
  )
  x = ((np.arange(64) + 0.5 - left) / (right - left) + matching.MARGIN) / (
    1 + 2 * matching.MARGIN
  )
  rows = np.clip(np.floor(y * matching.GRID), 0, matching.GRID - 1).astype(int)
  columns = np.clip(np.floor(x * matching.GRID), 0, matching.GRID - 1)
  where = np.ix_(rows, columns.astype(int))
  inside = ((y >= 0) & (y < 1))[:, None] & ((x >= 0) & (x < 1))[None]
  clear = np.where(inside[..., None], known.clear[k][where], 1)
  drawn = np.where(inside[..., None], known.paint[k][where], 0)
  return np.concatenate([drawn + clear * behind, behind], 2)


def test_every_template_is_its_own_nearest(known):
  for k in range(0, len(known.labels), 3):
    inner = known.inner[k]
    wide, high = inner[2] - inner[0], inner[3] - inner[1]
    box = (32 - 16 * wide, 32 - 16 * high, 32 + 16 * wide, 32 + 16 * high)
    found = matching.match(paint(known, k, box, (0.8, 0.9, 1)), box, known)
    assert (found.noun, found.colour) == known.labels[k]
    assert found.cost < 0.05


def test_a_box_that_is_a_little_off_is_set_right(known):
  k = known.labels.index(('fox', 'blue'))
  inner = known.inner[k]
  box = (18.0, 18.0, 46.0, 18 + 28 * (inner[3] - inner[1]) / (inner[2]))
  scene = paint(known, k, box, 1.0)
  off = (box[0] - 1.5, box[1] + 1.2, box[2] - 1.5, box[3] + 1.2)
  before = matching.match(scene, off, known)
  assert (before.noun, before.colour) == ('fox', 'blue')
  assert np.abs(np.subtract(before.box, box)).max() < 0.8


def test_costs_run_from_equal_to_absent_to_opposite():
  background = np.full((4, 4, 3), 0.5, np.float32)
  seen = background + 0.4
  drawn = np.stack([seen, background, background - 0.4])
  found = matching.costs(drawn, seen, background)
  np.testing.assert_allclose(found, (0, 2, 4), atol=0.15)


def test_cut_of_the_whole_is_a_plain_reduction():
  picture = np.random.default_rng(0).random((32, 32, 2)).astype(np.float32)
  side = 32 / (1 + 2 * matching.MARGIN)
  edge = (32 - side) / 2
  box = (edge, edge, edge + side, edge + side)
  found = matching.cut(picture, box, 32)
  np.testing.assert_allclose(found, picture, atol=1e-4)
