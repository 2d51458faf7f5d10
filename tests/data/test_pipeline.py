"""Batches depend on (seed, k) alone; crops and their low-res pictures fit."""

import hashlib
import itertools

import numpy as np

from imagen_jax.data import pipeline
from imagen_jax.data.emoji_scenes import source


class Words:
  """A feed that counts letters."""

  def columns(self, captions):
    tokens = np.array([[len(c)] for c in captions], np.int32)
    return {'tokens': tokens, 'mask': tokens > 0}


def _batches(resolution, crop, factor, seed=0, split='train'):
  pictures = pipeline.Pictures(
    resolution=resolution, crop=crop, low_res_factor=factor
  )
  scenes = source.EmojiScenes(split, 'lite')
  return pipeline.Batches(scenes, Words(), pictures, 4, seed)


def test_batch_k_is_the_same_from_any_start():
  batches = _batches(64, 16, 4)
  direct = batches.batch(3)
  streamed = next(
    itertools.islice(pipeline.prefetch(_batches(64, 16, 4).batch, 1), 2, None)
  )
  for name in ('image', 'low_res', 'tokens', 'mask'):
    np.testing.assert_array_equal(direct[name], streamed[name])
  other = _batches(64, 16, 4, seed=1).batch(3)
  assert (other['tokens'] == direct['tokens']).all()  # the scenes are the same
  assert (other['image'] != direct['image']).any()  # the crops are not


def test_crops_are_windows_of_the_picture_on_the_low_res_grid():
  batch = _batches(256, 64, 4).batch(0)
  whole = _batches(256, None, 4).batch(0)
  assert batch['image'].shape == (4, 64, 64, 3)
  assert batch['low_res'].shape == (4, 16, 16, 3)
  for i in range(4):
    places = [
      (y, x)
      for y in range(0, 193, 4)
      for x in range(0, 193, 4)
      if (whole['image'][i, y : y + 64, x : x + 64] == batch['image'][i]).all()
    ]
    assert places, 'the crop is nowhere in the picture'
    assert any(
      (
        whole['low_res'][i, y // 4 : y // 4 + 16, x // 4 : x // 4 + 16]
        == batch['low_res'][i]
      ).all()
      for y, x in places
    )


def test_box_average_is_the_rounded_mean():
  image = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3).astype(np.uint8)
  out = pipeline.box_average(image, 2)
  expected = np.floor(image[0, :2, :2, 1].mean() + 0.5)
  assert out.shape == (2, 2, 2, 3)
  assert out[0, 0, 0, 1] == expected


def test_finite_split_wraps():
  batches = _batches(64, None, None, split='prompts')
  first, again = batches.batch(0), batches.batch(50)
  np.testing.assert_array_equal(first['image'], again['image'])


def test_scene_batches_are_the_released_ones():
  """Runs that resume rely on it: digests of batches of an earlier release."""
  found = {}
  for name, (resolution, crop, factor) in {
    'base': (64, None, None),
    'sr': (256, 64, 4),
  }.items():
    batch = _batches(resolution, crop, factor, seed=5).batch(3)
    parts = [batch[key].tobytes() for key in sorted(batch)]
    found[name] = hashlib.blake2b(b''.join(parts), digest_size=8).hexdigest()
  assert found == {'base': 'cd91a1692073985e', 'sr': '030802b16b641240'}
