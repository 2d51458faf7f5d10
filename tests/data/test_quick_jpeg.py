"""JPEG files by SIMD code: the pixels of Pillow, its reasons, or Pillow."""

import sys

import numpy as np
import PIL.Image
import pytest

from imagen_jax.data import framing, images, pipeline, quick_jpeg, sources
from tests.support import sets, zoo

simplejpeg = pytest.importorskip('simplejpeg')
cv2 = pytest.importorskip('cv2')

ZOO = zoo.good() | zoo.bad() | zoo.extreme()


def _noise(width, height):
  rng = np.random.default_rng(width)
  return PIL.Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def by_pillow(monkeypatch):
  """Calls a function as where the libraries are missing."""

  def call(function, *arguments):
    with monkeypatch.context() as patch:
      patch.setattr(quick_jpeg, '_libraries', lambda: None)
      return function(*arguments)

  return call


def _squares(data, resolution):
  """Squares and crops of a file, or the reason why there are none."""
  seen = []
  try:
    for halve in (True, False):
      pictures = pipeline.Pictures(resolution=resolution, halve=halve)
      image = framing.decoded(data, pictures)
      for u in (None, (0.9, 0.3, 0.6, 0.1)):
        seen.append(framing.frame(image, pictures, u))
      crop = pipeline.Pictures(
        resolution=resolution, crop=8, low_res_factor=4, halve=halve
      )
      seen.append(framing.frame(image, crop, (0.2, 0.2, 0.7, 0.4)))
  except images.BadPicture as e:
    return str(e)
  return seen


def _same(one, other):
  assert type(one) is type(other), (one, other)
  if isinstance(one, str):
    assert one == other
  else:
    for a, b in zip(one, other, strict=True):
      np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('name', ZOO)
def test_the_zoo_is_as_by_pillow(name, by_pillow):
  for resolution in (16, 33):
    found = _squares(ZOO[name][0], resolution)
    _same(found, by_pillow(_squares, ZOO[name][0], resolution))


@pytest.mark.parametrize(
  'options',
  [
    {'subsampling': 0},
    {'subsampling': 1},
    {'subsampling': 2},
    {'progressive': True},
    {'keep_rgb': True},
    {'restart_marker_blocks': 3},
  ],
)
@pytest.mark.parametrize(
  'size', [(64, 64), (67, 131), (200, 150), (513, 511), (1033, 700)]
)
def test_noise_is_as_by_pillow(size, options, by_pillow):
  data = zoo.save(_noise(*size), 'JPEG', quality=80, **options)
  for resolution in (16, 32, 50):
    _same(_squares(data, resolution), by_pillow(_squares, data, resolution))


def test_an_array_needs_no_libraries(by_pillow):
  picture, whole = _noise(70, 66), pipeline.Pictures(resolution=32)
  found = by_pillow(framing.frame, np.asarray(picture), whole)
  np.testing.assert_array_equal(found, framing.frame(picture, whole))


def test_it_is_in_use_where_it_pays():
  """Where a picture is not halved, or turned, or has no colours: Pillow."""
  assert quick_jpeg.found()
  data = zoo.save(_noise(100, 80), 'JPEG')
  assert isinstance(images.pixels(data, 40), np.ndarray)
  assert images.pixels(data, 40).shape == (40, 50, 3)
  for other, side in [
    (data, 81),
    (zoo.good()['orientation_6.jpg'][0], 40),
    (zoo.good()['cmyk.jpg'][0], 40),
    (zoo.good()['gray.jpg'][0], 40),
    (zoo.good()['alpha.png'][0], 40),
    (np.zeros([90, 90, 3], np.uint8), 40),
  ]:
    assert isinstance(images.pixels(other, side), PIL.Image.Image)


def test_a_damaged_file_is_left_to_pillow():
  """libjpeg goes on behind a warning; what it shows then is Pillow's affair."""
  data = bytearray(zoo.save(_noise(96, 96), 'JPEG'))
  data[len(data) // 2 : len(data) // 2 + 2] = b'\xff\xd9'  # an early end
  assert quick_jpeg.decode(bytes(data), (96, 96)) is None
  assert quick_jpeg.decode(b'', (96, 96)) is None


def test_libraries_that_show_other_pixels_are_not_used():

  class Nearest:
    """An OpenCV that takes one pixel of four."""

    BORDER_REPLICATE, INTER_AREA = cv2.BORDER_REPLICATE, cv2.INTER_NEAREST
    copyMakeBorder, resize = cv2.copyMakeBorder, cv2.resize

  class Fast:
    """A simplejpeg that is less exact."""

    @staticmethod
    def decode_jpeg(*arguments, **options):
      return simplejpeg.decode_jpeg(*arguments, fastupsample=True, **options)

  assert quick_jpeg._agree(simplejpeg, cv2)
  assert not quick_jpeg._agree(simplejpeg, Nearest)
  assert not quick_jpeg._agree(Fast, cv2)


@pytest.mark.parametrize('missing', ['simplejpeg', 'cv2'])
def test_batches_are_the_same_without_the_libraries(
  missing, tmp_path, monkeypatch
):
  root = sets.folder(tmp_path / 'set', 12, (70, 50))
  source = sources.Folder(directory=str(root), reading=sets.LOOSE)
  found = sets.batches(source.open('train')).batch(1)
  quick_jpeg._libraries.cache_clear()
  with monkeypatch.context() as patch:
    patch.setitem(sys.modules, missing, None)
    assert not quick_jpeg.found()
    expected = sets.batches(source.open('train')).batch(1)
  quick_jpeg._libraries.cache_clear()
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value)
