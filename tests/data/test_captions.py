"""Captions from files, data sets and scenes; bad files are told by line."""

import itertools

import pytest

from imagen_jax.data import captions
from imagen_jax.data.emoji_scenes import source


def _file(tmp_path, content):
  path = tmp_path / 'captions.txt'
  path.write_bytes(content)
  return captions.parse(str(path))


def test_one_caption_a_line_empty_ones_too(tmp_path):
  found = _file(tmp_path, 'a fox\n\n été \n</s>\nlast'.encode())
  assert list(found) == ['a fox', '', ' été ', '</s>', 'last']
  assert list(found) == list(found)  # again and again


def test_lines_end_at_newlines_alone(tmp_path):
  content = '\ufeffone\r\ntwo\u2028half\x0bline\r\n'.encode()
  assert list(_file(tmp_path, content)) == ['one', 'two\u2028half\x0bline']


def test_file_that_is_not_utf_8(tmp_path):
  found = _file(tmp_path, 'a fox\nun été\n'.encode('latin1'))
  with pytest.raises(ValueError, match=r'line 2 is not UTF-8 .byte 4 is 0xe9'):
    list(found)


def test_source_that_is_not_there(tmp_path):
  with pytest.raises(ValueError, match='nothing does not exist; give a file'):
    captions.parse(str(tmp_path / 'nothing'))
  with pytest.raises(ValueError, match='does not exist'):
    captions.parse(str(tmp_path))


def test_captions_are_those_that_training_meets():
  found = captions.parse('scenes:lite/train', count=5)
  scenes = source.EmojiScenes('train', 'lite')
  assert list(found) == [scenes.example(i, 8)['caption'] for i in range(5)]
  few = itertools.islice(captions.parse('scenes:lite/validation'), 3)
  assert len(list(few)) == 3
  assert len(list(captions.parse('scenes:lite/prompts', count=10**6))) < 10**6


def test_endless_scenes_need_a_number():
  with pytest.raises(ValueError, match='is endless: say how many with --count'):
    list(captions.parse('scenes:lite/train'))


def test_chain():
  assert list(captions.chain([['a', 'b'], [], ['c']])) == ['a', 'b', 'c']


def test_tfds(tmp_path):
  tfds = pytest.importorskip('tensorflow_datasets')
  del tfds
  missing = captions.parse('tfds:no_such_set', data_dir=str(tmp_path))
  with pytest.raises(ValueError, match='tfds:no_such_set.*prepare the data'):
    list(missing)
