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

from imagen_jax.data.emoji_scenes import layouts

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

GRID = layouts.GRID


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
  centre, side = layouts.lone(draws, size)
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
  centres, side = layouts.tidy(draws, group.count)
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
  centres, sides = layouts.facing(draws, sizes, lie)
  items = ()
  for number, group in enumerate(groups):
    items += _items(group, number, (centres[number],), sides[number])
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
  centres, side = layouts.trio(draws, doubled, lie)
  items = ()
  for number, group in enumerate(groups):
    items += _items(group, number, centres[number], side)
  return Scene(
    groups=groups, items=items, relation=relation, background=background
  )


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
