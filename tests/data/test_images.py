"""The corrupt-file zoo: what is mended, what is refused, and by what name."""

import numpy as np
import PIL.Image
import pytest

from imagen_jax.data import images
from tests.support import zoo

GOOD, BAD = zoo.good(), zoo.bad()


def test_there_are_enough():
  assert len(GOOD) + len(BAD) + len(zoo.extreme()) > 50


@pytest.mark.parametrize('name', GOOD)
def test_good(name):
  data, size, corner = GOOD[name]
  assert images.header(data) == size
  image = images.decode(data)
  assert image.mode == 'RGB' and image.size == size
  seen = np.asarray(image)[zoo.H // 4, zoo.W // 4].astype(int)
  assert np.abs(seen - corner).max() <= 8, (seen, corner)
  other = np.asarray(image)[-zoo.H // 4, -zoo.W // 4].astype(int)
  assert np.abs(other - seen).max() > 20, 'the far corner is the same'


@pytest.mark.parametrize('name', BAD)
def test_bad(name):
  data, reason = BAD[name]
  with pytest.raises(images.BadPicture, match=f'^({reason})'):
    images.decode(data)


@pytest.mark.parametrize('name', zoo.extreme())
def test_extreme_sizes_decode(name):
  data, size = zoo.extreme()[name]
  assert images.header(data) == size
  assert images.decode(data).size == size


def test_a_jpeg_is_decoded_small_where_that_is_enough():
  image = zoo.picture(size=(1600, 1200))
  data = zoo.save(image, 'JPEG')
  assert images.decode(data, 300).size == (400, 300)
  assert images.decode(data, 301).size == (800, 600)
  assert images.decode(data, 2000).size == (1600, 1200)


def test_arrays():
  gray = np.full([4, 6], 0x8080, np.uint16)
  assert np.asarray(images.decode(gray))[0, 0].tolist() == [128] * 3
  clear = np.zeros([4, 6, 4], np.uint8)
  assert np.asarray(images.decode(clear))[0, 0].tolist() == [255] * 3
  with pytest.raises(images.BadPicture, match='an array float32'):
    images.decode(np.zeros([4, 6], np.float32))


def test_pillow_is_left_as_it_was():
  """A library's switches are everyone's."""
  assert PIL.Image.MAX_IMAGE_PIXELS == 89_478_485
  assert not PIL.ImageFile.LOAD_TRUNCATED_IMAGES
