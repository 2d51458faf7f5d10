"""Captions: the sentence that says what a scene shows, and its variants.

  caption := group [ rel group ] [ place ]
  group   := ("a" | "an") [size] [colour] noun | number [colour] plural

Training captions vary by synonyms and word order. Other paraphrases are held
out: they are met only in the evaluation of paraphrases and, word by word, in
the synonym lines of the text encoder's corpus. A picture on white may leave
its place unsaid, and no other may: the caption fixes what is to be drawn.
"""

import dataclasses

from imagen_jax.data.emoji_scenes import scenes

NUMBERS = {1: 'one', 2: 'two', 3: 'three', 4: 'four', 5: 'five'}
# Backgrounds named by their colour alone.
PLAIN_BACKGROUNDS = (
  'white',
  'pale blue',
  'pale yellow',
  'pale green',
  'pale pink',
)
# Plurals that are not the noun with an 's'.
PLURALS = {
  'bunch of grapes': 'bunches of grapes',
  'strawberry': 'strawberries',
  'fox': 'foxes',
  'mouse': 'mice',
  'fish': 'fish',
  'octopus': 'octopuses',
  'butterfly': 'butterflies',
  'bus': 'buses',
  'cactus': 'cactuses',
  'puppy': 'puppies',
  'bunny': 'bunnies',
  'kitty': 'kitties',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
  """Ways to say things; the first of each is the plain one."""

  nouns: dict[str, tuple[str, ...]]  # only those with synonyms
  sizes: dict[str, tuple[str, ...]]
  relations: dict[str | None, tuple[str, ...]]
  places: dict[str, tuple[str, ...]]  # all but the plain backgrounds
  backdrop: str  # a plain background; {background}
  orders: tuple[str, ...]  # {what} the scene shows and its {place}
  turned: str  # {relation} told from the {second} group to the {first}


TRAIN = Words(
  nouns={
    'cat': ('cat', 'kitten'),
    'car': ('car', 'automobile'),
    'house': ('house', 'home'),
    'dog': ('dog', 'puppy'),
    'rabbit': ('rabbit', 'bunny'),
    'airplane': ('airplane', 'plane'),
    'doughnut': ('doughnut', 'donut'),
    'hamburger': ('hamburger', 'burger'),
    'bee': ('bee', 'honeybee'),
    'chicken': ('chicken', 'hen'),
    'pine tree': ('pine tree', 'fir tree'),
    'cake': ('cake', 'birthday cake'),
    'alarm clock': ('alarm clock', 'clock'),
  },
  sizes={'small': ('small', 'little'), 'big': ('big', 'large')},
  relations={
    'left': ('to the left of', 'left of'),
    'right': ('to the right of', 'right of'),
    'above': ('above', 'on top of'),
    'below': ('below', 'under'),
    'next': ('next to',),
    None: ('and',),
  },
  places={
    'beach': ('on a beach', 'at the beach'),
    'grass': ('on the grass',),
    'night sky': ('under a night sky',),
    'snow': ('in the snow',),
    'sea': ('in the sea',),
    'desert': ('in the desert',),
    'sunset': ('at sunset',),
  },
  backdrop='on a {background} background',
  orders=(
    *('{what} {place}',) * 5,
    '{place} {what}',
    'a picture of {what} {place}',
  ),
  turned='{relation} {second} {be} {first}',
)

HELD_OUT = Words(
  nouns={
    'rocket': ('spaceship',),
    'mushroom': ('toadstool',),
    'cat': ('kitty',),
    'sailboat': ('sailing boat',),
    't-shirt': ('shirt',),
    'soccer ball': ('football',),
    'bear': ('brown bear',),
    'top hat': ('tall hat',),
  },
  sizes={'small': ('tiny',), 'big': ('huge',)},
  relations={
    'left': ('on the left side of',),
    'right': ('on the right side of',),
    'above': ('over',),
    'below': ('beneath',),
    'next': ('beside',),
    None: ('together with',),
  },
  places={
    'beach': ('by the seaside',),
    'grass': ('in a meadow',),
    'night sky': ('at night',),
    'snow': ('in winter',),
    'sea': ('in the ocean',),
    'desert': ('among the dunes',),
    'sunset': ('at dusk',),
  },
  backdrop='in front of a {background} background',
  orders=('an image showing {what} {place}', '{place} we see {what}'),
  turned='{relation} {second} we find {first}',
)


def article(words: str) -> str:
  """Puts 'a' or 'an' before the words."""
  return ('an ' if words[0] in 'aeiou' else 'a ') + words


def plural(noun: str) -> str:
  """Returns the plural of a noun or of a synonym."""
  return PLURALS.get(noun) or noun + 's'


def group_words(
  group: scenes.Group, draws: scenes.Draws, words: Words = TRAIN
) -> str:
  """Says one group, such as 'a small red fox' or 'two pink keys'."""
  # The plain word twice as often as a synonym.
  ways = words.nouns.get(group.noun, (group.noun,))
  noun = draws.pick((ways[0], *ways))
  size = ''
  if group.size:
    ways = words.sizes[group.size]
    size = draws.pick((ways[0], *ways)) + ' '
  colour = group.colour + ' ' if group.colour else ''
  if group.count > 1:
    return f'{NUMBERS[group.count]} {size}{colour}{plural(noun)}'
  return article(f'{size}{colour}{noun}')


def place_words(
  background: str, draws: scenes.Draws, words: Words = TRAIN
) -> str:
  """Says the background; white goes unsaid in seven of ten."""
  unsaid = draws.chance(0.7)
  if background == 'white' and unsaid:
    return ''
  if background in PLAIN_BACKGROUNDS:
    return words.backdrop.format(background=background)
  return draws.pick(words.places[background])


def caption(
  scene: scenes.Scene, draws: scenes.Draws, words: Words = TRAIN
) -> str:
  """Draws a caption of the scene, in the training words or held-out ones."""
  place = place_words(scene.background, draws, words)
  order = draws.pick(words.orders)
  turned = draws.chance(0.12)
  said = [group_words(group, draws, words) for group in scene.groups]
  what = said[0]
  if len(said) > 1:
    relation = draws.pick(words.relations[scene.relation])
    what = f'{said[0]} {relation} {said[1]}'
    if turned and scene.relation in scenes.RELATIONS:
      what = words.turned.format(
        relation=relation,
        second=said[1],
        be='are' if scene.groups[0].count > 1 else 'is',
        first=said[0],
      )
      order = '{what} {place}'
  return order.format(what=what, place=place).strip()


class _Likeliest:
  """Stands in for draws: the first of everything, and what is likely."""

  def pick(self, values):
    return values[0]

  def chance(self, probability):
    return probability > 0.5


def plain(scene: scenes.Scene) -> str:
  """Returns the plainest caption of the scene."""
  return caption(scene, _Likeliest())


def vocabulary_words(vocabulary: scenes.Vocabulary) -> tuple[str, ...]:
  """Returns, sorted, every word that a training caption may hold."""
  phrases = ['a an', *NUMBERS.values(), *vocabulary.colours]
  for noun in vocabulary.nouns:
    for way in TRAIN.nouns.get(noun, (noun,)):
      phrases += [way, plural(way)]
  for ways in (*TRAIN.sizes.values(), *TRAIN.relations.values()):
    phrases += ways
  for background in vocabulary.backgrounds:
    phrases.append(TRAIN.backdrop.format(background=''))
    phrases += TRAIN.places.get(background, (background,))
  blank = dict.fromkeys(('what', 'place', 'relation', 'first', 'second'), '')
  blank['be'] = 'is are'
  phrases += [form.format(**blank) for form in (*TRAIN.orders, TRAIN.turned)]
  words = {word for phrase in phrases for word in phrase.split()}
  # One is said as 'a' or 'an'.
  return tuple(sorted(words - {'one'}))
