"""Whole pictures -> square targets and crops, with antialiasing; section 2.5.

The short side becomes `resolution`, what hangs over of the long side is cut
off; a super-resolution crop is a window of that square, on the low-res grid.
The filter is not in the paper; bicubic, widened when it shrinks, is what most
peers use.

  frame(image, pictures, u)   RGB of any size -> uint8 [c, c, 3]
"""

import math

import numpy as np
import PIL.Image

# A JPEG may be decoded at a fraction as long as this much is left to filter.
GAP = 2.0
_FILTER = PIL.Image.Resampling.BICUBIC
_SUPPORT = 2  # of the filter, in pixels of the coarser grid


def decode_side(pictures):
  """Pixels of the short side below which decoding must not go."""
  return math.ceil(GAP * pictures.resolution)


def frame(image, pictures, u=None):
  """The square, or a crop of it.

  Args:
    image: an RGB `PIL.Image`.
    pictures: a `pipeline.Pictures`.
    u: four numbers in [0, 1): where the square lies and where the crop; None =
      the centre of both.
  """
  u = (0.5,) * 4 if u is None else u
  r, c = pictures.resolution, pictures.crop or pictures.resolution
  width, height = image.size
  short = min(width, height)
  # The square, in pixels of the source.
  left, top = int(u[0] * (width - short + 1)), int(u[1] * (height - short + 1))
  grid = pictures.low_res_factor or 1
  x, y = (int(v * ((r - c) // grid + 1)) * grid for v in (u[2], u[3]))
  scale = short / r  # source pixels of a target pixel
  return _window(image, (left, top), scale, (x, y), c, r)


def _window(image, corner, scale, place, crop, resolution):
  """uint8 [crop, crop, 3]: a window of the resized square.

  The pixels around it take part as in the whole picture: some more of it is
  resized, and cut off again.
  """
  margin = math.ceil(_SUPPORT * max(1.0, 1.0 / scale)) + 1
  low = [max(0, v - margin) for v in place]
  high = [min(resolution, v + crop + margin) for v in place]
  box = [
    corner[axis] + scale * edge[axis] for edge in (low, high) for axis in (0, 1)
  ]
  size = (high[0] - low[0], high[1] - low[1])
  if scale != 1 or image.size != size:
    image = image.resize(size, _FILTER, box=_inside(box, image.size))
  x, y = place[0] - low[0], place[1] - low[1]
  return np.array(image)[y : y + crop, x : x + crop]


def _inside(box, size):
  """Rounding must not put an edge outside the picture by 1e-12."""
  return tuple(min(max(v, 0.0), float(size[i % 2])) for i, v in enumerate(box))
