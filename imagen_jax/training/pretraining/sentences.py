"""Text for the tiny text encoder: lines addressed by index, no pictures.

  captions       a red fox to the left of two keys at sunset
  pairs          two captions of one scene, the second often told from the
                 other group: what is masked in one half stands in the other,
                 bound to its noun
  synonyms       a tiny kitten means a small kitten: one word exchanged
  meanings       kittens are cats, a fox is orange (emoji_scenes.corpus)
  documentation  sentences of the package's own documentation

Held-out wordings are met in synonyms and meanings alone. Scenes of both
vocabularies take turns, and none holds a fact that either holds out: the
encoder has not read what the networks have not seen.
"""

import ast
import dataclasses
import pathlib

from imagen_jax.data.emoji_scenes import corpus, grammar, scenes, splits

_PACKAGE = pathlib.Path(__file__).parents[2]

# Every slot filled with the plain word, so that one can be exchanged alone.
_PLAIN = grammar.Words(
  nouns={},
  sizes={k: v[:1] for k, v in grammar.TRAIN.sizes.items()},
  relations={k: v[:1] for k, v in grammar.TRAIN.relations.items()},
  places={k: v[:1] for k, v in grammar.TRAIN.places.items()},
  backdrop=grammar.TRAIN.backdrop,
  orders=grammar.TRAIN.orders[:1],
  turned=grammar.TRAIN.turned,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentences:
  """Endless lines; line i depends on its address alone."""

  split: str = 'train'  # another name gives other lines
  vocabularies: tuple[str, ...] = ('lite', 'full')
  pairs: float = 0.3  # share of lines
  synonyms: float = 0.25
  meanings: float = 0.1
  documentation: float = 0.04  # the rest are captions
  longest: int = 20  # words; a longer pair gives way to a caption

  def line(self, index: int, documents: tuple[str, ...] = ()) -> str:
    """Line `index`; `documents` from `documentation`, () = none."""
    draws = scenes.Draws(f'text/{self.split}', index)
    if draws.chance(self.documentation) and documents:
      return draws.pick(documents)
    name = self.vocabularies[index % len(self.vocabularies)]
    kind = draws.uniform()
    if kind < self.meanings:
      return corpus.lines(index, 1, name)[0]
    kind -= self.meanings
    scene = self._scene(index, name)
    plain = grammar.caption(scene, draws)
    again = scenes.Draws(f'text/{self.split}/again', index)
    if kind < self.pairs:
      line = f'{plain} means {grammar.caption(_retold(scene, again), again)}'
    elif kind < self.pairs + self.synonyms:
      line = _synonym(scene, again)
    else:
      return plain
    return line if len(line.split()) <= self.longest else plain

  def pair(self, index: int) -> tuple[scenes.Scene, str]:
    """A scene that no vocabulary holds out, and its caption."""
    name = self.vocabularies[index % len(self.vocabularies)]
    scene = self._scene(index, name)
    draws = scenes.Draws(f'text/{self.split}/pair', index)
    return scene, grammar.caption(scene, draws)

  def _scene(self, index, name):
    stream = f'text/scene/{name}/{self.split}'
    attempt = 0
    while True:
      draws = scenes.Draws(stream, index, attempt)
      scene = scenes.generate(splits.VOCABULARIES[name], draws)
      if not any(splits.held_out_kinds(scene, v) for v in splits.VOCABULARIES):
        return scene
      attempt += 1


def _retold(scene, draws):
  """The same scene, every other time told from its second group."""
  if len(scene.groups) < 2 or draws.chance(0.5):
    return scene
  return dataclasses.replace(
    scene,
    groups=scene.groups[::-1],
    relation=scenes.OPPOSITE.get(scene.relation, scene.relation),
  )


def _synonym(scene, draws) -> str:
  """A caption with one word exchanged, and the plain one, in either order."""
  ways = exchanges(scene)
  nouns = [words for words in ways if words.nouns]
  # Few scenes have a noun with a synonym: those that have one use it.
  words = draws.pick(nouns if nouns and draws.chance(0.7) else ways)
  other = scene
  if draws.chance(0.15):  # natural colours are synonyms too
    words, other = _PLAIN, _natural(scene)
  seed = draws.below(1 << 30)
  # The same draws for both: whatever else they choose, they choose alike.
  halves = [
    grammar.caption(other, scenes.Draws('text/same', seed), words),
    grammar.caption(scene, scenes.Draws('text/same', seed), _PLAIN),
  ]
  return ' means '.join(halves[:: -1 if draws.chance(0.5) else 1])


def _natural(scene):
  """The scene with natural colours spelt out: an orange fox for a fox."""
  groups = tuple(
    dataclasses.replace(g, colour=splits.canonical(g.noun, g.colour))
    for g in scene.groups
  )
  return dataclasses.replace(scene, groups=groups)


def exchanges(scene: scenes.Scene) -> list[grammar.Words]:
  """Plain words but for one that the scene uses, in all possible ways."""
  slots = [('nouns', group.noun) for group in scene.groups]
  slots += [('sizes', group.size) for group in scene.groups if group.size]
  slots.append(('places', scene.background))
  if len(scene.groups) == 2:
    slots.append(('relations', scene.relation))
  ways = []
  for kind, key in slots:
    table = getattr(_PLAIN, kind)
    for words in (grammar.TRAIN, grammar.HELD_OUT):
      for way in getattr(words, kind).get(key, ()):
        if way not in (key, *table.get(key, ())):
          change = {kind: {**table, key: (way,)}}
          ways.append(dataclasses.replace(_PLAIN, **change))
  for order in grammar.HELD_OUT.orders:
    ways.append(
      dataclasses.replace(
        _PLAIN,
        backdrop=grammar.HELD_OUT.backdrop,
        orders=(order,),
        turned=grammar.HELD_OUT.turned,
      )
    )
  return ways


def documentation() -> tuple[str, ...]:
  """Sentences of the package's docstrings and of the README, if it is here."""
  texts = []
  for path in sorted(_PACKAGE.rglob('*.py')):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
      if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        texts.append(ast.get_docstring(node) or '')
  readme = _PACKAGE.parent / 'README.md'
  if readme.is_file():
    texts.append(readme.read_text(encoding='utf-8'))
  found = []
  for text in texts:
    for paragraph in text.split('\n\n'):
      for sentence in ' '.join(paragraph.split()).split('. '):
        if len(sentence.split()) >= 4:
          found.append(sentence.rstrip('.') + '.')
  return tuple(dict.fromkeys(found))
