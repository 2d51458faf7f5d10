"""Colours are what the file says: profiles become sRGB, in every kind of file.

Profiles are made here, by the formulas of ICC.1: a matrix of primaries and a
curve; what comes out is compared with the arithmetic of the same formulas.
"""

import io
import struct

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from imagen_jax.data import colours, framing, images, pipeline, quick_jpeg
from imagen_jax.evaluation import picture_files
from imagen_jax.files import pictures
from imagen_jax.sampling import edits

# Columns: XYZ (D50) of red, green and blue; of Display P3, and of sRGB.
P3 = [[0.5151, 0.2919, 0.1572], [0.2412, 0.6922, 0.0666],
      [-0.0011, 0.0419, 0.7841]]  # fmt: skip
SRGB = [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606],
        [0.0139, 0.0971, 0.7141]]  # fmt: skip
GAMMA = 1.8
WHITE = 0.9642, 1.0, 0.8249


def _number(value):
  return struct.pack('>i', round(value * 65536))


def _profile(space, tags):
  """An ICC profile of version 2 with these tags."""
  tags = {b'wtpt': b'XYZ \0\0\0\0' + b''.join(map(_number, WHITE)), **tags}
  body, table, at = b'', b'', 128 + 4 + 12 * len(tags)
  for name, data in tags.items():
    data += b'\0' * (-len(data) % 4)
    table += name + struct.pack('>II', at + len(body), len(data))
    body += data
  head = struct.pack('>I4sI4s4s4s', at + len(body), b'lcms', 0x02400000,
                     b'mntr', space, b'XYZ ')  # fmt: skip
  head += b'\0' * 12 + b'acsp' + b'\0' * 28
  head += b''.join(map(_number, WHITE)) + b'\0' * 48
  return head + struct.pack('>I', len(tags)) + table + body


def _curve(gamma):
  return b'curv\0\0\0\0' + struct.pack('>IH', 1, round(gamma * 256))


def _of_primaries(matrix, gamma=GAMMA):
  columns = {
    name: b'XYZ \0\0\0\0' + b''.join(_number(row[i]) for row in matrix)
    for i, name in enumerate((b'rXYZ', b'gXYZ', b'bXYZ'))
  }
  curves = dict.fromkeys((b'rTRC', b'gTRC', b'bTRC'), _curve(gamma))
  return _profile(b'RGB ', columns | curves)


WIDE, GRAY = _of_primaries(P3), _profile(b'GRAY', {b'kTRC': _curve(GAMMA)})
SAME = PIL.ImageCms.ImageCmsProfile(
  PIL.ImageCms.createProfile('sRGB')
).tobytes()
COLOUR = 180, 90, 60


def _srgb(linear):
  linear = np.clip(linear, 0, 1)
  curve = np.where(
    linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
  )
  return 255 * curve


def _expected(colour, matrix=P3):
  linear = (np.array(colour) / 255) ** GAMMA
  return _srgb(np.linalg.solve(np.array(SRGB), np.array(matrix) @ linear))


def _saved(image, kind='PNG', **options):
  out = io.BytesIO()
  image.save(out, kind, **options)
  return out.getvalue()


def _seen(data):
  return np.asarray(images.decode(data))[20, 20].astype(float)


def _flat(mode='RGB', colour=COLOUR):
  return PIL.Image.new(mode, (64, 48), colour)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'TIFF', 'WEBP', 'AVIF'])
def test_wide_colours_become_srgb(kind):
  options = {'quality': 98} if kind in ('JPEG', 'WEBP', 'AVIF') else {}
  data = _saved(_flat(), kind, icc_profile=WIDE, **options)
  assert np.abs(_expected(COLOUR) - COLOUR).max() > 10
  assert np.abs(_seen(data) - _expected(COLOUR)).max() < 5
  assert images.profile_of(data) == 'converted'


def test_palettes_and_alpha_have_colours_too():
  expected = _expected(COLOUR)
  palette = _saved(_flat().quantize(4), icc_profile=WIDE)
  assert np.abs(_seen(palette) - expected).max() < 3
  clear = _flat('RGBA', (*COLOUR, 128))
  half = _seen(_saved(clear, icc_profile=WIDE))
  assert np.abs(half - (expected * 128 + 255 * 127) / 255).max() < 3
  keyed = _saved(_flat(), icc_profile=WIDE, transparency=COLOUR)
  assert _seen(keyed).tolist() == [255] * 3


@pytest.mark.parametrize('mode', ['L', 'LA', 'I;16'])
def test_gray_of_another_gamma(mode):
  level = {'L': 120, 'LA': (120, 255), 'I;16': 120 * 257}[mode]
  data = _saved(_flat(mode, level), icc_profile=GRAY)
  expected = _srgb((120 / 255) ** GAMMA)
  assert abs(expected - 120) > 5
  assert np.abs(_seen(data) - expected).max() < 2
  # A tool that made a picture gray may have left the profile of its colours.
  data = _saved(_flat(mode, level), icc_profile=WIDE)
  assert np.abs(_seen(data) - expected).max() < 2


def test_a_profile_of_srgb_changes_no_bit():
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  image = PIL.Image.fromarray(noise)
  data = _saved(image, icc_profile=SAME)
  np.testing.assert_array_equal(np.asarray(images.decode(data)), noise)
  assert images.profile_of(data) == ''
  with_it, without = (
    images.decode(_saved(image, 'JPEG', icc_profile=icc)) for icc in (SAME, b'')
  )
  np.testing.assert_array_equal(np.asarray(with_it), np.asarray(without))


@pytest.mark.parametrize(
  'profile',
  [b'nonsense', WIDE[:200], WIDE[:-30], b'\0' * 500, GRAY, b'x' * (9 << 20)],
  ids=['words', 'cut', 'cut late', 'zeros', 'of gray', 'huge'],
)
def test_a_profile_that_cannot_be_followed_is_ignored_and_told(
  profile, tmp_path, capsys
):
  path = tmp_path / 'odd.tif'
  path.write_bytes(_saved(_flat(), 'TIFF', icc_profile=profile))
  picture = edits.read(path)
  assert picture[20, 20].tolist() == list(COLOUR)
  assert f'note: the colour profile of {path} is' in capsys.readouterr().err


def test_data_edits_and_scores_see_the_same(tmp_path):
  noise = np.random.default_rng(1).integers(0, 256, (48, 48, 3), np.uint8)
  small = PIL.Image.fromarray(noise).resize((96, 96))
  data = _saved(small, 'JPEG', quality=95, icc_profile=WIDE)
  path = tmp_path / 'a.jpg'
  path.write_bytes(data)
  decoded = np.asarray(images.decode(data))
  np.testing.assert_array_equal(edits.read(path), decoded)
  np.testing.assert_array_equal(picture_files.read(path), decoded)
  whole = pipeline.Pictures(resolution=96)
  framed = framing.frame(framing.decoded(data, whole), whole)
  np.testing.assert_array_equal(framed, decoded)
  if quick_jpeg.found():  # which knows no profiles and must not be asked
    assert not isinstance(images.pixels(data, 48), np.ndarray)


def test_transparent_levels_of_every_depth():
  """PNG names them on the scale of the file, Pillow has eight bits."""
  values = np.full((48, 64), 0x1234, np.uint16)
  values[:24] = 0x4321
  deep = PIL.Image.fromarray(values)
  data = _saved(deep, transparency=0x1234)
  seen = np.asarray(images.decode(data))
  assert seen[0, 0].tolist() == [0x43] * 3 and seen[-1, 0].tolist() == [255] * 3
  for bits in (1, 2, 4):
    data = _gray_png(bits, values=(0, 1), clear=0)
    seen = np.asarray(images.decode(data))[0]
    bright = 255 // (2**bits - 1)
    assert seen[0].tolist() == [255] * 3 and seen[1].tolist() == [bright] * 3
    data = _gray_png(bits, values=(0, 1), clear=1)
    seen = np.asarray(images.decode(data))[0]
    assert seen[0].tolist() == [0] * 3 and seen[1].tolist() == [255] * 3


def _gray_png(bits, values, clear):
  """Two gray pixels of so many bits, one level of them transparent."""
  import zlib

  from tests.support import zoo

  row = (values[0] << (8 - bits)) | (values[1] << (8 - 2 * bits))
  head = struct.pack('>IIBBBBB', 2, 1, bits, 0, 0, 0, 0)
  return (
    b'\x89PNG\r\n\x1a\n'
    + zoo.png_chunk(b'IHDR', head)
    + zoo.png_chunk(b'tRNS', struct.pack('>H', clear))
    + zoo.png_chunk(b'IDAT', zlib.compress(bytes([0, row])))
    + zoo.png_chunk(b'IEND', b'')
  )


def test_what_is_written_says_that_it_is_srgb(tmp_path):
  noise = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
  pictures.write_png(tmp_path / 'a.png', noise, {'prompt': 'été'})
  with PIL.Image.open(tmp_path / 'a.png') as image:
    assert image.info['srgb'] == 0
  found, text = pictures.read_png(tmp_path / 'a.png')
  np.testing.assert_array_equal(found, noise)
  assert text == {'prompt': 'été'} == pictures.read_text(tmp_path / 'a.png')
  assert images.profile_of((tmp_path / 'a.png').read_bytes()) == ''


def test_fate_of_modes():
  assert colours.fate(None, 'RGB') == '' == colours.fate(SAME, 'RGBA')
  assert colours.fate(WIDE, 'P') == colours.fate(GRAY, 'I;16') == 'converted'
  assert colours.fate(WIDE, 'CMYK') == colours.fate(GRAY, 'RGB') == 'ignored'
