"""Pictures that are sent in, to start from or to enlarge, and masks.

Kept as files, in memory, a few: decoded again when they are drawn from, so
that a command line with the same file draws the same picture.
"""

import collections
import dataclasses
import io
import secrets
import threading

import numpy as np

from imagen_jax.data import images
from imagen_jax.sampling import edits

BYTES = 8 << 20  # of a file at most
PIXELS = 16_000_000  # of a picture at most; three bytes each, decoded
KEPT = 16  # files, masks too; the oldest goes first
_NAME = 100  # characters of a file name that are kept
_SMALL = 512  # pixels, side of what the page shows


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
  """A picture file that can be decoded."""

  id: str
  name: str  # of the file, where it came from
  data: bytes = dataclasses.field(repr=False)
  width: int  # pixels
  height: int
  small: bytes = dataclasses.field(repr=False)  # a PNG
  bright: bool = True  # in the square in its middle: it may be a mask

  def pixels(self) -> np.ndarray:
    """uint8 [h, w, 3]."""
    return np.asarray(images.decode(self.data))

  def mask(self) -> np.ndarray:
    """bool [h, w], as `edits.mask_of` reads it."""
    return edits.mask_of(self.data)


class Pictures:
  """The last ones that were sent."""

  def __init__(self):
    self._kept = collections.OrderedDict()
    self._lock = threading.Lock()
    self._decoding = threading.Lock()  # one at a time: the memory of one

  def add(self, data: bytes, name: str) -> Picture:
    """Takes a file in; raises ValueError where it is no usable picture."""
    if len(data) > BYTES:
      raise ValueError(f'the file has {len(data)} bytes, more than {BYTES}')
    try:
      width, height = images.header(data)
      if width * height > PIXELS:
        raise ValueError(
          f'the picture is {width} x {height}, more than {PIXELS} pixels; make '
          'it smaller'
        )
      with self._decoding:
        image = images.decode(data)
        bright = bool(edits.square(edits.mask_of(data), 1).any())
        small = _png(image)
    except images.BadPicture as e:
      raise ValueError(f'the file cannot be used: {e}') from e
    picture = Picture(
      id=secrets.token_urlsafe(12),
      name=_plain(name),
      data=data,
      width=width,
      height=height,
      small=small,
      bright=bright,
    )
    with self._lock:
      self._kept[picture.id] = picture
      while len(self._kept) > KEPT:
        self._kept.popitem(last=False)
    return picture

  def get(self, id: str) -> Picture | None:
    with self._lock:
      return self._kept.get(id)


def _png(image):
  """A small PNG file of a picture."""
  image.thumbnail((_SMALL, _SMALL))
  file = io.BytesIO()
  image.save(file, 'PNG')
  return file.getvalue()


def _plain(name):
  """A file name without folders or what cannot be printed; short."""
  name = name.replace('\\', '/').rpartition('/')[2]
  name = ''.join(c for c in name if c.isprintable())[-_NAME:]
  return name.lstrip('-') or 'picture'
