"""Exact area coverage of polygons on a pixel grid.

Every polygon edge adds to each pixel the signed area between itself and the
right border of the pixel; a running sum along the row gives the winding number
averaged over each pixel (the accumulation buffer of font rasterisers). Nothing
is sampled, so averaging 4 x 4 pixels of a drawing gives the drawing at a
quarter of the size.

Coordinates are rounded to multiples of 2^-12 pixel. All sums are then exact in
float64 and do not depend on their order, which makes a window of a drawing
equal to the slice of the full drawing bit for bit.
"""

import numpy as np

_UNIT = 4096.0


def quantize(values):
  """Rounds coordinates in pixels to multiples of 2^-12."""
  return np.rint(values * _UNIT) / _UNIT


def _spread(first, last):
  """Row i repeated for the integers first[i] .. last[i] - 1.

  Returns (indices of the rows, the integers), both [n].
  """
  counts = np.maximum(last - first, 0)
  index = np.repeat(np.arange(len(counts)), counts)
  starts = np.cumsum(counts) - counts
  return index, np.arange(len(index)) - starts[index] + first[index]


def _split_rows(edges, top, bottom):
  """Cuts edges at integer y within [top, bottom].

  Args:
    edges: [n, 4] float64 x0, y0, x1, y1 in pixels, quantized.
  Returns:
    (index of the edge, row, xa, ya, xb, yb, sign), ya < yb, each [m].
  """
  x0, y0, x1, y1 = edges.T
  down = y0 < y1
  low_x, low_y = np.where(down, x0, x1), np.where(down, y0, y1)
  high_x, high_y = np.where(down, x1, x0), np.where(down, y1, y0)
  slope = (high_x - low_x) / np.maximum(high_y - low_y, 1 / _UNIT)
  first = np.maximum(np.floor(low_y), top).astype(np.int64)
  last = np.minimum(np.ceil(high_y), bottom).astype(np.int64)
  index, row = _spread(first, last)
  low_x, low_y, high_x, high_y, slope = (
    v[index] for v in (low_x, low_y, high_x, high_y, slope)
  )
  ya, yb = np.maximum(low_y, row), np.minimum(high_y, row + 1)
  xa = quantize(low_x + (ya - low_y) * slope)
  xb = np.where(yb == high_y, high_x, quantize(low_x + (yb - low_y) * slope))
  sign = np.where(down, 1.0, -1.0)[index]
  return index, row, xa, ya, xb, yb, sign


def winding(edges, owner, shapes, window):
  """Winding numbers averaged over pixels.

  Args:
    edges: [n, 4] float64 x0, y0, x1, y1 in pixels, quantized.
    owner: [n] int, which of the shapes an edge belongs to.
    shapes: their number s.
    window: (top, left, height, width) in pixels.
  Returns:
    [s, height, width] float64.
  """
  top, left, height, width = window
  x0, y0, x1, y1 = edges.T
  seen = np.minimum(x0, x1) < left + width
  seen &= (np.minimum(y0, y1) < top + height) & (np.maximum(y0, y1) > top)
  seen &= y0 != y1
  edges, owner = edges[seen], owner[seen]
  index, row, xa, ya, xb, yb, sign = _split_rows(edges, top, top + height)
  line = owner[index] * height + row - top
  # Each piece, now within one row, is cut at integer x. What lies left of the
  # window falls into one extra column, which counts in full for the first.
  right = xa <= xb
  low_x, low_y = np.where(right, xa, xb), np.where(right, ya, yb)
  high_x, high_y = np.where(right, xb, xa), np.where(right, yb, ya)
  slope = (high_y - low_y) / np.maximum(high_x - low_x, 1 / _UNIT)
  first = np.clip(np.floor(low_x), left - 1, left + width)
  last = np.clip(np.ceil(high_x), first + 1, left + width)
  index, column = _spread(first.astype(np.int64), last.astype(np.int64))
  low_x, low_y, high_x, high_y, slope, sign, line = (
    v[index] for v in (low_x, low_y, high_x, high_y, slope, sign, line)
  )
  outside = column < left
  xa = np.where(outside, low_x, np.maximum(low_x, column))
  xb = np.minimum(high_x, column + 1)
  ya = np.where(xa == low_x, low_y, quantize(low_y + (xa - low_x) * slope))
  yb = np.where(xb == high_x, high_y, quantize(low_y + (xb - low_x) * slope))
  rise = np.abs(yb - ya) * sign
  share = np.where(outside, 1.0, (xa + xb) / 2 - column)
  cell = line * (width + 1) + column - left
  size = shapes * height * (width + 1)
  # A piece in the extra column has share 1: all of it goes to column 0.
  # np.bincount refuses the index -1 that such a piece has in line 0.
  sums = np.bincount(
    np.concatenate([np.maximum(cell, 0), cell + 1]),
    np.concatenate([rise * (1 - share), rise * share]),
    minlength=size,
  )
  sums = sums.reshape(shapes, height, width + 1)[..., :width]
  return np.cumsum(sums, axis=-1)


def fill(number, rule):
  """Coverage in [0, 1] of averaged winding numbers.

  rule: 'nonzero' or 'evenodd', as in SVG.
  """
  if rule == 'evenodd':
    return np.abs(number - 2 * np.rint(number / 2))
  return np.minimum(np.abs(number), 1.0)
