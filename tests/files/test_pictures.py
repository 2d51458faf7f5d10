"""Picture files: names, metadata, contact sheets."""

import os

import numpy as np
import pytest

from imagen_jax.files import pictures


@pytest.mark.parametrize(
  ('prompt', 'name'),
  [
    ('A red fox, at sunset!', 'a-red-fox-at-sunset'),
    ('', 'empty'),
    ('../../etc/passwd', 'etc-passwd'),
    ('un café à Paris', 'un-cafe-a-paris'),
    ('ein Bär', 'ein-bar'),
    ('狐', '狐'),
    ('x' * 300, 'x' * pictures.NAME_LENGTH),
    ('\U00020000' * 70, '\U00020000' * 50),  # 200 bytes: 255 make a file name
  ],
)
def test_names_are_readable_and_safe(prompt, name):
  assert pictures.slug(prompt) == name


def test_different_prompts_have_different_names():
  long = 'a red fox ' * 20
  prompts = ['A fox', 'a fox!', 'a fox', long + 'a', long + 'b', 'A fox']
  names = pictures.slugs(prompts)
  assert names[0] == names[5] == 'a-fox'
  assert len(set(names[:5])) == 5


def test_png_keeps_pixels_and_text(tmp_path):
  image = np.random.default_rng(0).integers(0, 256, [9, 7, 3], np.uint8)
  text = {'prompt': 'zwei Füchse 狐', 'seed': '7'}
  pictures.write_png(tmp_path / 'a.png', image, text)
  read, metadata = pictures.read_png(tmp_path / 'a.png')
  np.testing.assert_array_equal(read, image)
  assert metadata == text
  assert os.listdir(tmp_path) == ['a.png']


def test_sheet_has_every_picture_in_its_row_and_column():
  colours = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
  sheet = pictures.Sheet(['one', 'two'], columns=3, resolution=16)
  for row in range(2):
    for column in range(3):
      tile = np.full([16, 16, 3], colours[row, column], np.uint8)
      sheet.add(row, column, tile)
  grid = np.asarray(sheet.image)
  tops, lefts = np.array([28, 28 + 44]) + 8, np.array([8, 32, 56]) + 8
  np.testing.assert_array_equal(grid[tops][:, lefts, 0], colours)


def test_sheet_of_many_pictures_stays_small():
  prompts = [f'prompt {i} ' + 'and so on ' * 50 for i in range(500)]
  sheet = pictures.Sheet(prompts, columns=4, resolution=1024)
  width, height = sheet.image.size
  assert width * height <= pictures.SHEET_PIXELS
  sheet.add(499, 3, np.zeros([1024, 1024, 3], np.uint8))
  assert np.asarray(sheet.image)[-12, -12].tolist() == [0, 0, 0]
