"""Captions from files, data sets and scenes; bad files are told by line."""

import dataclasses
import itertools

import pytest

from imagen_jax.data import captions, sources
from imagen_jax.data.emoji_scenes import source
from tests.support import sets

SPLITS = ('train', 'validation')


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
  with pytest.raises(ValueError, match='tfds:no_such_set.*prepare it first'):
    list(missing)


def test_captions_of_files_are_those_that_training_meets(tmp_path):
  """A cache made of others would lack some of them."""
  root = sets.folder(tmp_path / 'set', 5)
  (root / '001.txt').unlink()
  (root / '001.json').write_text('{"words": [" two\\n words ", "more"]}')
  (root / '002.txt').write_text(' \ufeffa\n fox ')
  reading = dataclasses.replace(sets.LOOSE, validation=0.2)
  for caption, lost in [(None, {'two words', 'more'}), ('words', set())]:
    place = str(tmp_path / f'index_{caption}')
    found = set(
      captions.parse(f'folder:{root}', feature=caption, index_dir=place)
    )
    source_of = sources.Folder(
      directory=str(root), caption=caption, index_dir=place, reading=reading
    )
    both = [source_of.open(split).captions() for split in SPLITS]
    assert found == {caption for split in both for caption in split}
    every = {'number 0', 'two words', 'more', '\ufeffa fox'}
    assert found == every - lost | {'number 3', 'number 4'}
  shards = sets.shards(tmp_path / 'shards', 2, 3)
  found = captions.parse(f'shards:{shards}/*.tar')
  assert list(found) == list(found) == [f'number {i}' for i in range(6)]
  with pytest.raises(ValueError, match='folder nowhere does not exist'):
    list(captions.parse('folder:nowhere'))
