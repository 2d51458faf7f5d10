"""The source: any index at any time, endless or finite."""

import numpy as np
import pytest

from imagen_jax.data.emoji_scenes import scenes, source, splits


def test_an_example_is_its_address():
  data = source.EmojiScenes('train', 'lite')
  later = source.EmojiScenes('train', 'lite')
  for index in (0, 17, 10**12):
    example = data.example(index, 64)
    again = later.example(index, 64)
    assert np.array_equal(example['image'], again['image'])
    assert example['caption'] == again['caption'] == data.caption(index)
    assert scenes.from_json(example['scene']) == data.scene(index)
    assert example['id'] == f'lite/train/{index}'


# The first captions of the training stream.
RELEASED = [
  'a yellow bell',
  'a picture of five orange mushrooms',
  'on a pale green background four robots',
  'an orange rocket above a red umbrella under a night sky',
]


def test_the_stream_is_the_released_one():
  # Another stream needs another VERSION: whoever trains must be able to tell.
  data = source.EmojiScenes('train', 'lite')
  said = [data.caption(index) for index in range(4)]
  assert scenes.VERSION == 1
  assert said == RELEASED


def test_splits_differ():
  firsts = {
    source.EmojiScenes(split, name).caption(3)
    for split in ('train', 'validation', 'test_iid')
    for name in splits.VOCABULARIES
  }
  assert len(firsts) == 6


def test_a_crop_is_a_part_of_the_picture():
  data = source.EmojiScenes('validation', 'lite')
  whole = data.example(4, 256)['image']
  part = data.example(4, 256, crop=(70, 31, 64, 48))['image']
  assert whole.shape == (256, 256, 3)
  assert whole.dtype == np.uint8
  assert np.array_equal(part, whole[70:134, 31:79])


def test_lengths():
  sizes = {
    split: len(source.EmojiScenes(split))
    for split in splits.SIZES
    if split != 'train'
  }
  assert sizes == {
    'validation': 2000,
    'test_iid': 1000,
    'test_binding': 500,
    'test_count': 500,
    'test_relation': 500,
    'test_place': 500,
    'test_both': 300,
    'prompts': 200,
  }
  with pytest.raises(TypeError, match='endless'):
    len(source.EmojiScenes('train'))


def test_bad_addresses_are_named():
  with pytest.raises(IndexError, match='2000 is outside lite/validation'):
    source.EmojiScenes('validation').caption(2000)
  with pytest.raises(IndexError, match='-1 is outside'):
    source.EmojiScenes('train').scene(-1)
  with pytest.raises(ValueError, match="'test': choose one of"):
    source.EmojiScenes('test')
  with pytest.raises(ValueError, match="'tiny': choose one of"):
    source.EmojiScenes('train', 'tiny')
