"""Names one thing in a picture: the nearest of (object x colour) templates.

Second half of the checker (see `checker.py`): analysis by synthesis. A thing
is cut out in a window about its box and brought to a fixed grid; every
template is composited there on the background that the thing stands on, and
the one that leaves the least unexplained wins. The best few nouns may first
shift and stretch a little to fit (Lucas and Kanade 1981, the template held
still). Pictures are float32 in [0, 1]; templates premultiplied.
"""

import dataclasses
import functools

import numpy as np

from imagen_jax.data.emoji_scenes import drawing, splits

GRID = 28  # Pixels of the window that a thing is compared in.
COARSE = 14  # Pixels of the window for the first pass over all templates.
MARGIN = 0.15  # Empty border of the window, in units of the box.
SPRITE = 64  # Pixels at which templates are drawn before they are reduced.
FINALISTS = 5  # Nouns that get to shift and stretch.
HOPE = 2.5  # Times the best first cost that a finalist may have, and a bit.
SUSPECT = 0.06  # Cost above which a part of the thing may be out of sight.
HIDDEN = (1.15, 2.0)  # By how much a thing may be longer than what is seen.
GUESSES = 2  # Of hidden parts, that get to shift and stretch.
HOPELESS = 0.4  # Cost above which a thing has no name.
CERTAIN = 0.03  # Cost below which it surely has.
PLAIN = 0.75  # A flat shape at this share of the cost: a blob has no name.
ROUNDS = 3  # Steps of shifting and stretching.
FAINT = 0.004  # Added to an object's energy: sees no shape in faint traces.
ASPECT = 0.25  # Cost of a squared log ratio of height to width.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
  """The best template for one thing, and what it leaves unexplained."""

  noun: str | None  # None: nothing of the vocabulary
  colour: str | None  # None: natural, or no noun
  box: tuple[float, float, float, float]  # left, top, right, bottom, pixels
  cost: float  # unexplained energy, 0 is perfect, 2 nothing in common


@dataclasses.dataclass(frozen=True, kw_only=True)
class Templates:
  """All sprites of a vocabulary on the window's grid, k = noun x colour."""

  labels: tuple[tuple[str, str | None], ...]  # [k]
  paint: np.ndarray  # [k, g, g, 3] premultiplied colour
  clear: np.ndarray  # [k, g, g, 1] one minus opacity
  coarse_paint: np.ndarray  # [k, c, c, 3]
  coarse_clear: np.ndarray  # [k, c, c, 1]
  inner: np.ndarray  # [k, 4] drawn box in units of the sprite's square
  noun: np.ndarray  # [k] int, index of the noun


def cut(picture: np.ndarray, box, size: int) -> np.ndarray:
  """Window about a box of float [h, w, c], resampled to [size, size, c].

  The window is the box and its margin; what lies beyond the picture repeats
  its border.
  """
  left, top, right, bottom = box
  wide, high = MARGIN * (right - left), MARGIN * (bottom - top)
  rows = _weights(top - high, bottom + high, picture.shape[0], size)
  columns = _weights(left - wide, right + wide, picture.shape[1], size)
  height, width, channels = picture.shape
  lines = (rows @ picture.reshape(height, -1)).reshape(size, width, channels)
  return columns @ lines  # [size, width, c] -> [size, size, c]


def _weights(start, stop, pixels, size):
  """Triangle-filter weights [size, pixels] that resample [start, stop]."""
  step = (stop - start) / size
  centres = start + (np.arange(size) + 0.5) * step
  # Windows beyond the picture see its border.
  centres = np.clip(centres, 0.5, pixels - 0.5)
  away = np.abs(centres[:, None] - (np.arange(pixels) + 0.5))
  weights = np.maximum(0, 1 - away / max(1.0, step))
  return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@functools.lru_cache(maxsize=4)
def templates(name: str) -> Templates:
  """Draws and reduces every (noun, colour) of the vocabulary of that name."""
  vocabulary = splits.vocabulary(name)
  labels, paints, coarse, inner, nouns = [], [], [], [], []
  for index, noun in enumerate(vocabulary.nouns):
    colours = vocabulary.colours if noun in vocabulary.recolourable else ()
    for colour in (None, *colours):
      sprite = np.asarray(drawing.sprite(noun, colour, SPRITE))
      rows = np.nonzero(sprite[..., 3].max(1) > 0.3)[0]
      columns = np.nonzero(sprite[..., 3].max(0) > 0.3)[0]
      box = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
      labels.append((noun, colour))
      nouns.append(index)
      # Sprites may touch the border of their square: pad, then cut.
      pad = SPRITE // 4
      padded = np.pad(sprite, ((pad, pad), (pad, pad), (0, 0)))
      box_padded = tuple(edge + pad for edge in box)
      paints.append(cut(padded, box_padded, GRID))
      coarse.append(cut(padded, box_padded, COARSE))
      inner.append(np.array(box) / SPRITE)
  paint, coarse = np.stack(paints), np.stack(coarse)
  return Templates(
    labels=tuple(labels),
    paint=paint[..., :3],
    clear=1 - paint[..., 3:],
    coarse_paint=coarse[..., :3],
    coarse_clear=1 - coarse[..., 3:],
    inner=np.stack(inner),
    noun=np.array(nouns),
  )


def costs(drawn, seen, background) -> np.ndarray:
  """Unexplained energy: drawn [k, ...], seen and background [...] -> [k].

  The squared difference over the mean of both energies above the background:
  0 for equals, 2 for objects that share nothing, 4 for opposites.
  """
  energy = _mean_squares((seen - background)[None])
  energy = energy + _mean_squares(drawn - background)
  return 2 * _mean_squares(drawn - seen) / (energy + FAINT)


def _mean_squares(values):
  flat = values.reshape(len(values), -1)
  return np.einsum('kn,kn->k', flat, flat) / flat.shape[1]


def aspect_costs(known: Templates, chosen, box) -> np.ndarray:
  """Penalty for a box of another height to width ratio than the sprite's."""
  left, top, right, bottom = box
  inner = known.inner[chosen]
  own = (inner[:, 3] - inner[:, 1]) / (inner[:, 2] - inner[:, 0])
  return ASPECT * np.log((bottom - top) / (right - left) / own) ** 2


def match(scene: np.ndarray, box, known: Templates) -> Match:
  """Names what stands in a box.

  Args:
    scene: [r, r, 6], the picture and the background without it.
    box: left, top, right, bottom in pixels.
    known: the templates to choose from.
  """
  seen, behind = np.split(cut(scene, box, COARSE), 2, axis=2)
  drawn = known.coarse_paint + known.coarse_clear * behind
  first = costs(drawn, seen, behind)
  first = first + aspect_costs(known, slice(None), box)
  order = np.argsort(first)
  _, ranks = np.unique(known.noun[order], return_index=True)
  finalists = order[np.sort(ranks)][:FINALISTS]  # the best of each noun
  worst = first[finalists[0]] * HOPE + 0.1
  fits = [fit(scene, k, box, known) for k in finalists if first[k] <= worst]
  if min(fits)[0] > SUSPECT:
    fits += [fit(scene, *guess, known) for guess in hidden(scene, box, known)]
  cost, k, box = min(fits)
  noun, colour = known.labels[k]
  if cost > HOPELESS or (
    cost > CERTAIN and plain_cost(scene, box) < PLAIN * cost
  ):
    noun, colour = None, None
  return Match(noun=noun, colour=colour, box=box, cost=cost)


def fit(scene, k: int, box, known: Templates):
  """Lets template k shift and stretch, and takes its noun's best colour.

  Returns (cost, template, box).
  """
  family = np.nonzero(known.noun == known.noun[k])[0]
  paint, clear = known.paint[family], known.clear[family]
  best = None
  for turn in range(ROUNDS + 1):
    seen, behind = np.split(cut(scene, box, GRID), 2, axis=2)
    drawn = paint + clear * behind
    every = costs(drawn, seen, behind) + aspect_costs(known, family, box)
    first = int(np.argmin(every))
    cost = float(every[first])
    gain = 1.0 if best is None else best[0] - cost
    if gain > 0:
      best = cost, int(family[first]), box
    if gain < 0.01 or cost < 0.02 or turn == ROUNDS:
      return best
    box = _moved(drawn[first], seen, box)


def hidden(scene, box, known: Templates):
  """Guesses at things of which a part has the colour of the background.

  The box then shows one end of the thing; each sprite's own shape says how
  far the other end may reach. Returns the best few (template, box).
  """
  found = []
  for noun in range(int(known.noun[-1]) + 1):
    family = np.nonzero(known.noun == noun)[0]
    for longer in _longer(box, known.inner[family[0]], scene.shape[0]):
      seen, behind = np.split(cut(scene, longer, COARSE), 2, axis=2)
      drawn = known.coarse_paint[family] + known.coarse_clear[family] * behind
      every = costs(drawn, seen, behind)
      best = int(np.argmin(every))
      found.append((float(every[best]), int(family[best]), longer))
  return [(k, longer) for _, k, longer in sorted(found)[:GUESSES]]


def _longer(box, inner, size):
  """The box made as long as the sprite, on either side; may be empty."""
  left, top, right, bottom = box
  wide, high = right - left, bottom - top
  own = (inner[3] - inner[1]) / (inner[2] - inner[0])
  grown = []
  if HIDDEN[0] * high < own * wide < HIDDEN[1] * high:
    high = own * wide
    grown = [
      (left, top, right, top + high),
      (left, bottom - high, right, bottom),
    ]
  if HIDDEN[0] * wide < high / own < HIDDEN[1] * wide:
    wide = high / own
    grown = [
      (left, top, left + wide, bottom),
      (right - wide, top, right, bottom),
    ]
  return [g for g in grown if min(g) > -2 and max(g) < size + 2]


@functools.cache
def _shapes() -> np.ndarray:
  """Opacity of plain shapes that fill the box: [s, g, g, 1]."""
  size, fine = GRID, GRID * 8
  at = (np.arange(fine) + 0.5) / fine * (1 + 2 * MARGIN) - MARGIN
  x, y = np.meshgrid(2 * at - 1, 2 * at - 1)
  square = np.maximum(abs(x), abs(y)) <= 1
  drawn = (
    square,
    x**2 + y**2 <= 1,
    x**4 + y**4 <= 1,
    abs(x) + abs(y) <= 1,
    square & (2 * abs(x) <= 1 + y),
    square & (2 * abs(x) <= 1 - y),
  )
  return (
    np.stack(drawn)
    .reshape(-1, size, 8, size, 8, 1)
    .mean((2, 4))
    .astype(np.float32)
  )


def plain_cost(scene, box) -> float:
  """Cost of the best flat ellipse, rectangle or triangle in its own colour."""
  seen, behind = np.split(cut(scene, box, GRID), 2, axis=2)
  opacity = _shapes()
  weight = opacity / opacity.sum((1, 2), keepdims=True)
  colour = (weight * seen).sum((1, 2), keepdims=True)
  drawn = opacity * colour + (1 - opacity) * behind
  return float(costs(drawn, seen, behind).min())


def _moved(drawn, seen, box):
  """One damped Gauss-Newton step of the box's edges towards the picture."""
  u = ((np.arange(GRID) + 0.5) / GRID - 0.5).astype(np.float32)
  down = np.zeros_like(drawn)
  along = np.zeros_like(drawn)
  down[1:-1] = (drawn[2:] - drawn[:-2]) / 2
  along[:, 1:-1] = (drawn[:, 2:] - drawn[:, :-2]) / 2
  slopes = np.stack(
    [along, along * u[None, :, None], down, down * u[:, None, None]]
  ).reshape(4, -1)
  normal = slopes @ slopes.T
  damp = 0.05 * np.trace(normal) / 4 + 1e-6
  step = np.linalg.solve(
    normal + damp * np.eye(4), slopes @ (drawn - seen).reshape(-1)
  )
  # From pixels of the window to units of the box.
  x, wide, y, high = np.clip(step / GRID, -0.08, 0.08)
  left, top, right, bottom = box
  across, down = right - left, bottom - top
  x = (left + right) / 2 + x * across * (1 + 2 * MARGIN)
  y = (top + bottom) / 2 + y * down * (1 + 2 * MARGIN)
  across, down = across * (1 + wide) / 2, down * (1 + high) / 2
  return x - across, y - down, x + across, y + down
