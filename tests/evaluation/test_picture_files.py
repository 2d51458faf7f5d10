"""Pictures of a directory: which, in what order, and as what pixels."""

import os
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


def test_the_identity_is_of_what_the_files_hold(tmp_path):
  """Names, sizes and times may all be as before."""
  rng = np.random.default_rng(0)
  for name in ('a.bmp', 'b.bmp'):
    _write(tmp_path / name)
  paths = picture_files.listing(tmp_path)
  before = picture_files.identity(tmp_path, paths)
  about = paths[0].stat()
  noise = rng.integers(0, 256, (4, 6, 3), np.uint8)
  PIL.Image.fromarray(noise).save(paths[0])
  os.utime(paths[0], ns=(about.st_atime_ns, about.st_mtime_ns))
  assert paths[0].stat().st_size == about.st_size
  assert picture_files.identity(tmp_path, paths) != before


def test_what_is_no_file_is_an_error_and_no_picture_less(tmp_path):
  _write(tmp_path / 'a.png')
  os.mkfifo(tmp_path / 'b.png')
  paths = picture_files.listing(tmp_path)
  assert len(paths) == 2
  for ask in (picture_files.identity, lambda _, p: picture_files.read(p[1])):
    with pytest.raises(ValueError, match='b.png cannot be read: is no plain f'):
      ask(tmp_path, paths)


def test_a_damaged_profile_is_told_once(tmp_path, capsys):
  picture_files._note_profiles.cache_clear()
  for name in 'ab':
    PIL.Image.new('RGB', (4, 4)).save(
      tmp_path / f'{name}.png', icc_profile=b'nonsense'
    )
    picture_files.read(tmp_path / f'{name}.png')
  assert capsys.readouterr().err.count('note: the colour profile of') == 1
