"""What an evaluation asks: captions in a fixed order, with their scenes.

Any first few of a split are the same ones, so that an evaluation may be
enlarged later; those of the prompts are spread over the categories.
"""

import collections
import dataclasses

from imagen_jax.data.emoji_scenes import prompts, scenes, source, splits
from imagen_jax.sampling import manifests


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
  """A caption to draw and the scene it asks for."""

  split: str
  index: int  # within the split
  caption: str
  scene: scenes.Scene
  repeat: int  # how often the caption came before: the picture's own index
  kind: tuple[str, ...] = ()  # category and difficulty of a prompt


def claimed(words):
  """The larger vocabulary whose nouns and colours the cascade claims."""
  for name in ('full', 'lite'):
    vocabulary = splits.vocabulary(name)
    asked = manifests.words_in(' '.join(vocabulary.nouns + vocabulary.colours))
    if words is not None and set(asked) <= set(words):
      return name
  raise ValueError(
    'the cascade claims '
    + ('no vocabulary' if words is None else f'{len(words)} words of another')
    + f'; choose --vocabulary of {", ".join(splits.VOCABULARIES)}'
  )


def examples(split, vocabulary, num, paraphrase=False):
  """The first `num` examples of a split, or all that it holds."""
  size = splits.SIZES[split]
  data = source.EmojiScenes(split, vocabulary, paraphrase)
  order = range(num if size is None else min(num, size))
  fixed = prompts.load(vocabulary) if split == 'prompts' else None
  if fixed:
    cells = size // prompts.EACH
    order = [n % cells * prompts.EACH + n // cells for n in order]
  chosen, repeats = [], collections.Counter()
  for index in order:
    caption = data.caption(index)
    chosen.append(
      Example(
        split=split,
        index=index,
        caption=caption,
        scene=data.scene(index),
        repeat=repeats[caption],
        kind=(fixed[index].category, fixed[index].difficulty) if fixed else (),
      )
    )
    repeats[caption] += 1
  return chosen


def breakdown(split, chosen, judged):
  """Table rows (name, records): the split, and the kinds of its prompts."""
  rows = [(split, judged)]
  for kind in (*prompts.DIFFICULTIES, *prompts.CATEGORIES):
    some = [r for e, r in zip(chosen, judged) if kind in e.kind]
    if some:
      rows.append((f'{split}/{kind}', some))
  return rows
