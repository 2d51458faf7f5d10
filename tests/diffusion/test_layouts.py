"""Layouts as boxes, as vectors that are diffused, and as maps."""

import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.diffusion import layouts

LAYOUT = layouts.Layout(
  things=('fox', 'key', 'car'), colours=('natural', 'red'), boxes=3, cells=8
)
# A red key in the upper left quarter, a car over all of the right half.
BOXES = np.array(
  [[[1, 1, 0.25, 0.25, 0.5, 0.5], [2, 0, 0.75, 0.5, 0.5, 1.0], [-1] + [0] * 5]],
  np.float32,
)


def test_vectors_are_undone():
  rng = np.random.default_rng(0)
  boxes = np.concatenate(
    [
      rng.integers(-1, 3, (50, 3, 1)),
      rng.integers(0, 2, (50, 3, 1)),
      rng.uniform(0.1, 0.9, (50, 3, 4)),
    ],
    axis=-1,
  ).astype(np.float32)
  vectors = layouts.to_vectors(LAYOUT, boxes)
  assert vectors.shape == (50, 3, LAYOUT.features) == (50, 3, 4 + 2 + 4)
  again = np.asarray(layouts.from_vectors(LAYOUT, vectors))
  real = boxes[..., 0] >= 0
  np.testing.assert_array_equal(again[..., 0], boxes[..., 0])
  np.testing.assert_allclose(again[real], boxes[real], atol=1e-6)


def test_a_map_says_what_is_where():
  cells = np.asarray(layouts.to_map(LAYOUT, BOXES))[0]
  assert cells.shape == (8, 8, LAYOUT.channels) == (8, 8, 3 + 2 + 5)
  key, car, nothing = cells[1, 2], cells[6, 7], cells[6, 1]
  # Centres of cells: 0.3125 and 0.1875 of the picture; half sides are 0.25.
  np.testing.assert_allclose(
    key, [0, 1, 0, 0, 1, 0.25, -0.25, *[np.log(0.5 / 0.35)] * 2, 1], atol=1e-6
  )
  np.testing.assert_allclose(
    car,
    [0, 0, 1, 1, 0, 0.75, 0.625, np.log(0.5 / 0.35), np.log(1 / 0.35), 1],
    atol=1e-6,
  )
  np.testing.assert_array_equal(nothing, [0] * (LAYOUT.channels - 1) + [1])
  assert (cells[..., 1].sum(), cells[..., 2].sum()) == (16, 32)


def test_the_later_box_lies_on_top():
  over = BOXES.copy()
  over[0, 2] = (0, 0, 0.5, 0.5, 1.0, 1.0)
  cells = np.asarray(layouts.to_map(LAYOUT, over))[0]
  assert cells[..., 0].all() and not cells[..., 1:3].any()
  cells = np.asarray(layouts.to_map(LAYOUT, over[:, ::-1]))[0]
  assert (cells[..., 1].sum(), cells[..., 0].sum()) == (16, 16)


def test_a_map_of_another_shape():
  cells = np.asarray(layouts.to_map(LAYOUT, BOXES, (4, 16)))[0]
  assert cells.shape == (4, 16, LAYOUT.channels)
  assert (cells[..., 1].sum(), cells[..., 2].sum()) == (2 * 8, 4 * 8)


def test_a_dropped_map_is_told_from_an_empty_one():
  empty = layouts.to_map(LAYOUT, np.array([[[-1.0] + [0] * 5]] * 2))
  dropped = np.asarray(layouts.drop(empty, jnp.array([True, False])))
  assert not dropped[0].any() and dropped[1].any()


def test_what_a_network_says_is_the_mean_of_names():
  logits = np.zeros([1, 1, LAYOUT.features], np.float32)
  logits[..., 1], logits[..., 4:6] = 50.0, 0.0
  logits[..., 6:] = (0.1, 0.2, 0.3, 0.4)
  x0 = np.asarray(layouts.expected(LAYOUT, logits))[0, 0]
  np.testing.assert_allclose(
    x0, [-1, 1, -1, -1, 0, 0, 0.1, 0.2, 0.3, 0.4], atol=1e-6
  )


def test_a_layout_without_names_is_refused():
  with pytest.raises(ValueError, match='names of things and of colours'):
    layouts.Layout(things=(), colours=('natural',))
  with pytest.raises(ValueError, match='Layout.boxes is 0'):
    layouts.Layout(things=('fox',), colours=('natural',), boxes=0)
