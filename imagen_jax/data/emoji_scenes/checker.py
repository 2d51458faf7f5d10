"""Checker: did the picture draw what was asked? Analysis by synthesis.

No training and no scene needed to read a picture: `segments` finds the things
in it, `matching` names each by the template that explains it best, and
`read` puts the names, colours, centres and the background together. `check`
then compares a reading with a scene record, part by part.

The scene record is what was asked. In this data set a caption without a colour
asks for natural colours and one without a place for white, so both are always
judged; 'next to' and 'and' leave the arrangement open, and the relation's
verdict is then None. A natural colour that looks like a named one counts as
that colour (an apple is a red apple).

Sharpness is judged too, mildly: what a flat ellipse or triangle explains
better than every sprite is a blob, and has no name.
"""

import dataclasses
import functools

import numpy as np

from imagen_jax.data.emoji_scenes import (
  drawing,
  matching,
  natural,
  scenes,
  segments,
  splits,
)

VERSION = 1  # Another number: records of evaluations are made anew.
DOUBTFUL = 0.2  # Cost above which other outlines are tried.
OBJECT_PRICE = 1.0  # What one more object must explain: pixels x difference^2.
CONTRASTS = (0.15, 0.25)  # To the background, for tighter outlines.
PIECE = 12  # Least pixels of a part that may be a thing of its own.
NEAR = 3  # Pixels between boxes of things that may be one.
PLACE = 0.08  # Largest mean difference to a background that bears its name.
CLEAR = 0.04  # Least difference of centres that makes a relation.
ASLANT = 0.5  # Least share of the offset that lies along the relation.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """One thing in a picture; centre and size in units of the picture."""

  noun: str | None  # None: something, but none of the vocabulary
  colour: str | None  # None: natural
  x: float
  y: float
  width: float
  height: float
  cost: float  # unexplained energy, 0 is perfect (matching.costs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
  """All that the checker sees in a picture."""

  found: tuple[Found, ...]
  background: str | None  # None: none of the vocabulary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
  """A picture against its scene; None for a part that was not asked."""

  objects: bool  # every asked noun is there and nothing else
  colours: bool | None
  count: bool
  relation: bool | None
  place: bool | None
  all: bool  # no part is False


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Thing:
  """Pixels taken for one object, and how well that goes."""

  mask: np.ndarray  # [r, r] bool
  match: matching.Match
  energy: float  # mean squared difference to the background, summed

  @property
  def loss(self) -> float:
    """Energy left unexplained, and the price of one more object."""
    return min(self.match.cost, 1.0) * self.energy + OBJECT_PRICE


def read(image: np.ndarray, vocabulary: str) -> Reading:
  """Reads a picture: uint8 [h, w, 3], 64 px or more -> `Reading`."""
  parts = segments.segment(image)
  known = matching.templates(vocabulary)
  look = functools.partial(_look, parts, known)
  masks = segments.split(parts.labels)
  things = [look(mask, masks) for mask in masks]
  things = _joined(_parted(things, look, parts.distance), look)
  size = parts.picture.shape[0]
  return Reading(
    found=tuple(_found(t, size) for t in things if not _is_strand(t)),
    background=_place(parts, vocabulary),
  )


def _look(parts, known, mask, others) -> _Thing:
  """Names the pixels of a mask; other things are painted over."""
  covered = np.zeros_like(mask)
  for other in others:
    covered |= other & ~mask
  # Soft edges belong to the thing.
  around = segments.grow(mask, 2) & ~segments.grow(covered, 1) | mask
  picture = np.where(around[..., None], parts.picture, parts.background)
  square = np.mean((parts.picture - parts.background) ** 2, axis=2)
  both = np.concatenate([picture, parts.background], axis=2)
  found = matching.match(both, segments.box(mask), known)
  return _Thing(mask=mask, match=found, energy=float(np.sum(square[mask])))


def _parted(things, look, distance):
  """Takes apart things that two or more objects explain better."""
  done = []
  for number, thing in enumerate(things):
    others = [t.mask for t in things[:number] + things[number + 1 :]]
    done += _best_parts(thing, others, look, distance)
  return done


def _best_parts(thing, others, look, distance):
  """The thing itself, or what lies in its outline where that costs less.

  Two that touch come apart when their outline shrinks, and the stains of a
  dirty background fall off at a higher contrast.
  """
  best = [thing]
  if thing.match.cost < DOUBTFUL:
    return best
  for masks in _outlines(thing.mask, distance):
    parts = [look(mask, others + masks) for mask in masks]
    if _loss(parts, thing) < _loss(best, thing):
      best = parts
  return best


def _outlines(mask, distance):
  """Other ways to see the mask: lists of masks."""
  for pixels in (1, 2, 3):
    cores = segments.label(segments.shrink(mask, pixels))
    masks = segments.shares(mask, cores, PIECE)
    if len(masks) > 1:
      yield masks
  for contrast in CONTRASTS:
    parts = segments.split(segments.label(mask & (distance > contrast)))
    masks = [part for part in parts if part.sum() >= PIECE]
    if masks:
      yield masks


def _loss(parts, thing):
  """Price of the parts, with what they leave out of the whole thing."""
  covered = sum(part.energy for part in parts)
  return sum(part.loss for part in parts) + thing.energy - covered


def _joined(things, look):
  """Joins things that one object explains better, such as severed parts."""
  things = sorted(things, key=lambda t: -t.energy)
  number = 1
  while number < len(things):
    piece = things[number]
    for rank, main in enumerate(things[:number]):
      if not _may_be_one(main, piece):
        continue
      others = [t.mask for t in things if t is not main and t is not piece]
      both = look(main.mask | piece.mask, others)
      if both.loss < main.loss + piece.loss:
        things[rank] = both
        del things[number]
        number = 0
        break
    number += 1
  return things


def _may_be_one(main, piece):
  """Whether it is worth a look: neighbours, one of them badly explained."""
  if max(main.match.cost, piece.match.cost) < DOUBTFUL / 2:
    return False
  a, b = segments.box(main.mask), segments.box(piece.mask)
  gap_x = max(a[0], b[0]) - min(a[2], b[2])
  gap_y = max(a[1], b[1]) - min(a[3], b[3])
  return max(gap_x, gap_y) <= NEAR


def _is_strand(thing):
  """Whether it is a nameless thin line, such as a horizon gone astray."""
  return thing.match.noun is None and not segments.shrink(thing.mask).any()


def _found(thing, size):
  left, top, right, bottom = (edge / size for edge in thing.match.box)
  return Found(
    noun=thing.match.noun,
    colour=thing.match.colour,
    x=(left + right) / 2,
    y=(top + bottom) / 2,
    width=right - left,
    height=bottom - top,
    cost=thing.match.cost,
  )


def _place(parts, vocabulary):
  """Name of the nearest background, None if none is near."""
  size = parts.picture.shape[0]
  seen = np.median(parts.background, axis=1)  # [r, 3]
  away = {
    name: np.mean(np.abs(drawing.background(name, size)[:, 0] / 255 - seen))
    for name in splits.vocabulary(vocabulary).backgrounds
  }
  nearest = min(away, key=away.get)
  return nearest if away[nearest] < PLACE else None


def check(image: np.ndarray, scene: scenes.Scene, vocabulary: str) -> Verdict:
  """Reads a picture and compares it with the scene it was asked for."""
  return compare(read(image, vocabulary), scene)


def compare(reading: Reading, scene: scenes.Scene) -> Verdict:
  """Compares a reading with a scene record, part by part."""
  groups = [
    [found for found in reading.found if found.noun == group.noun]
    for group in scene.groups
  ]
  nouns = {found.noun for found in reading.found}
  parts = {
    'objects': nouns == {group.noun for group in scene.groups},
    'colours': all(
      members and all(_coloured(found, group.colour) for found in members)
      for members, group in zip(groups, scene.groups, strict=True)
    ),
    'count': all(
      len(members) == group.count
      for members, group in zip(groups, scene.groups, strict=True)
    ),
    'relation': _related(groups, scene.relation),
    'place': reading.background == scene.background,
  }
  return Verdict(**parts, all=all(part is not False for part in parts.values()))


def _coloured(found, colour):
  """Whether the colour is the one asked for, as far as the eye can tell."""
  asked = splits.canonical(found.noun, colour)
  seen = splits.canonical(found.noun, found.colour)
  if asked == seen:
    return True
  # A cat's own colour lies between orange and yellow, and passes for both.
  near = natural.DOUBTFUL.get(found.noun, ())
  return None in (asked, seen) and (asked in near or seen in near)


def _related(groups, relation):
  """Whether group 0 lies where it should from group 1; None if not asked."""
  if relation not in scenes.RELATIONS:
    return None
  if not all(groups):
    return False
  centres = [
    np.mean([(found.x, found.y) for found in members], axis=0)
    for members in groups
  ]
  dx, dy = centres[0] - centres[1]
  along, across = (dx, dy) if relation in ('left', 'right') else (dy, dx)
  if relation in ('left', 'above'):
    along = -along
  return bool(along > CLEAR and along > ASLANT * abs(across))
