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
    top, bottom: [n] int.
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


def _split_columns(pieces, left, right):
  """Cuts pieces that lie within one row at integer x within [left, right].

  What lies left of `left` becomes one piece of the column left - 1.

  Args:
    pieces: (xa, ya, xb, yb, sign), each [n], ya < yb.
    left, right: [n] int.
  Returns:
    (index of the piece, column, rise, share): the signed height of each part
    and the share of its column's width that lies left of it, each [m].
  """
  xa, ya, xb, yb, sign = pieces
  ahead = xa <= xb
  low_x, low_y = np.where(ahead, xa, xb), np.where(ahead, ya, yb)
  high_x, high_y = np.where(ahead, xb, xa), np.where(ahead, yb, ya)
  slope = (high_y - low_y) / np.maximum(high_x - low_x, 1 / _UNIT)
  first = np.clip(np.floor(low_x).astype(np.int64), left - 1, right)
  last = np.minimum(np.maximum(np.ceil(high_x), first + 1), right)
  index, column = _spread(first, last.astype(np.int64))
  low_x, low_y, high_x, high_y, slope, sign, left = (
    v[index] for v in (low_x, low_y, high_x, high_y, slope, sign, left)
  )
  outside = column < left
  xa = np.where(outside, low_x, np.maximum(low_x, column))
  xb = np.minimum(high_x, column + 1)
  ya = np.where(xa == low_x, low_y, quantize(low_y + (xa - low_x) * slope))
  yb = np.where(xb == high_x, high_y, quantize(low_y + (xb - low_x) * slope))
  share = np.where(outside, 1.0, (xa + xb) / 2 - column)
  return index, column, np.abs(yb - ya) * sign, share


def winding(edges, owner, windows):
  """Winding numbers averaged over pixels, each shape in a window of its own.

  Args:
    edges: [n, 4] float64 x0, y0, x1, y1 in pixels, quantized.
    owner: [n] int, which of the shapes an edge belongs to.
    windows: [shapes, 4] int top, left, height, width in pixels; what a shape
      has right of, above or below its window is not looked at.
  Returns:
    A list of [height, width] float64, one for each shape.
  """
  top, left, height, width = windows.T
  ends = np.cumsum(height * (width + 1))
  starts = ends - height * (width + 1)
  x0, y0, x1, y1 = edges.T
  seen = (np.minimum(x0, x1) < (left + width)[owner]) & (y0 != y1)
  seen &= np.minimum(y0, y1) < (top + height)[owner]
  seen &= np.maximum(y0, y1) > top[owner]
  edges, owner = edges[seen], owner[seen]
  index, row, *pieces = _split_rows(edges, top[owner], (top + height)[owner])
  owner = owner[index]
  line = starts[owner] + (row - top[owner]) * (width[owner] + 1)
  index, column, rise, share = _split_columns(
    pieces, left[owner], (left + width)[owner]
  )
  cell = line[index] + column - left[owner[index]]
  # A part of column left - 1 has share 1: all of it goes to column `left`, and
  # its own cell, which may be -1, receives nothing.
  sums = np.bincount(
    np.concatenate([np.maximum(cell, 0), cell + 1]),
    np.concatenate([rise * (1 - share), rise * share]),
    minlength=ends[-1],
  )
  return [
    np.cumsum(sums[a:b].reshape(h, w + 1)[:, :w], axis=1)
    for a, b, h, w in zip(starts, ends, height, width, strict=True)
  ]


def fill(number, rule):
  """Coverage in [0, 1] of averaged winding numbers.

  rule: 'nonzero' or 'evenodd', as in SVG.
  """
  if rule == 'evenodd':
    return np.abs(number - 2 * np.rint(number / 2))
  return np.minimum(np.abs(number), 1.0)
