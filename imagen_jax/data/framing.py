"""Whole pictures -> square targets and crops, with antialiasing; section 2.5.

The short side becomes `resolution`, what hangs over of the long side is cut
off; a super-resolution crop is a window of that square, on the low-res grid.
The filter is not in the paper. Not below twice the resolution means of 2x2
pixels are taken, again and again, as the code of ADM does, whose U-Net this is;
then bicubic, widened by what is left to shrink. `Pictures.halve` False is
bicubic alone, as most other peers have it.

  decoded(data, pictures)     a file -> RGB of a size that is enough
  frame(image, pictures, u)   RGB of any size -> uint8 [c, c, 3]
"""

import dataclasses
import math

import numpy as np
import PIL.Image

from imagen_jax.data import images, quick_jpeg

# A JPEG may be decoded at a fraction as long as this much is left to filter.
GAP = 2.0
_FILTER = PIL.Image.Resampling.BICUBIC
_SUPPORT = 2  # of the filter, in pixels of the coarser grid


def decode_side(pictures):
  """Pixels of the short side below which decoding must not go."""
  return math.ceil(GAP * pictures.resolution)


def decoded(data, pictures):
  """The picture of a file's bytes, or of an array, as `frame` takes it."""
  side = decode_side(pictures)
  if pictures.halve:
    return images.pixels(data, side)
  return images.decode(data, side)


def frame(image, pictures, u=None):
  """The square, or a crop of it.

  Args:
    image: an RGB `PIL.Image`, or uint8 [h, w, 3].
    pictures: a `pipeline.Pictures`.
    u: four numbers in [0, 1): where the square lies and where the crop; None =
      the centre of both.
  """
  u = (0.5,) * 4 if u is None else u
  r, c = pictures.resolution, pictures.crop or pictures.resolution
  width, height = _size(image)
  short = min(width, height)
  # The square, in pixels of the source.
  left, top = int(u[0] * (width - short + 1)), int(u[1] * (height - short + 1))
  grid = pictures.low_res_factor or 1
  x, y = (int(v * ((r - c) // grid + 1)) * grid for v in (u[2], u[3]))
  scale = short / r  # source pixels of a target pixel
  window = _Window(corner=(left, top), place=(x, y), crop=c, whole=r)
  factor = _halvings(scale) if pictures.halve else 1
  return window.cut(image, scale, factor)


def _halvings(scale):
  """The largest power of two up to scale: what means of 2x2 may take."""
  return 2 ** max(0, math.floor(math.log2(scale)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Window:
  """A window of a square that is made smaller; (x, y) each."""

  corner: tuple[int, int]  # of the square, in the source
  place: tuple[int, int]  # of the window, in the target
  crop: int  # pixels of the window
  whole: int  # pixels of the target

  def cut(self, image, scale, factor):
    """uint8 [crop, crop, 3].

    The pixels around it take part as in the whole picture: some more of it is
    resized, and cut off again.
    """
    margin = math.ceil(_SUPPORT * max(1.0, 1.0 / scale)) + 1
    low = [max(0, v - margin) for v in self.place]
    high = [min(self.whole, v + self.crop + margin) for v in self.place]
    box = [
      self.corner[axis] + scale * edge[axis]
      for edge in (low, high)
      for axis in (0, 1)
    ]
    if factor > 1:
      image, box = self._halved(image, box, factor)
    if scale == factor:
      left, top, right, bottom = (round(v) for v in box)
      values = _array(image)[top:bottom, left:right]
    else:
      size = (high[0] - low[0], high[1] - low[1])
      box = _inside(box, _size(image))
      values = _array(_picture(image).resize(size, _FILTER, box=box))
    x, y = self.place[0] - low[0], self.place[1] - low[1]
    return values[y : y + self.crop, x : x + self.crop]

  def _halved(self, image, box, factor):
    """(means of factor x factor pixels, the box in them).

    Blocks are counted from the square's corner, so that every window has the
    same. Pillow rounds the mean of a block once, not at each halving.
    """
    x, y = self.corner
    # The first pixel of the first block, and the last of the last.
    first = [
      at + (edge - at) // factor * factor for at, edge in zip((x, y), box[:2])
    ]
    last = [
      min(at - (at - edge) // factor * factor, size)
      for at, edge, size in zip((x, y), box[2:], _size(image))
    ]
    region = tuple(int(v) for v in (*first, *last))
    inner = [(v - region[i % 2]) / factor for i, v in enumerate(box)]
    is_quick = isinstance(image, np.ndarray) and quick_jpeg.found()
    if factor == 2 and is_quick:
      left, top, right, bottom = region
      return quick_jpeg.halved(image[top:bottom, left:right]), inner
    return _picture(image).reduce(factor, region), inner


def _size(image):
  """(width, height)."""
  return image.shape[1::-1] if isinstance(image, np.ndarray) else image.size


def _picture(image):
  if isinstance(image, np.ndarray):
    return PIL.Image.fromarray(image)
  return image


def _array(image):
  return image if isinstance(image, np.ndarray) else np.array(image)


def _inside(box, size):
  """Rounding must not put an edge outside the picture by 1e-12."""
  return tuple(min(max(v, 0.0), float(size[i % 2])) for i, v in enumerate(box))
