"""Pictures that are sent in: what is taken, and how little is kept."""

import io

import numpy as np
import PIL.Image
import pytest

from imagen_jax.pages.playground import sources
from tests.support import painting


@pytest.mark.parametrize(
  ('data', 'pixel'),
  [
    (painting.file(color=(10, 20, 30)), (10, 20, 30)),
    (painting.file('RGBA', color=(0, 0, 0, 0)), (255, 255, 255)),  # over white
    (painting.file('I;16', color=65535), (255, 255, 255)),
    (painting.file('L', kind='JPEG', color=128), (128, 128, 128)),
    (painting.file(size=(1, 1)), (0, 0, 0)),
  ],
  ids=('plain', 'transparent', '16 bits', 'gray', 'tiny'),
)
def test_pictures_of_all_kinds(data, pixel):
  kept = sources.Pictures()
  picture = kept.add(data, 'photo.png')
  assert kept.get(picture.id) is picture and picture.data == data
  pixels = picture.pixels()
  assert pixels.shape == (picture.height, picture.width, 3)
  assert pixels.dtype == np.uint8 and tuple(pixels[0, 0]) == pixel
  with PIL.Image.open(io.BytesIO(picture.small)) as small:
    assert small.format == 'PNG' and max(small.size) <= 512


@pytest.mark.parametrize(
  ('data', 'said'),
  [
    (b'', 'the file cannot be used: empty file'),
    (b'GIF, or so it says', 'the file cannot be used: not a picture'),
    (painting.file()[:60], 'the file cannot be used: '),
    (
      painting.file('1', size=(5000, 4000)),
      'is 5000 x 4000, more than 16000000',
    ),
    (b'0' * (sources.BYTES + 1), 'more than 8388608'),
  ],
  ids=('empty', 'text', 'cut', 'many pixels', 'many bytes'),
)
def test_what_is_no_use(data, said):
  kept = sources.Pictures()
  with pytest.raises(ValueError, match=said):
    kept.add(data, 'photo.png')


@pytest.mark.parametrize(
  ('name', 'plain'),
  [
    ('photo.png', 'photo.png'),
    ('../../etc/passwd', 'passwd'),
    ('C:\\me\\photo.png', 'photo.png'),
    ('--out=x.png', 'out=x.png'),
    ('a\nb\x1b.png', 'ab.png'),
    ('x' * 500 + '.png', 'x' * 96 + '.png'),
    ('', 'picture'),
  ],
)
def test_names_are_only_shown(name, plain):
  assert sources.Pictures().add(painting.file(), name).name == plain


def test_a_mask_is_bright_somewhere():
  kept = sources.Pictures()
  assert kept.add(painting.file('L', color=128), 'm.png').bright
  assert not kept.add(painting.file('L', color=127), 'm.png').bright
  assert not kept.add(painting.file(color=(127, 128, 128)), 'm.png').bright


def test_the_last_ones_are_kept():
  kept = sources.Pictures()
  ids = [kept.add(painting.file(), 'x').id for _ in range(sources.KEPT + 1)]
  assert len(set(ids)) == sources.KEPT + 1
  assert [kept.get(id) is None for id in ids] == [True] + [False] * sources.KEPT
