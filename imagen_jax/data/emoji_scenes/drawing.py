"""Draws scenes of sprites at any resolution with numpy alone.

Coverage is exact area coverage (coverage.py); colours are mixed in sRGB, as
browsers do. Boxes lie on a grid of 64 x 64 cells of the picture, so that boxes
at 64, 256 and 1024 pixels are whole pixels and the same box.

  scene.background, scene.items[i].{noun, colour, x, y, side}  -> [h, w, 3]
"""

import functools

import numpy as np

from imagen_jax.data.emoji_scenes import coverage, sprites

GRID = 64  # cells of the picture that boxes are placed on
_CACHED = 48  # pixels; larger sprites are drawn when needed
_STRIP = 65536  # pixels composited at once, for the processor's caches

# (height in units of the picture, '#rrggbb') stops, linear in between; two
# stops at one height make an edge. Edges lie on multiples of 1/64.
_STOPS = {
  'white': ((0, '#ffffff'),),
  'pale blue': ((0, '#d3e8fb'),),
  'pale yellow': ((0, '#fdf6c9'),),
  'pale green': ((0, '#d8f3d3'),),
  'pale pink': ((0, '#fde0ea'),),
  'beach': (
    (0, '#a5dcf7'),
    (30 / 64, '#d9f2fb'),
    (30 / 64, '#3fb6c9'),
    (42 / 64, '#8fdcd8'),
    (42 / 64, '#efdcae'),
    (1, '#e3c88f'),
  ),
  'grass': (
    (0, '#bfe4fa'),
    (32 / 64, '#e6f5fc'),
    (32 / 64, '#9ed36a'),
    (1, '#74b84a'),
  ),
  'night sky': ((0, '#0b1033'), (1, '#2b2f6b')),
  'snow': (
    (0, '#aab9c9'),
    (36 / 64, '#d2dde7'),
    (36 / 64, '#f7fafd'),
    (1, '#e4edf6'),
  ),
  'sea': ((0, '#5cc4dc'), (1, '#0e5c8c')),
  'desert': (
    (0, '#f6d9a8'),
    (34 / 64, '#fbeccb'),
    (34 / 64, '#dfa868'),
    (1, '#c98d4e'),
  ),
  'sunset': (
    (0, '#5b3f8c'),
    (0.35, '#c65a86'),
    (0.7, '#f99a6c'),
    (1, '#fdd38a'),
  ),
}

BACKGROUNDS = tuple(_STOPS)


@functools.lru_cache(maxsize=64)
def background(name, resolution):
  """A background as [resolution, 1, 3] float32 in [0, 255], read-only."""
  if name not in _STOPS:
    raise ValueError(
      f'no background {name!r}; backgrounds: {", ".join(BACKGROUNDS)}'
    )
  heights = np.array([stop[0] for stop in _STOPS[name]], np.float64)
  colours = np.stack([sprites.hex_to_rgb(stop[1]) for stop in _STOPS[name]])
  centres = (np.arange(resolution) + 0.5) / resolution
  # The last stop at or above the centre begins the band that holds it.
  below = np.searchsorted(heights, centres, side='right')
  low, high = below - 1, np.minimum(below, len(heights) - 1)
  span = np.where(high > low, heights[high] - heights[low], 1.0)
  t = ((centres - heights[low]) / span)[:, None]
  rows = colours[low] * (1 - t) + colours[high] * t
  rows = (255 * rows[:, None]).astype(np.float32)
  rows.setflags(write=False)
  return rows


@functools.cache
def _edges(noun):
  """Edges of a sprite on its grid.

  Returns:
    (edges [n, 4] int x0, y0, x1, y1; owner [n] int, the path of each; bounds
    [paths, 4] int x0, y0, x1, y1).
  """
  edges, owner, bounds = [], [], []
  for i, (_, _, _, polygons) in enumerate(sprites.load()['sprites'][noun]):
    for polygon in polygons:
      points = np.reshape(np.array(polygon), (-1, 2))
      edges.append(np.concatenate([points, np.roll(points, -1, axis=0)], 1))
      owner += [i] * len(points)
    points = np.concatenate([np.reshape(p, (-1, 2)) for p in polygons])
    bounds.append([*points.min(axis=0), *points.max(axis=0)])
  return np.concatenate(edges), np.array(owner), np.array(bounds)


@functools.cache
def _fills(noun, colour):
  """(rgb1 [paths, 4, 1, 1] float32 with a last one, opacities, rules)."""
  rgb = sprites.fills(noun, colour).astype(np.float32)
  rgb1 = np.concatenate([rgb, np.ones_like(rgb[:, :1])], axis=1)
  paths = sprites.load()['sprites'][noun]
  return (
    rgb1[..., None, None],
    [np.float32(p[1]) for p in paths],
    [p[2] for p in paths],
  )


def _intersect(bounds, window):
  """[paths, 4] top, left, height, width of the paths' boxes in a window."""
  x0, y0, x1, y1 = bounds.T
  y0 = np.maximum(np.floor(y0).astype(np.int64), window[0])
  x0 = np.maximum(np.floor(x0).astype(np.int64), window[1])
  y1 = np.minimum(np.ceil(y1).astype(np.int64), window[0] + window[2])
  x1 = np.minimum(np.ceil(x1).astype(np.int64), window[1] + window[3])
  height, width = np.maximum(y1 - y0, 0), np.maximum(x1 - x0, 0)
  return np.stack([y0, x0, height * (width > 0), width * (height > 0)], 1)


def rasterise(noun, colour, pixels, window):
  """The part of a sprite that a window shows.

  Args:
    noun, colour: as in `sprites.paths`.
    pixels: side of the whole sprite.
    window: (top, left, height, width) in pixels of the sprite, inside it.
  Returns:
    [4, height, width] float32 in [0, 1], premultiplied; planes, since NumPy
    mixes those four times as fast as interleaved pixels.
  """
  rgb1, opacities, rules = _fills(noun, colour)
  edges, owner, bounds = _edges(noun)
  scale = pixels / sprites.load()['grid']
  edges, bounds = coverage.quantize(edges * scale), bounds * scale
  top, left, height, width = window
  out = np.zeros((4, height, width), np.float32)
  rows = max(1, _STRIP // width)
  for start in range(top, top + height, rows):
    strip = start, left, min(rows, top + height - start), width
    parts = _intersect(bounds, strip)
    numbers = coverage.winding(edges, owner, parts)
    for i, (y, x, h, w) in enumerate(parts):
      if h == 0:
        continue
      alpha = coverage.fill(numbers[i], rules[i]).astype(np.float32)
      alpha *= opacities[i]
      part = out[:, y - top : y - top + h, x - left : x - left + w]
      part *= 1 - alpha
      part += alpha * rgb1[i]
  return out


@functools.lru_cache(maxsize=8192)
def _small(noun, colour, pixels):
  out = rasterise(noun, colour, pixels, (0, 0, pixels, pixels))
  out.setflags(write=False)
  return out


def sprite(noun, colour, pixels):
  """A whole sprite, [pixels, pixels, 4] float32 premultiplied in [0, 1].

  Small ones are cached and read-only.
  """
  if pixels <= _CACHED:
    out = _small(noun, colour, pixels)
  else:
    out = rasterise(noun, colour, pixels, (0, 0, pixels, pixels))
  return np.moveaxis(out, 0, -1)


def box(item, resolution):
  """(top, left, side) of an item in whole pixels.

  The box is placed on the 64 x 64 grid first; at 64, 256, 1024 (any multiple
  of 64) it is therefore the same part of the picture.
  """
  side = max(1, round(item.side * GRID))
  top = round(item.y * GRID - side / 2)
  left = round(item.x * GRID - side / 2)
  scale = resolution / GRID
  return round(top * scale), round(left * scale), max(1, round(side * scale))


def _paste(canvas, item, resolution, crop):
  """Draws an item on the float32 planes that hold the crop, in place."""
  top, left, side = box(item, resolution)
  y0, x0 = max(top, crop[0]), max(left, crop[1])
  y1 = min(top + side, crop[0] + crop[2])
  x1 = min(left + side, crop[1] + crop[3])
  if y0 >= y1 or x0 >= x1:
    return
  if side <= _CACHED:
    piece = _small(item.noun, item.colour, side)
    piece = piece[:, y0 - top : y1 - top, x0 - left : x1 - left]
  else:
    window = y0 - top, x0 - left, y1 - y0, x1 - x0
    piece = rasterise(item.noun, item.colour, side, window)
  y0, y1, x0, x1 = y0 - crop[0], y1 - crop[0], x0 - crop[1], x1 - crop[1]
  part = canvas[:, y0:y1, x0:x1]
  part *= 1 - piece[3]
  part += np.float32(255) * piece[:3]


def draw(scene, resolution, crop=None):
  """Draws a scene, or the window of it that `crop` shows.

  Args:
    scene: anything with `background` and `items`.
    resolution: side of the whole picture in pixels.
    crop: (top, left, height, width) in pixels; the result then equals that
      slice of the whole picture bit for bit, at the cost of the window.
  Returns:
    [height, width, 3] uint8.
  """
  crop = (0, 0, resolution, resolution) if crop is None else crop
  top, left, height, width = crop
  if min(top, left) < 0 or max(top + height, left + width) > resolution:
    raise ValueError(
      f'crop {crop} leaves the picture of {resolution} x {resolution} pixels'
      '; give (top, left, height, width) inside it'
    )
  rows = background(scene.background, resolution)[top : top + height]
  canvas = np.empty((3, height, width), np.float32)
  canvas[...] = np.moveaxis(rows, -1, 0)
  for item in scene.items:
    _paste(canvas, item, resolution, crop)
  planes = np.rint(canvas, out=canvas).astype(np.uint8)
  picture = np.empty((height, width, 3), np.uint8)
  for channel in range(3):  # four times as fast as one transposed copy
    picture[..., channel] = planes[channel]
  return picture
