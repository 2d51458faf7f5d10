"""Scenes: what a picture shows, and the generator that draws them at random.

A scene is one or two groups of like objects laid out without overlap on one
background. Coordinates are in units of the picture, [0, 1], x to the right and
y down. Every draw is a raw word of the counter-based generator Philox, keyed
by (version, stream) with the counter (index, attempt): a scene depends on its
address alone, whatever else was drawn before it, on every version of numpy.
"""

import dataclasses
import zlib

import numpy as np

# Part of the key of every draw: another number is another data set.
VERSION = 1

RELATIONS = ('left', 'right', 'above', 'below')
OPPOSITE = {
  'left': 'right',
  'right': 'left',
  'above': 'below',
  'below': 'above',
}
SIZES = ('small', 'big')

GRID = 64  # squares lie on cells of the picture: whole pixels at 64, 256, 1024
MARGIN = 0.04  # between any object and the border
GAP = 0.03  # between two objects
# Sides of a lone object, (least, most), by stated size.
LONE_SIDES = {None: (0.46, 0.55), 'small': (0.30, 0.34), 'big': (0.68, 0.74)}
# Sides of the members of a pair.
PAIR_SIDES = {None: (0.36, 0.40), 'small': (0.26, 0.29), 'big': (0.46, 0.48)}
# Sides of three objects that share a picture as one and two.
TRIO_SIDES = (0.34, 0.38)
# Layouts of a count: (least side, most side, centres).
COUNT_LAYOUTS = {
  2: (
    (0.36, 0.42, ((0.26, 0.5), (0.74, 0.5))),
    (0.36, 0.42, ((0.26, 0.28), (0.74, 0.72))),
  ),
  3: (
    (0.27, 0.285, ((0.17, 0.5), (0.5, 0.5), (0.83, 0.5))),
    (0.34, 0.39, ((0.5, 0.27), (0.26, 0.72), (0.74, 0.72))),
  ),
  4: ((0.3, 0.36, ((0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72))),),
  5: (
    (
      0.25,
      0.27,
      ((0.18, 0.18), (0.82, 0.18), (0.5, 0.5), (0.18, 0.82), (0.82, 0.82)),
    ),
    (
      0.26,
      0.285,
      ((0.17, 0.33), (0.5, 0.33), (0.83, 0.33), (0.33, 0.68), (0.67, 0.68)),
    ),
  ),
}
COUNT_JITTER = 0.005


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary:
  """The nouns, colours and backgrounds that scenes are made of."""

  name: str
  nouns: tuple[str, ...]
  colours: tuple[str, ...]
  backgrounds: tuple[str, ...]
  recolourable: frozenset[str]  # nouns that may take one of the colours


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """One object in the picture: a square of side `side` about (x, y)."""

  noun: str
  colour: str | None  # None: its natural colours
  x: float
  y: float
  side: float
  group: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
  """What a caption says of one kind of object."""

  noun: str
  colour: str | None  # None: its natural colours
  size: str | None  # 'small', 'big', None: ordinary
  count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
  """One picture; `relation` is that of group 0 to group 1."""

  groups: tuple[Group, ...]
  items: tuple[Item, ...]
  relation: str | None  # of RELATIONS, or 'next' (side by side), or None
  background: str


class Draws:
  """Uniforms of one address: a short, forgetful random stream."""

  def __init__(self, stream: str, index: int, attempt: int = 0):
    # The lowest counter word counts the blocks of this very stream.
    bits = np.random.Philox(
      key=(VERSION << 32) | zlib.crc32(stream.encode()),
      counter=(attempt << 64) | (index << 128),
    )
    words = bits.random_raw(40) >> np.uint64(11)
    self._uniforms = iter((words * 2.0**-53).tolist())

  def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * next(self._uniforms)

  def below(self, count: int) -> int:
    """An integer of 0, ..., count - 1."""
    return int(next(self._uniforms) * count)

  def pick(self, values):
    return values[int(next(self._uniforms) * len(values))]

  def chance(self, probability: float) -> bool:
    return next(self._uniforms) < probability


def to_json(scene: Scene) -> dict:
  """Returns the scene as plain dictionaries, lists, strings and numbers."""
  return {
    'groups': [dataclasses.asdict(group) for group in scene.groups],
    'items': [dataclasses.asdict(item) for item in scene.items],
    'relation': scene.relation,
    'background': scene.background,
  }


def from_json(record: dict) -> Scene:
  """Inverse of `to_json`."""
  return Scene(
    groups=tuple(Group(**group) for group in record['groups']),
    items=tuple(Item(**item) for item in record['items']),
    relation=record['relation'],
    background=record['background'],
  )


def arrangement(scene: Scene) -> str | None:
  """Returns where group 0 lies from group 1, whatever the caption says."""
  if len(scene.groups) < 2:
    return None
  centres = []
  for number in (0, 1):
    members = [item for item in scene.items if item.group == number]
    centres.append(
      (
        sum(item.x for item in members) / len(members),
        sum(item.y for item in members) / len(members),
      )
    )
  dx = centres[0][0] - centres[1][0]
  dy = centres[0][1] - centres[1][1]
  if abs(dx) >= abs(dy):
    return 'left' if dx < 0 else 'right'
  return 'above' if dy < 0 else 'below'


def generate(vocabulary: Vocabulary, draws: Draws) -> Scene:
  """Draws a scene: 30% one, 25% a count, 35% a pair, 10% one and two."""
  kind = draws.uniform()
  # White, which a caption may leave unsaid, is a good quarter of `lite`.
  plain, background = draws.chance(0.15), draws.pick(vocabulary.backgrounds)
  background = 'white' if plain else background
  if kind < 0.30:
    return one(vocabulary, draws, background)
  if kind < 0.55:
    return count(vocabulary, draws, background)
  if kind < 0.90:
    return pair(vocabulary, draws, background)
  return one_and_two(vocabulary, draws, background)


def colour(vocabulary: Vocabulary, draws: Draws, noun: str) -> str | None:
  """Draws a colour for the noun: its own in three of ten, where it may vary."""
  natural = draws.chance(0.3)
  choice = draws.pick(vocabulary.colours)
  return None if natural or noun not in vocabulary.recolourable else choice


def two_nouns(vocabulary: Vocabulary, draws: Draws) -> tuple[str, str]:
  """Draws two different nouns."""
  total = len(vocabulary.nouns)
  first = draws.below(total)
  second = (first + 1 + draws.below(total - 1)) % total
  return vocabulary.nouns[first], vocabulary.nouns[second]


def one(vocabulary, draws, background) -> Scene:
  """One object, small or big in two of five, near the middle."""
  noun = draws.pick(vocabulary.nouns)
  size = draws.pick((None, None, None, 'small', 'big'))
  group = Group(
    noun=noun, colour=colour(vocabulary, draws, noun), size=size, count=1
  )
  side = draws.uniform(*LONE_SIDES[size])
  room = min(0.12, 0.5 - MARGIN - side / 2)
  centre = (
    0.5 + draws.uniform(-room, room),
    0.5 + draws.uniform(-room, room),
  )
  return Scene(
    groups=(group,),
    items=_items(group, 0, (centre,), side),
    relation=None,
    background=background,
  )


def count(vocabulary, draws, background) -> Scene:
  """Two to five of one kind, all of one size, in a tidy layout."""
  noun = draws.pick(vocabulary.nouns)
  group = Group(
    noun=noun,
    colour=colour(vocabulary, draws, noun),
    size=None,
    count=2 + draws.below(4),
  )
  low, high, centres = draws.pick(COUNT_LAYOUTS[group.count])
  side = draws.uniform(low, high)
  centres = [
    (
      x + draws.uniform(-COUNT_JITTER, COUNT_JITTER),
      y + draws.uniform(-COUNT_JITTER, COUNT_JITTER),
    )
    for x, y in centres
  ]
  return Scene(
    groups=(group,),
    items=_items(group, 0, centres, side),
    relation=None,
    background=background,
  )


def pair_relation(draws: Draws) -> tuple[str | None, str]:
  """Draws (what the caption may say, how the groups really lie).

  Four of five state a relation; the others say 'next to' (side by side in
  either order) or merely 'and' (in any arrangement).
  """
  kind, lie = draws.uniform(), draws.pick(RELATIONS)
  if kind < 0.8:
    return lie, lie
  if kind < 0.9:
    return 'next', 'left' if lie in ('left', 'above') else 'right'
  return None, lie


def pair(vocabulary, draws, background) -> Scene:
  """Two different objects, one of them small or big in one of four."""
  nouns = two_nouns(vocabulary, draws)
  sizes = [None, None]
  marked, size = draws.below(8), draws.pick(SIZES)
  if marked < 2:
    sizes[marked] = size
  groups = tuple(
    Group(noun=noun, colour=colour(vocabulary, draws, noun), size=size, count=1)
    for noun, size in zip(nouns, sizes, strict=True)
  )
  relation, lie = pair_relation(draws)
  sides = [draws.uniform(*PAIR_SIDES[size]) for size in sizes]
  along, across = _two_places(draws, sides, lie)
  items = ()
  for number, group in enumerate(groups):
    centre = _centre(lie, along[number], across[number])
    items += _items(group, number, (centre,), sides[number])
  return Scene(
    groups=groups, items=items, relation=relation, background=background
  )


def one_and_two(vocabulary, draws, background) -> Scene:
  """One object beside two of another kind, named in either order."""
  nouns = two_nouns(vocabulary, draws)
  doubled = draws.below(2)
  groups = tuple(
    Group(
      noun=noun,
      colour=colour(vocabulary, draws, noun),
      size=None,
      count=1 + (number == doubled),
    )
    for number, noun in enumerate(nouns)
  )
  relation, lie = pair_relation(draws)
  side = draws.uniform(*TRIO_SIDES)
  along, across = _two_places(draws, (side, side), lie)
  spread = draws.uniform(side + GAP, 1 - 2 * MARGIN - side) / 2
  items = ()
  for number, group in enumerate(groups):
    offsets = (-spread, spread) if number == doubled else (0.0,)
    # The two stand centred, so that both stay clear of the border.
    base = 0.5 if number == doubled else across[number]
    centres = [_centre(lie, along[number], base + off) for off in offsets]
    items += _items(group, number, centres, side)
  return Scene(
    groups=groups, items=items, relation=relation, background=background
  )


def _two_places(draws, sides, lie):
  """Draws the centres of groups 0 and 1 along and across their relation."""
  first = 0 if lie in ('left', 'above') else 1
  slack = 1 - 2 * MARGIN - GAP - sides[0] - sides[1]
  before = draws.uniform(0, slack)
  between = draws.uniform(0, slack - before)
  along = [0.0, 0.0]
  along[first] = MARGIN + before + sides[first] / 2
  along[1 - first] = (
    MARGIN + before + sides[first] + GAP + between + sides[1 - first] / 2
  )
  across = []
  for side in sides:
    room = min(0.08, 0.5 - MARGIN - side / 2)
    across.append(0.5 + draws.uniform(-room, room))
  return along, across


def _centre(lie, along, across):
  return (along, across) if lie in ('left', 'right') else (across, along)


def _items(group, number, centres, side) -> tuple[Item, ...]:
  """Returns the group's items, their squares on whole cells of the grid."""
  cells = round(side * GRID)
  items = []
  for x, y in centres:
    left = round(x * GRID - cells / 2)
    top = round(y * GRID - cells / 2)
    items.append(
      Item(
        noun=group.noun,
        colour=group.colour,
        x=(left + cells / 2) / GRID,
        y=(top + cells / 2) / GRID,
        side=cells / GRID,
        group=number,
      )
    )
  return tuple(items)
