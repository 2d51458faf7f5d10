"""Layouts that people write."""

import json
import struct
import zlib

import numpy as np
import pytest

from imagen_jax.diffusion import layouts
from imagen_jax.files import pictures
from imagen_jax.sampling import layout_files

LAYOUT = layouts.Layout(things=('fox', 'key'), colours=('natural', 'red'))
FOX = {'thing': 'fox', 'x': 0.25, 'y': 0.5, 'width': 0.3, 'height': 0.4}
KEY = {**FOX, 'thing': 'key', 'colour': 'red', 'x': 0.7}


def _write(path, *boxes, version=1):
  path.write_text(json.dumps({'format_version': version, 'boxes': [*boxes]}))
  return path


def test_a_file_becomes_rows_and_back(tmp_path):
  boxes = layout_files.read(_write(tmp_path / 'a.json', FOX, KEY))
  rows = layout_files.rows(LAYOUT, boxes, 3)
  assert rows.shape == (3, 2, 6)
  np.testing.assert_allclose(rows[2, 1], [1, 1, 0.7, 0.5, 0.3, 0.4])
  again = layout_files.boxes_of(LAYOUT, rows[0])
  np.testing.assert_array_equal(layout_files.rows(LAYOUT, again, 3), rows)
  text = layout_files.to_text(again)
  assert layout_files.parse(text, 'text') == again


def test_a_picture_carries_its_layout(tmp_path):
  boxes = layout_files.read(_write(tmp_path / 'a.json', KEY))
  text = {layout_files.KEY: layout_files.to_text(boxes)}
  image = np.zeros([8, 8, 3], np.uint8)
  pictures.write_png(tmp_path / 'a.png', image, text)
  assert layout_files.read(tmp_path / 'a.png') == boxes
  pictures.write_png(tmp_path / 'b.png', image, {})
  with pytest.raises(ValueError, match='b.png carries no layout'):
    layout_files.read(tmp_path / 'b.png')


def test_an_empty_layout_is_one(tmp_path):
  boxes = layout_files.read(_write(tmp_path / 'a.json'))
  assert layout_files.rows(LAYOUT, boxes, 1)[0, :, 0].tolist() == [-1]


@pytest.mark.parametrize(
  ('box', 'message'),
  [
    ({**FOX, 'x': 1.5}, "x of the box of 'fox' is 1.5; it must lie in"),
    ({**FOX, 'width': 0}, 'width .* must lie in'),
    ({**FOX, 'x': 'left'}, "box 1: x is 'left'; it must be float"),
    ({**FOX, 'z': 1}, "unknown field 'z'"),
    ({'thing': 'fox'}, 'box 1: .*missing'),
  ],
)
def test_a_wrong_box_is_told(tmp_path, box, message):
  with pytest.raises(ValueError, match=message):
    layout_files.read(_write(tmp_path / 'a.json', box))


def test_a_wrong_file_is_told(tmp_path):
  with pytest.raises(ValueError, match='does not exist; give a JSON file'):
    layout_files.read(tmp_path / 'none.json')
  with pytest.raises(ValueError, match='none.png does not exist'):
    layout_files.read(tmp_path / 'none.png')
  with pytest.raises(ValueError, match='format_version 2, this release reads'):
    layout_files.read(_write(tmp_path / 'a.json', version=2))
  with pytest.raises(ValueError, match='has 65 boxes; at most 64'):
    layout_files.read(_write(tmp_path / 'a.json', *[FOX] * 65))
  (tmp_path / 'b.json').write_text('[]')
  with pytest.raises(ValueError, match='b.json is no layout; it must hold'):
    layout_files.read(tmp_path / 'b.json')


def test_what_cannot_be_meant_is_told(tmp_path):
  """Deep nesting, and a picture whose header claims a billion pixels."""
  deep = tmp_path / 'deep.json'
  deep.write_text('[' * 200_000)
  with pytest.raises(ValueError, match='deep.json is nested too deep'):
    layout_files.read(deep)
  bomb = tmp_path / 'bomb.png'
  pictures.write_png(bomb, np.zeros([1, 1, 3], np.uint8), {})
  data = bytearray(bomb.read_bytes())
  data[16:24] = struct.pack('>II', 40_000, 40_000)
  data[29:33] = struct.pack('>I', zlib.crc32(bytes(data[12:29])))
  bomb.write_bytes(data)
  with pytest.raises(ValueError, match='carries no layout'):
    layout_files.read(bomb)
  with pytest.raises(ValueError, match='cannot be read: it is no whole PNG'):
    pictures.read_png(bomb)


def test_words_that_a_cascade_has_not_are_told(tmp_path):
  boxes = layout_files.read(_write(tmp_path / 'a', FOX | {'thing': 'dragon'}))
  with pytest.raises(ValueError, match="thing 'dragon' is none .*: fox, key"):
    layout_files.rows(LAYOUT, boxes, 1)
