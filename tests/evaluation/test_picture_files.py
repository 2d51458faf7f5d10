"""Pictures of a directory: which, in what order, and as what pixels."""

import threading

import numpy as np
import PIL.Image
import pytest

from imagen_jax.evaluation import picture_files


def _write(path, height=4, width=6, value=0):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = np.full((height, width, 3), value, np.uint8)
  PIL.Image.fromarray(image).save(path)


def test_lists_pictures_alone_and_by_name(tmp_path):
  for name in ('b.png', 'a/2.jpg', 'a/10.PNG'):
    _write(tmp_path / name)
  beside = 'sheet.png', 'colors_sheet.png', 'x_0_steps.png', 'x_0_chart.png'
  for name in beside:
    _write(tmp_path / name)
  _write(tmp_path / '.hidden' / 'c.png')
  _write(tmp_path / '.12345678.png')
  (tmp_path / 'scores.json').write_text('{}')
  found = picture_files.listing(tmp_path)
  names = [p.relative_to(tmp_path).as_posix() for p in found]
  assert names == ['a/10.PNG', 'a/2.jpg', 'b.png']
  before = picture_files.identity(tmp_path, found)
  assert before == picture_files.identity(str(tmp_path), found)
  assert before != picture_files.identity(tmp_path, found[:2])


def test_only_what_the_sampler_writes_beside_is_passed_over(tmp_path):
  for name in ('bedsheet.png', 'sheet.jpg', 'steps.png', 'a/b_steps.jpg'):
    _write(tmp_path / name)
  assert len(picture_files.listing(tmp_path)) == 4


def test_crop_is_the_square_in_the_middle(tmp_path):
  image = np.zeros((8, 20, 3), np.uint8)
  image[:, 6:14] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
  path = tmp_path / 'a.png'
  PIL.Image.fromarray(image).save(path)
  assert np.array_equal(picture_files.read(path), image)
  assert np.array_equal(picture_files.read(path, 8), image[:, 6:14])
  small = PIL.Image.fromarray(image[:, 6:14]).resize((4, 4), PIL.Image.BICUBIC)
  assert np.array_equal(picture_files.read(path, 4), np.asarray(small))


def test_batches_keep_their_order_and_read_ahead():
  seen = threading.Event()

  def load(n):
    if n == 3:
      seen.set()
    return n * n

  batches = picture_files.in_batches(load, range(7), 3)
  assert next(batches) == (range(3), [0, 1, 4])
  assert seen.wait(5)  # the next batch, though nobody asked
  assert [y for _, y in batches] == [[9, 16, 25], [36]]


def test_what_cannot_be_read_is_an_error(tmp_path):
  with pytest.raises(ValueError, match='is no directory'):
    picture_files.listing(tmp_path / 'none')
  with pytest.raises(ValueError, match='has no pictures'):
    picture_files.listing(tmp_path)
  path = tmp_path / 'a.png'
  path.write_bytes(b'no picture')
  with pytest.raises(ValueError, match=r'a\.png cannot be read: not a picture'):
    picture_files.read(path)
  batches = picture_files.in_batches(picture_files.read, [path], 2)
  with pytest.raises(ValueError, match='cannot be read'):
    next(batches)
