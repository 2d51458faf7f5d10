"""Sentences for the text encoder: captions, and what the words mean.

Captions are those of an own training stream, so no held-out composition is
among them. The other lines tell synonyms, numbers, relations and natural
colours; they are the only place where held-out wordings are met.
"""

from imagen_jax.data.emoji_scenes import (
  grammar,
  natural,
  scenes,
  source,
  splits,
)


def lines(seed: int, count: int, vocabulary: str = 'full') -> list[str]:
  """Returns `count` sentences: three captions to one line of meaning."""
  captions = source.EmojiScenes('train', vocabulary)
  words = splits.vocabulary(vocabulary)
  result = []
  for index in range(count):
    draws = scenes.Draws(f'corpus/{seed}', index)
    if draws.chance(0.25):
      result.append(draws.pick(_MEANINGS)(words, draws))
    else:
      # The training stream itself has low indices: keep well above them.
      result.append(captions.caption((1 << 40) + (seed << 32) + index))
  return result


def _synonym(words, draws) -> str:
  """'a kitten is a cat', 'kittens are cats', 'beneath means below'."""
  ways = []
  for table in (grammar.TRAIN, grammar.HELD_OUT):
    for plain, others in table.nouns.items():
      if plain in words.nouns:
        ways += [('noun', other, plain) for other in others if other != plain]
    for key, others in (*table.sizes.items(), *table.relations.items()):
      plain = _PLAIN.get(key, key)
      ways += [('other', other, plain) for other in others if other != plain]
    for key, others in table.places.items():
      if key in words.backgrounds:
        plain = grammar.TRAIN.places[key][0]
        ways += [('other', other, plain) for other in others if other != plain]
  kind, other, plain = draws.pick(ways)
  if kind == 'noun':
    if draws.chance(0.5):
      return f'{grammar.plural(other)} are {grammar.plural(plain)}'
    return f'{grammar.article(other)} is {grammar.article(plain)}'
  return f'{other} means {plain}'


_PLAIN = {
  None: 'and',
  'next': 'next to',
  'left': 'to the left of',
  'right': 'to the right of',
}


def _relation(words, draws) -> str:
  """'a red fox left of a key means a key right of a red fox'."""
  held = splits.HELD_OUT[words.name]
  nouns = scenes.two_nouns(words, draws)
  named = []
  for noun in nouns:
    colour = scenes.colour(words, draws, noun)
    # Compositions held out from the pictures stay unsaid here as well.
    if (noun, splits.canonical(noun, colour)) in held['binding']:
      colour = None
    named.append(grammar.article(f'{colour} {noun}' if colour else noun))
  relation = draws.pick(scenes.RELATIONS)
  if (nouns[0], relation, nouns[1]) in held['relation']:
    return f'{named[0]} and {named[1]} means {named[1]} and {named[0]}'
  table = draws.pick((grammar.TRAIN, grammar.TRAIN, grammar.HELD_OUT))
  there = draws.pick(table.relations[relation])
  back = draws.pick(grammar.TRAIN.relations[scenes.OPPOSITE[relation]])
  return f'{named[0]} {there} {named[1]} means {named[1]} {back} {named[0]}'


def _number(words, draws) -> str:
  """'two foxes are a fox and a fox', 'three is one more than two'."""
  number = 2 + draws.below(4)
  said = grammar.NUMBERS[number]
  noun = draws.pick(words.nouns)
  if draws.chance(0.4):
    return f'{said} is one more than {grammar.NUMBERS[number - 1]}'
  if (noun, number) in splits.HELD_OUT[words.name]['count']:
    return f'{grammar.plural(noun)} means more than one {noun}'
  each = ' and '.join([grammar.article(noun)] * number)
  return f'{said} {grammar.plural(noun)} are {each}'


def _natural(words, draws) -> str:
  """'a fox is orange', 'red is a colour', 'a huge fox is a big fox'."""
  kind, noun = draws.below(3), draws.pick(words.nouns)
  if kind == 0:
    return f'{draws.pick(words.colours)} is a colour'
  if kind == 1:
    size = draws.pick(scenes.SIZES)
    other = draws.pick(
      (grammar.TRAIN.sizes[size][1], *grammar.HELD_OUT.sizes[size])
    )
    return f'a {other} {noun} is a {size} {noun}'
  colour = natural.NATURAL.get(noun)
  if colour not in words.colours:
    return f'{grammar.article(noun)} is a thing to draw'
  return f'{grammar.article(noun)} is {colour}'


_MEANINGS = (_synonym, _synonym, _relation, _number, _natural)
