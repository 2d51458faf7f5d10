"""Masks as painters make them: what is transparent is kept, strokes survive."""

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from imagen_jax.pages.playground import sources
from imagen_jax.sampling import edits

STROKE = (2, 1, 5, 4)  # left, top, right, bottom


def _painted(mode, clear, ink, size=(8, 6)):
  image = PIL.Image.new(mode, size, clear)
  image.paste(ink, STROKE)
  return image


def _keyed():
  """Gray whose dark level is named as transparent, and a bright one as well."""
  return _painted('L', 255, 200), {'transparency': 255}


def _palette():
  image = _painted('P', 0, 1)
  image.putpalette([255, 255, 255] * 2)
  return image, {'transparency': 0}


MASKS = {
  'L': (_painted('L', 0, 255), {}),
  'black layer under nothing': (_painted('LA', (255, 0), (255, 255)), {}),
  'LA': (_painted('LA', (0, 0), (255, 255)), {}),
  'RGBA white beneath': (
    _painted('RGBA', (255, 255, 255, 0), (255, 255, 255, 255)), {},
  ),
  'RGBA': (_painted('RGBA', (0, 0, 0, 0), (255, 255, 255, 255)), {}),
  'RGBA, soft': (
    _painted('RGBA', (255, 255, 255, 127), (255, 255, 255, 128)), {},
  ),
  'P': _palette(),
  '1': (_painted('1', 0, 1), {}),
  'I;16': (_painted('I;16', 0, 65535), {}),
  'key': _keyed(),
}  # fmt: skip


@pytest.mark.parametrize('name', MASKS)
def test_what_is_transparent_or_dark_is_kept(name, tmp_path):
  image, options = MASKS[name]
  path = tmp_path / 'mask.png'
  image.save(path, **options)
  expected = np.zeros((6, 8), bool)
  expected[STROKE[1] : STROKE[3], STROKE[0] : STROKE[2]] = True
  mask = edits.read_mask(path, np.zeros((6, 8, 3), np.uint8))
  np.testing.assert_array_equal(mask, expected)
  kept = sources.Pictures().add(path.read_bytes(), 'mask.png')  # of the page
  np.testing.assert_array_equal(kept.mask(), expected)
  assert kept.bright


def test_a_mask_is_no_colour(tmp_path):
  """A profile would move the border between bright and dark."""
  lab = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile('LAB'))
  for level, drawn in ((127, False), (128, True)):
    PIL.Image.new('RGB', (4, 4), (level,) * 3).save(
      tmp_path / 'm.png', icc_profile=lab.tobytes()
    )
    data = (tmp_path / 'm.png').read_bytes()
    assert edits.mask_of(data).all() == drawn


@pytest.mark.parametrize('side', [5, 64, 100, 4096, 5000])
def test_a_stroke_of_one_pixel_survives(side):
  mask = np.zeros((side, side), bool)
  mask[side // 3, : side // 2] = True
  small = edits.square(mask, 64)
  rows = small.any(axis=1).sum()
  assert rows == (14 if side == 5 else 1)  # 14 of 64 touch one of 5
  source = edits.Source(picture=np.zeros((side, side, 3), np.uint8), mask=mask)
  for resolution in (8, 64):
    np.testing.assert_array_equal(
      source.at(resolution, 1).mask[0], edits.touched(mask, (resolution,) * 2)
    )
    assert source.at(resolution, 1).mask.any()


def test_each_pixel_is_drawn_where_any_of_it_is():
  """By the definition, pixel by pixel."""
  mask = np.random.default_rng(0).random((7, 10)) < 0.2
  for size in ((3, 4), (7, 10), (16, 9), (1, 1)):
    scale = 7 / size[0], 10 / size[1]
    for i in range(size[0]):
      for j in range(size[1]):
        covered = [
          mask[y, x]
          for y in range(7)
          for x in range(10)
          if y + 1 > i * scale[0] + 1e-9
          and y < (i + 1) * scale[0] - 1e-9
          and x + 1 > j * scale[1] + 1e-9
          and x < (j + 1) * scale[1] - 1e-9
        ]
        assert edits.touched(mask, size)[i, j] == any(covered)


def test_a_mask_that_is_empty_where_it_counts_is_an_error(tmp_path):
  like = np.zeros((8, 20, 3), np.uint8)
  mask = np.zeros((8, 20), np.uint8)
  mask[:, :6] = 255  # left of the square in the middle
  PIL.Image.fromarray(mask).save(tmp_path / 'm.png')
  with pytest.raises(ValueError, match='m.png is dark .* in the square in its'):
    edits.read_mask(tmp_path / 'm.png', like)
  data = (tmp_path / 'm.png').read_bytes()
  assert not sources.Pictures().add(data, 'm.png').bright
  mask[:, 6] = 255
  PIL.Image.fromarray(mask).save(tmp_path / 'm.png')
  assert edits.square(edits.read_mask(tmp_path / 'm.png', like), 4).any()
  with pytest.raises(ValueError, match='mask is empty: nothing would be drawn'):
    edits.Source(picture=like[:, :8], mask=np.zeros((8, 8), bool))
