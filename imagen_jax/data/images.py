"""Picture files as they come -> upright RGB; section 4.1 says only "images".

  header(data)          (width, height) as seen, from the file's first bytes
  decode(data, side)    an RGB `PIL.Image` on white, upright, of 8 bits
  pixels(data, side)    the same, or as uint8 [h, w, 3] where that is faster

What can be mended is: EXIF orientation, alpha (over white), colour profiles,
CMYK, palettes, gray, 16 bits, animations (their first frame), a wrong extension
(contents decide). All else raises `BadPicture` with a short reason, by which
quarantined files are counted.
"""

import functools
import io
import math
import warnings

import numpy as np
import PIL.Image

from imagen_jax.data import colours, quick_jpeg
from imagen_jax.files import plain

# Nothing else is tried: some plug-ins of Pillow start other programs (EPS).
FORMATS = (
  'JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'AVIF', 'PPM', 'JPEG2000',
  'HEIF',
)  # fmt: skip
EXTENSIONS = (
  'jpg', 'jpeg', 'jpe', 'jfif', 'png', 'webp', 'gif', 'bmp', 'tif', 'tiff',
  'avif', 'jp2', 'heic', 'heif', 'ppm', 'pgm', 'pbm', 'pnm',
)  # fmt: skip
MAX_PIXELS = 89_000_000  # 267 MB as RGB; more is a bomb or no use for training
MAX_BYTES = 512 << 20  # of a file; that many pixels of 16 bits fit, bare
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

# MAX_PIXELS is below Pillow's own limit, and whoever exceeds it is listed.
warnings.filterwarnings('ignore', category=PIL.Image.DecompressionBombWarning)
# Such a picture counts as upright, and is one of many.
warnings.filterwarnings('ignore', 'Corrupt EXIF data', UserWarning)


class BadPicture(ValueError):
  """A picture that cannot be used; the message is the reason."""


def read(path) -> bytes:
  """The bytes of a picture file.

  Raises BadPicture for one that is larger than any picture, and OSError.
  """
  try:
    return plain.read(path, MAX_BYTES)
  except plain.TooLarge as e:
    raise BadPicture('too large a file') from e


def header(data) -> tuple[int, int]:
  """(width, height) of the upright picture; its pixels are not decoded.

  `data` is the bytes of a file, or of its beginning, or the file, opened.
  """
  image = opened(data)
  size = image.size
  # Pillow would decode a PNG to look for EXIF data behind its pixels.
  if image.format == 'PNG' and 'exif' not in image.info:
    return size
  return size[::-1] if orientation(image) in _SIDEWAYS else size


def profile_of(data: bytes | np.ndarray) -> str:
  """What becomes of the colour profile of a file, as `colours.fate` says it."""
  if isinstance(data, np.ndarray):
    return ''
  image = opened(data)
  return colours.fate(image.info.get('icc_profile'), image.mode)


def decode(
  data: bytes | np.ndarray, side: int | None = None
) -> PIL.Image.Image:
  """The picture as RGB, over white.

  Args:
    data: a file's bytes, or an array [h, w], [h, w, 1], [h, w, 3] or
      [h, w, 4] of uint8 or uint16.
    side: its shorter side may be smaller than the file's, but not than this: a
      JPEG is then decoded at 1/2, 1/4 or 1/8, which costs a fraction.
  """
  if isinstance(data, np.ndarray):
    return _flat(_from_array(data))
  return _decoded(_drafted(opened(data), side))


def decode_mask(data: bytes) -> PIL.Image.Image:
  """A file as RGB of 8 bits, upright, over black: what is clear is dark.

  Its numbers are no colours: a profile in it is passed over.
  """
  return _decoded(opened(data), over='black', managed=False)


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
    and colours.fate(image.info.get('icc_profile'), 'RGB') != 'converted'
  )
  values = quick_jpeg.decode(data, image.size) if plain else None
  return _decoded(image) if values is None else values


def _decoded(image, over='white', managed=True):
  """An opened picture, mended."""
  try:
    _scale_key(image)
    image.load()
    turned = orientation(image)
    image = _flat(image, over, managed)
  except BadPicture:
    raise
  except Exception as e:  # plug-ins raise whatever they like of damage
    raise BadPicture(_reason(e)) from e
  if turned in _UPRIGHT:
    image = image.transpose(_UPRIGHT[turned])
  return image


def opened(data) -> PIL.Image.Image:
  """The file with its header read and no pixel; raises BadPicture.

  `data` is its bytes, or the file, opened and plain.
  """
  if isinstance(data, bytes):
    if not data:
      raise BadPicture('empty file')
    data = io.BytesIO(data)
  try:
    image = PIL.Image.open(data, formats=_formats())
    width, height = image.size
  except PIL.UnidentifiedImageError as e:
    raise BadPicture(_unknown(data)) from e
  except Exception as e:
    raise BadPicture(_reason(e)) from e
  if width * height > MAX_PIXELS:
    raise BadPicture('too many pixels')
  if min(width, height) < 1:
    raise BadPicture('no pixels')
  return image


def _unknown(file):
  """Why no decoder takes a file."""
  file.seek(0)
  head = file.read(32)
  if head[4:8] == b'ftyp':
    if any(kind in head[8:] for kind in (b'heic', b'heix', b'hevc', b'heif')):
      return 'HEIC, which needs pillow-heif'
    if b'avi' in head[8:]:
      return 'AVIF that this Pillow cannot open'
  return 'not a picture'


@functools.cache
def _formats():
  """Those of `FORMATS` that this Pillow was built with."""
  PIL.Image.init()
  try:
    import pillow_heif  # not in the core: for what telephones take

    pillow_heif.register_heif_opener()
  except Exception:  # not there, or built for another Pillow
    pass
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
  except Exception:
    return 1


def _scale_key(image):
  """The transparent level of a PNG on the scale of its pixels in Pillow.

  Pillow gives it as the file has it, and pixels of 1, 2, 4 and 16 bits a
  channel as 8.
  """
  key, tile = image.info.get('transparency'), getattr(image, 'tile', None)
  if image.format != 'PNG' or isinstance(key, bytes | None) or not tile:
    return
  bits = {'1': 1, 'L;2': 2, 'L;4': 4, 'RGB;16B': 16}.get(tile[0].args)
  if bits == 16:
    image.info['transparency'] = tuple(level >> 8 for level in key)
  elif bits:
    image.info['transparency'] = key * 255 // (2**bits - 1)


def _flat(image, over='white', managed=True):
  """RGB of 8 bits, in sRGB if `managed`, transparent parts as `over`."""
  profile = image.info.get('icc_profile') if managed else None
  gray = image.mode in ('L', 'LA', 'La', '1', *_SIXTEEN_BIT)
  if image.mode == 'F':
    raise BadPicture('floating-point pixels')
  if image.mode in _SIXTEEN_BIT:
    image = _from_gray(np.asarray(image), image.info.get('transparency'))
  elif image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or (
    'transparency' in image.info
  ):
    image = image.convert('RGBA')
  elif image.mode not in ('RGB', 'L', 'CMYK', 'LAB'):
    image = image.convert('L' if image.mode == '1' else 'RGB')
  image = colours.to_srgb(image, profile, gray)
  if image.mode == 'RGBA':
    below = PIL.Image.new('RGBA', image.size, over)
    image = PIL.Image.alpha_composite(below, image)
  return image if image.mode == 'RGB' else image.convert('RGB')


def _from_gray(values, clear=None):
  """[h, w] of 16 bits (or of 8 in a wider type) -> L, or RGBA.

  `clear` is the level that is transparent, if any is.
  """
  if values.size and (values.min() < 0 or values.max() > 0xFFFF):
    raise BadPicture('more than 16 bits a pixel')
  levels = values
  if values.dtype != np.int32 or values.max() > 255:
    levels = (values.astype(np.uint32) + 128) // 257
  image = PIL.Image.fromarray(levels.astype(np.uint8))
  if not isinstance(clear, int):
    return image
  image = image.convert('RGBA')
  alpha = np.where(values == clear, 0, 255).astype(np.uint8)
  image.putalpha(PIL.Image.fromarray(alpha))
  return image


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
  if isinstance(error, OSError) and error.errno:
    return 'unreadable'  # the disk, not the picture
  return 'damaged'
