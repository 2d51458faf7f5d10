"""Vocabularies, splits, and the compositions that training never shows.

Five kinds of fact are held out, some of each: an object in a colour, an object
in a number, an object with a relation to another, an object on a background.
A scene belongs to a split by the kinds of held-out facts that it holds: none
in train, validation and test_iid, exactly one kind in test_binding,
test_count, test_relation and test_place, two in test_both. Facts are facts of
the picture: a natural colour is the colour it equals, and a relation holds
whether the caption tells it or not.
"""

from imagen_jax.data.emoji_scenes import natural, scenes, sprites

# Examples in each split; None: endless.
SIZES = {
  'train': None,
  'validation': 2000,
  'test_iid': 1000,
  'test_binding': 500,
  'test_count': 500,
  'test_relation': 500,
  'test_place': 500,
  'test_both': 300,
  'prompts': 200,
}
KINDS = ('binding', 'count', 'relation', 'place')

LITE = scenes.Vocabulary(
  name='lite',
  nouns=(
    'fox',
    'key',
    'cat',
    'car',
    'apple',
    'heart',
    'star',
    'fish',
    'umbrella',
    'balloon',
    'house',
    'tree',
    'bell',
    'robot',
    'rocket',
    'mushroom',
  ),
  colours=('red', 'orange', 'yellow', 'green', 'blue', 'pink'),
  backgrounds=(
    'white',
    'pale blue',
    'pale yellow',
    'pale green',
    'pale pink',
    'sunset',
    'night sky',
    'beach',
  ),
  recolourable=frozenset(sprites.RECOLOURABLE),
)
FULL = scenes.Vocabulary(
  name='full',
  nouns=tuple(sprites.OBJECTS),
  colours=tuple(sprites.COLOURS),
  backgrounds=(*LITE.backgrounds, 'grass', 'snow', 'sea', 'desert'),
  recolourable=frozenset(sprites.RECOLOURABLE),
)
VOCABULARIES = {'lite': LITE, 'full': FULL}

# One colour per object, none near to its natural ones.
_LITE_COLOURS = {
  'fox': 'green',
  'key': 'red',
  'cat': 'blue',
  'car': 'pink',
  'apple': 'blue',
  'heart': 'yellow',
  'star': 'red',
  'fish': 'orange',
  'umbrella': 'green',
  'balloon': 'yellow',
  'house': 'blue',
  'tree': 'pink',
  'bell': 'red',
  'robot': 'orange',
  'rocket': 'yellow',
  'mushroom': 'green',
}
_LITE_COUNTS = {
  'cat': 3,
  'car': 4,
  'apple': 5,
  'star': 2,
  'balloon': 3,
  'tree': 4,
  'robot': 5,
  'mushroom': 2,
}
# Facts of the README's sentences: never held out.
_README = {
  ('fox', 'red'),
  ('fox', 'sunset'),
  ('key', 'pink'),
  ('key', 2),
  ('key', 'night sky'),
}


def vocabulary(name: str) -> scenes.Vocabulary:
  """Returns the vocabulary of that name."""
  if name not in VOCABULARIES:
    raise ValueError(
      f'unknown vocabulary {name!r}: choose one of {tuple(VOCABULARIES)}'
    )
  return VOCABULARIES[name]


def canonical(noun: str, colour: str | None) -> str | None:
  """Returns the colour that the eye sees: a fox is an orange fox."""
  return colour or natural.NATURAL.get(noun)


def _held_out(words: scenes.Vocabulary) -> dict[str, frozenset]:
  """Builds the held-out facts of a vocabulary.

  The constants are arbitrary; they spread the facts evenly.
  """
  nouns, colours = words.nouns, words.colours
  places = words.backgrounds[1:]  # white, the unsaid place, is never held out
  if words.name == 'lite':
    bindings = set(_LITE_COLOURS.items())
    counts = set(_LITE_COUNTS.items())
  else:
    bindings, counts = set(), set()
    for i, noun in enumerate(nouns):
      spared = (natural.NATURAL.get(noun), *natural.DOUBTFUL.get(noun, ()))
      free = [colour for colour in colours if colour not in spared]
      if noun in words.recolourable:
        bindings |= {(noun, free[(i + k) % len(free)]) for k in (0, 3)}
      if i % 2:
        counts |= {(noun, 2 + i // 2 % 4)}
  relations = {
    (nouns[i], relation, nouns[j])
    for i in range(len(nouns))
    for j in range(i + 1, len(nouns))
    for k, relation in enumerate(scenes.RELATIONS)
    if (7 * i + 11 * j + 3 * k) % 10 == 0
  }
  backgrounds = {
    (noun, places[(3 * i + 6) % len(places)]) for i, noun in enumerate(nouns)
  }
  return {
    'binding': frozenset(bindings - _README),
    'count': frozenset(counts - _README),
    'relation': frozenset(
      relations | {(b, scenes.OPPOSITE[r], a) for a, r, b in relations}
    ),
    'place': frozenset(backgrounds - _README),
  }


HELD_OUT = {name: _held_out(words) for name, words in VOCABULARIES.items()}


def facts(scene: scenes.Scene) -> dict[str, tuple]:
  """Returns the facts of the scene, by kind."""
  groups = scene.groups
  related = ()
  if len(groups) == 2:
    related = ((groups[0].noun, scenes.arrangement(scene), groups[1].noun),)
  return {
    'binding': tuple((g.noun, canonical(g.noun, g.colour)) for g in groups),
    'count': tuple((g.noun, g.count) for g in groups),
    'relation': related,
    'place': tuple((g.noun, scene.background) for g in groups),
  }


def held_out_kinds(scene: scenes.Scene, name: str) -> tuple[str, ...]:
  """Returns the kinds of which the scene holds a held-out fact."""
  held = HELD_OUT[name]
  return tuple(
    kind
    for kind, values in facts(scene).items()
    if not held[kind].isdisjoint(values)
  )


def belongs(scene: scenes.Scene, split: str, name: str) -> bool:
  """Tells whether the scene may stand in the split."""
  kinds = held_out_kinds(scene, name)
  if split == 'test_both':
    return len(kinds) == 2
  if split.startswith('test_') and split != 'test_iid':
    told = split != 'test_relation' or scene.relation in scenes.RELATIONS
    return kinds == (split.removeprefix('test_'),) and told
  return not kinds
