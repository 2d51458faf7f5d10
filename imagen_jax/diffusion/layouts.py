"""Layouts: what is to be drawn where, as boxes and as a map of the picture.

Not in the paper. A layout is a list of boxes, each a thing of a list of names,
in a colour of another, at a place; a model that is told it need not find out
from a sentence what belongs where. Boxes are rows of six numbers,

  thing, colour, x, y, width, height      [b, n, 6]

thing and colour are places in the lists (no box: thing = -1); centre and sides
are in units of the picture, [0, 1], x to the right and y down.
"""

import dataclasses

import jax
import jax.numpy as jnp

NUMBERS = 6  # of a box
USUAL_SIDE = 0.35  # of a box; logarithms of sides count from here


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """The boxes that a stage can be told of."""

  things: tuple[str, ...]  # names, in the order of their numbers
  colours: tuple[str, ...]  # names, likewise; the first is the natural one
  boxes: int = 8  # at most, in a picture
  cells: int = 16  # of the map, each way

  def __post_init__(self):
    if not self.things or not self.colours:
      raise ValueError('a layout needs names of things and of colours')
    for name in ('boxes', 'cells'):
      if getattr(self, name) < 1:
        raise ValueError(
          f'Layout.{name} is {getattr(self, name)}; it must be at least 1'
        )

  @property
  def channels(self):
    """Numbers in a cell of the map."""
    return len(self.things) + len(self.colours) + 5

  @property
  def names(self):
    """How many things, with none as the last, and colours there are."""
    return len(self.things) + 1, len(self.colours)

  @property
  def features(self):
    """Numbers of a box where boxes are diffused."""
    return sum(self.names) + 4


def to_map(layout, boxes, cells=None):
  """Boxes [b, n, 6] -> map [b, rows, columns, channels] float32.

  A cell belongs to the last box that its centre lies in, and holds

    one-hot thing, one-hot colour, (dx, dy) from the box's centre in half sides,
    log(width / 0.35), log(height / 0.35), 1

  all zero but the last where nothing is. (A map that is not told is all zero:
  `drop`.) `cells` are (rows, columns); None = those of the layout.
  """
  rows, columns = cells or (layout.cells, layout.cells)
  thing, colour, x, y, width, height = jnp.moveaxis(
    boxes.astype(jnp.float32)[..., None, None], 2, 0
  )  # each [b, n, 1, 1]
  # Where there is no box its sides are 0, and nothing may be divided by them.
  width, height = jnp.maximum(width, 1e-3), jnp.maximum(height, 1e-3)
  dx = ((jnp.arange(columns) + 0.5) / columns - x) / (width / 2)
  dy = ((jnp.arange(rows)[:, None] + 0.5) / rows - y) / (height / 2)
  inside = (jnp.abs(dx) <= 1) & (jnp.abs(dy) <= 1) & (thing >= 0)
  later = jnp.cumsum(inside[:, ::-1], axis=1)[:, ::-1] - inside
  owns = jnp.where(later == 0, inside, False).astype(jnp.float32)

  def at_cells(numbers):  # [b, n, 1, 1] or wider -> [b, rows, columns, 1]
    return jnp.sum(owns * numbers, axis=1)[..., None]

  def named(numbers, words):  # [b, n, 1, 1] -> [b, rows, columns, words]
    one_hot = numbers[..., 0, 0, None] == jnp.arange(len(words))
    return jnp.einsum('bnij,bnc->bijc', owns, one_hot.astype(jnp.float32))

  sides = [side / USUAL_SIDE for side in (width, height)]
  parts = [named(thing, layout.things), named(colour, layout.colours)]
  parts += [at_cells(x) for x in (dx, dy, *map(jnp.log, sides))]
  return jnp.concatenate([*parts, jnp.ones_like(parts[-1])], axis=-1)


def drop(layout_map, dropped):
  """Takes the map from the examples where `dropped` [b] is true."""
  return jnp.where(dropped[:, None, None, None], 0.0, layout_map)


def to_vectors(layout, boxes):
  """Boxes [b, n, 6] -> what is diffused, [b, n, features] about [-1, 1].

  One-hot thing, the last of which is none, and colour (1 and -1), place, sides.
  """
  boxes = jnp.asarray(boxes, jnp.float32)
  thing, colour = jnp.moveaxis(boxes[..., :2], -1, 0)
  none = thing < 0
  names = jnp.where(none, len(layout.things), thing), jnp.where(none, 0, colour)
  one_hot = [
    2.0 * (number[..., None] == jnp.arange(count)) - 1
    for number, count in zip(names, layout.names)
  ]
  sides = jnp.maximum(boxes[..., 4:6], 1e-3)
  numbers = [2 * boxes[..., 2:4] - 1, 2 * jnp.log(sides / USUAL_SIDE)]
  numbers = jnp.concatenate(numbers, axis=-1)
  numbers = jnp.where(none[..., None], 0.0, numbers)
  return jnp.concatenate([*one_hot, numbers], axis=-1)


def split(layout, vectors):
  """[b, n, features] -> (things and none, colours, numbers [b, n, 4])."""
  things, colours = layout.names
  return jnp.split(vectors, [things, things + colours], axis=-1)


def expected(layout, outputs):
  """What a network says, as an x-prediction: both [b, n, features].

  It gives logits of the names: x0 is the mean over what they say, as a one-hot
  code of 1 and -1 (Dieleman et al. 2022, score interpolation).
  """
  *logits, numbers = split(layout, outputs)
  names = [2 * jax.nn.softmax(x, axis=-1) - 1 for x in logits]
  return jnp.concatenate([*names, numbers], axis=-1)


def from_vectors(layout, vectors):
  """The inverse of `to_vectors`, of inexact vectors [b, n, features].

  Names are the nearest, boxes stay inside the picture's bounds.
  """
  thing, colour, numbers = split(layout, vectors)
  thing, colour = jnp.argmax(thing, axis=-1), jnp.argmax(colour, axis=-1)
  names = [jnp.where(thing == len(layout.things), -1, thing), colour]
  return jnp.concatenate(
    [
      jnp.stack(names, axis=-1).astype(jnp.float32),
      jnp.clip((numbers[..., :2] + 1) / 2, 0.0, 1.0),
      jnp.clip(USUAL_SIDE * jnp.exp(numbers[..., 2:] / 2), 0.01, 1.0),
    ],
    axis=-1,
  )
