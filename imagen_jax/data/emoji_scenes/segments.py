"""Finds the things in a picture: background by rows, mask, components.

First half of the checker (see `checker.py`): the backgrounds of the data set
are constant along x, so the columns at the left and right border give the
background of every row, and what differs from it is foreground. Pictures here
are float32 [r, r, 3] in [0, 1].
"""

import dataclasses

import numpy as np
from PIL import Image
from scipy import ndimage

SIZE = 64  # Pixels of the working picture: what the base stage draws.
BORDER = 3  # Columns on each side that show the background.
CONTRAST = 0.075  # Least difference from the background, of [0, 1].
AGREE = 0.10  # Largest difference between the two borders of a row.
STRONG = 0.16  # Least difference that some pixel of a thing must have.
MOST = 16  # Things looked at; no scene has half as many.
SPECK = 10  # Pixels of the working picture; smaller things are not things.
_SQUARE = np.ones((3, 3), bool)  # a pixel and its eight neighbours


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segments:
  """A working picture taken apart."""

  picture: np.ndarray  # [r, r, 3] in [0, 1]
  background: np.ndarray  # [r, r, 3], nearly constant along x
  distance: np.ndarray  # [r, r], largest difference over the channels
  labels: np.ndarray  # [r, r] int, 0 = background, components from 1


def working_picture(image: np.ndarray) -> np.ndarray:
  """uint8 [h, w, 3] of any square size -> float32 [64, 64, 3] in [0, 1].

  A larger picture is smoothed a little before it is reduced, so that the
  grain of a super-resolution stage is not taken for shape.
  """
  if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
    raise ValueError(
      f'the checker reads uint8 [h, w, 3], got {image.dtype} '
      f'{list(image.shape)}; scale to 0..255 and convert first'
    )
  if image.shape[0] != image.shape[1] or image.shape[0] < SIZE:
    raise ValueError(
      f'the checker reads square pictures of {SIZE} px or more, got '
      f'{image.shape[0]} x {image.shape[1]}; resize or crop first'
    )
  if image.shape[0] > SIZE:
    # The triangle filter is twice as wide as a box: that is the smoothing.
    picture = Image.fromarray(image)
    picture = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    image = np.asarray(picture)
  return image.astype(np.float32) / 255


def estimate_background(picture: np.ndarray) -> np.ndarray:
  """Background [r, r, 3] from the border columns of each row.

  Where both borders agree, a straight line between them (a drawn background
  may drift along x); where they do not, an object touches one of them, and
  the side that more of the row's pixels resemble is believed.
  """
  left = np.median(picture[:, :BORDER], axis=1)  # [r, 3]
  right = np.median(picture[:, -BORDER:], axis=1)

  def support(colour):
    return np.sum(
      np.max(np.abs(picture - colour[:, None]), axis=2) < AGREE, axis=1
    )

  agree = np.max(np.abs(left - right), axis=1) < AGREE  # [r]
  believed = np.where((support(left) >= support(right))[:, None], left, right)[
    :, None
  ]
  along = np.linspace(0, 1, picture.shape[1], dtype=np.float32)[None, :, None]
  line = left[:, None] * (1 - along) + right[:, None] * along
  return np.where(agree[:, None, None], line, believed).astype(np.float32)


def _distance(picture, background):
  """Largest difference over the channels, [r, r], to the background nearby.

  A horizon drawn a pixel too high or low on its way across the picture is no
  object: the row above and the row below are as good as the pixel's own.
  """
  size = len(picture)
  rows = np.arange(size)
  nearest = None
  for shift in (0, -1, 1):
    other = background[np.clip(rows + shift, 0, size - 1)]
    away = np.max(np.abs(picture - other), axis=2)
    nearest = away if nearest is None else np.minimum(nearest, away)
  return nearest


def label(mask: np.ndarray) -> np.ndarray:
  """Components of a mask, 8-connected: int [r, r], numbered from 1.

  In the order of their last pixels, row by row.
  """
  labels, count = ndimage.label(mask, structure=_SQUARE)
  last = np.zeros(count + 1, int)
  np.maximum.at(last, labels.ravel(), np.arange(labels.size))
  numbers = np.zeros(count + 1, int)
  numbers[1:][np.argsort(last[1:])] = np.arange(1, count + 1)
  return numbers[labels]


def grow(mask: np.ndarray, pixels: int = 1) -> np.ndarray:
  """Dilates a mask by whole pixels, diagonals included."""
  return ndimage.binary_dilation(mask, _SQUARE, iterations=pixels)


def shrink(mask: np.ndarray, pixels: int = 1) -> np.ndarray:
  """Erodes a mask by whole pixels; beyond the border counts as empty."""
  return ndimage.binary_erosion(mask, _SQUARE, iterations=pixels)


def _things(labels: np.ndarray, distance: np.ndarray) -> np.ndarray:
  """Keeps the components that may be things, the most striking `MOST`.

  Lone pixels are noise even when they stand out, and a stain on the
  background is no thing if none of its pixels stands out.
  """
  sizes = np.bincount(labels.ravel())
  peaks = np.zeros(len(sizes))
  np.maximum.at(peaks, labels.ravel(), distance.ravel())
  kept = (sizes >= SPECK) & (peaks >= STRONG)
  kept[0] = False
  energy = np.bincount(labels.ravel(), distance.ravel() ** 2) * kept
  kept[np.argsort(-energy)[MOST:]] = False
  numbers = np.zeros(len(sizes), int)
  numbers[kept] = np.arange(1, kept.sum() + 1)
  return numbers[labels]


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
  """(left, top, right, bottom) of what is set, right and bottom beyond."""
  rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
  return (
    int(columns[0]),
    int(rows[0]),
    int(columns[-1]) + 1,
    int(rows[-1]) + 1,
  )


def split(labels: np.ndarray) -> list[np.ndarray]:
  """One mask per component."""
  return [labels == i for i in range(1, int(labels.max()) + 1)]


def shares(mask: np.ndarray, cores: np.ndarray, least: int):
  """Shares the mask among its cores of `least` pixels: masks of the parts.

  Cores grow step by step into the mask; a pixel goes to the first to come.
  """
  sizes = np.bincount(cores.ravel())
  sizes[0] = 0
  parts = [cores == i for i in np.nonzero(sizes >= least)[0]]
  taken = np.logical_or.reduce(parts)
  while True:
    before = taken
    for i, part in enumerate(parts):
      parts[i] = part | (grow(part) & mask & ~taken)
      taken = taken | parts[i]
    if np.array_equal(before, taken):
      return parts


def segment(image: np.ndarray) -> Segments:
  """Takes a uint8 picture apart; see the module's docstring."""
  picture = working_picture(image)
  background = estimate_background(picture)
  distance = _distance(picture, background)
  # Noise is measured where no object is: at the borders.
  border = np.concatenate([distance[:, :BORDER], distance[:, -BORDER:]])
  noise = np.median(border) * 2
  mask = distance > max(CONTRAST, 2.5 * noise)
  labels = _things(label(mask), distance)
  return Segments(
    picture=picture, background=background, distance=distance, labels=labels
  )
