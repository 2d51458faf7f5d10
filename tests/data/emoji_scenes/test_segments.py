"""Facts about taking pictures apart, against slow and plain references."""

import numpy as np
import pytest

from imagen_jax.data.emoji_scenes import drawing, segments


def flooded(mask):
  """Number and sizes of 8-connected components, by flood filling."""
  mask, sizes = mask.copy(), []
  while mask.any():
    stack, size = [tuple(np.argwhere(mask)[0])], 0
    while stack:
      y, x = stack.pop()
      if 0 <= y < len(mask) and 0 <= x < len(mask) and mask[y, x]:
        mask[y, x] = False
        size += 1
        stack += [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    sizes.append(size)
  return sorted(sizes)


@pytest.mark.parametrize('share', [0.0, 0.1, 0.3, 0.5, 1.0])
def test_labels_are_the_connected_components(share):
  mask = np.random.default_rng(3).random((24, 24)) < share
  labels = segments.label(mask)
  assert np.array_equal(labels > 0, mask)
  assert sorted(np.bincount(labels.ravel())[1:]) == flooded(mask)


@pytest.mark.parametrize('name', drawing.BACKGROUNDS)
def test_finds_the_background_though_an_object_touches_the_border(name):
  rows = drawing.background(name, 64) / 255
  picture = np.repeat(rows, 64, 1).astype(np.float32)
  picture[20:40, :25] = (0.9, 0.1, 0.5)
  picture += np.random.default_rng(0).normal(0, 0.01, picture.shape)
  found = segments.estimate_background(picture)
  assert np.abs(found - rows).max() < 0.06


def test_grow_and_shrink_are_each_others_mirror():
  mask = np.zeros((16, 16), bool)
  mask[5:11, 4:12] = True
  assert segments.box(segments.grow(mask, 2)) == (2, 3, 14, 13)
  assert np.array_equal(segments.shrink(segments.grow(mask, 2), 2), mask)


def test_shares_divide_a_mask_among_its_cores():
  mask = np.zeros((20, 30), bool)
  mask[4:16, 2:28] = True
  cores = np.zeros(mask.shape, int)
  cores[6:14, 4:10], cores[6:14, 20:26] = 1, 2
  left, right = segments.shares(mask, cores, 10)
  assert np.array_equal(left | right, mask) and not (left & right).any()
  assert left.sum() == right.sum() == mask.sum() / 2
