"""Picture files as they come -> upright RGB; section 4.1 says only "images".

  header(data)          (width, height) as seen, from the file's first bytes
  decode(data, side)    an RGB `PIL.Image` on white, upright, of 8 bits
  pixels(data, side)    the same, or as uint8 [h, w, 3] where that is faster

What can be mended is: EXIF orientation, alpha (over white), CMYK, palettes,
gray, 16 bits, animations (their first frame), a wrong extension (contents
decide). All else raises `BadPicture` with a short reason, by which quarantined
files are counted.
"""

import functools
import io
import math
import struct
import warnings
import zlib

import numpy as np
import PIL.Image

from imagen_jax.data import quick_jpeg

# Nothing else is tried: some plug-ins of Pillow start other programs (EPS).
FORMATS = (
  'JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'AVIF', 'PPM', 'JPEG2000',
)  # fmt: skip
EXTENSIONS = (
  'jpg', 'jpeg', 'png', 'webp', 'gif', 'bmp', 'tif', 'tiff', 'avif', 'jp2',
)  # fmt: skip
MAX_PIXELS = 89_000_000  # 267 MB as RGB; more is a bomb or no use for training
HEAD = 64 << 10  # bytes that nearly always hold size and orientation

_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {
  2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
  3: PIL.Image.Transpose.ROTATE_180,
  4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
  5: PIL.Image.Transpose.TRANSPOSE,
  6: PIL.Image.Transpose.ROTATE_270,
  7: PIL.Image.Transpose.TRANSVERSE,
  8: PIL.Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_SIXTEEN_BIT = ('I;16', 'I;16B', 'I;16L', 'I;16N', 'I')

# What Pillow's plug-ins raise on damaged files.
_ERRORS = (
  OSError,
  ValueError,
  SyntaxError,
  TypeError,
  KeyError,
  IndexError,
  AttributeError,
  OverflowError,
  ZeroDivisionError,
  EOFError,
  MemoryError,
  NotImplementedError,
  struct.error,
  zlib.error,
  PIL.Image.DecompressionBombError,
)

# MAX_PIXELS is below Pillow's own limit, and whoever exceeds it is listed.
warnings.filterwarnings('ignore', category=PIL.Image.DecompressionBombWarning)
# Such a picture counts as upright, and is one of many.
warnings.filterwarnings('ignore', 'Corrupt EXIF data', UserWarning)


class BadPicture(ValueError):
  """A picture that cannot be used; the message is the reason."""


def header(data: bytes) -> tuple[int, int]:
  """(width, height) of the upright picture; its pixels are not decoded."""
  image = opened(data)
  size = image.size
  # Pillow would decode a PNG to look for EXIF data behind its pixels.
  if image.format == 'PNG' and 'exif' not in image.info:
    return size
  return size[::-1] if orientation(image) in _SIDEWAYS else size


def decode(
  data: bytes | np.ndarray, side: int | None = None
) -> PIL.Image.Image:
  """The picture as RGB.

  Args:
    data: a file's bytes, or an array [h, w], [h, w, 1], [h, w, 3] or
      [h, w, 4] of uint8 or uint16.
    side: its shorter side may be smaller than the file's, but not than this: a
      JPEG is then decoded at 1/2, 1/4 or 1/8, which costs a fraction.
  """
  if isinstance(data, np.ndarray):
    return _flat(_from_array(data))
  return _decoded(_drafted(opened(data), side))


def pixels(data: bytes | np.ndarray, side: int) -> PIL.Image.Image | np.ndarray:
  """What `decode` gives, of most JPEG files as an array, which is faster."""
  if isinstance(data, np.ndarray) or not quick_jpeg.found():
    return decode(data, side)
  image = _drafted(opened(data), side)
  plain = (
    image.format == 'JPEG'
    and image.mode == 'RGB'
    and min(image.size) >= side  # else it is not halved, and stays Pillow's
    and orientation(image) not in _UPRIGHT
  )
  values = quick_jpeg.decode(data, image.size) if plain else None
  return _decoded(image) if values is None else values


def _decoded(image):
  """An opened picture, mended."""
  try:
    image.load()
    turned = orientation(image)
    image = _flat(image)
  except BadPicture:
    raise
  except _ERRORS as e:
    raise BadPicture(_reason(e)) from e
  if turned in _UPRIGHT:
    image = image.transpose(_UPRIGHT[turned])
  return image


def opened(data: bytes) -> PIL.Image.Image:
  """The file with its header read and no pixel; raises BadPicture."""
  if not data:
    raise BadPicture('empty file')
  try:
    image = PIL.Image.open(io.BytesIO(data), formats=_formats())
  except PIL.UnidentifiedImageError as e:
    raise BadPicture('not a picture') from e
  except _ERRORS as e:
    raise BadPicture(_reason(e)) from e
  width, height = image.size
  if width * height > MAX_PIXELS:
    raise BadPicture('too many pixels')
  if min(width, height) < 1:
    raise BadPicture('no pixels')
  return image


@functools.cache
def _formats():
  """Those of `FORMATS` that this Pillow was built with."""
  PIL.Image.init()
  return tuple(name for name in FORMATS if name in PIL.Image.OPEN)


def _drafted(image, side):
  """Lets libjpeg leave out frequencies that resizing would remove."""
  if side is None or image.format not in ('JPEG', 'MPO'):
    return image
  scale = side / min(image.size)
  if scale < 1:
    # The decoder takes the smallest size that is not below this.
    image.draft(None, tuple(math.ceil(x * scale) for x in image.size))
  return image


def orientation(image):
  """EXIF orientation 1 to 8; damaged EXIF data counts as upright."""
  try:
    return image.getexif().get(_ORIENTATION, 1)
  except _ERRORS:
    return 1


def _flat(image):
  """RGB of 8 bits, transparent parts white."""
  if image.mode in _SIXTEEN_BIT:
    return _from_gray(np.asarray(image))
  if image.mode == 'F':
    raise BadPicture('floating-point pixels')
  if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or (
    'transparency' in image.info
  ):
    image = image.convert('RGBA')
    white = PIL.Image.new('RGBA', image.size, 'white')
    return PIL.Image.alpha_composite(white, image).convert('RGB')
  return image if image.mode == 'RGB' else image.convert('RGB')


def _from_gray(values):
  """[h, w] of 16 bits (or of 8 in a wider type) -> RGB."""
  if values.size and (values.min() < 0 or values.max() > 0xFFFF):
    raise BadPicture('more than 16 bits a pixel')
  if values.dtype != np.int32 or values.max() > 255:
    values = (values.astype(np.uint32) + 128) // 257
  return PIL.Image.fromarray(values.astype(np.uint8)).convert('RGB')


def _from_array(values):
  if values.ndim == 3 and values.shape[2] == 1:
    values = values[:, :, 0]
  good = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
  if not good or values.dtype not in (np.uint8, np.uint16) or not values.size:
    raise BadPicture(f'an array {values.dtype} {list(values.shape)}')
  if values.dtype == np.uint16:
    values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
  return PIL.Image.fromarray(values)


def _reason(error):
  """A few words that are alike for alike damage."""
  text = str(error).lower()
  if isinstance(error, PIL.Image.DecompressionBombError):
    return 'too many pixels'
  if isinstance(error, MemoryError):
    return 'not enough memory to decode'
  if 'truncated' in text or 'unexpected end' in text or 'incomplete' in text:
    return 'truncated'
  if 'too large' in text:
    return 'too large a block of metadata'
  if isinstance(error, NotImplementedError):
    return 'a variant of its format that is not supported'
  return 'damaged'
