"""The 200 fixed prompts of each vocabulary: five categories, easy and hard.

They were drawn once and are data (`prompts.json`), so that scores stay
comparable when the generator moves on. No prompt holds a held-out fact: they
ask how well the training distribution is drawn, the test splits how far it
carries. Easy prompts have one object or one count (colour, counting, place) or
two objects in natural colours (positional, conflicting).
"""

import dataclasses
import functools
import json
import pathlib

from imagen_jax.data.emoji_scenes import grammar, readable, scenes, splits

CATEGORIES = ('colour', 'counting', 'positional', 'conflicting', 'place')
DIFFICULTIES = ('easy', 'hard')
EACH = 20  # prompts of one category and difficulty

_FILE = pathlib.Path(__file__).with_name('prompts.json')
# What nobody has seen on top of anything else here.
_HEAVY = frozenset(
  ('house', 'castle', 'car', 'bus', 'tractor', 'sailboat', 'airplane')
  + ('rocket', 'tree', 'pine tree', 'robot')
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
  """A caption to draw, and the scene that it asks for."""

  category: str  # one of CATEGORIES
  difficulty: str  # 'easy' or 'hard'
  caption: str
  scene: scenes.Scene  # its layout is one of many that would do


@functools.cache
def load(vocabulary: str) -> tuple[Prompt, ...]:
  """Reads the prompts of the vocabulary, 200 in fixed order."""
  splits.vocabulary(vocabulary)
  return tuple(
    Prompt(**{**record, 'scene': scenes.from_json(record['scene'])})
    for record in json.loads(_FILE.read_text())[vocabulary]
  )


def draw(vocabulary: str) -> list[Prompt]:
  """Draws the prompts: the first scenes of a stream that fit, no two alike."""
  words = splits.vocabulary(vocabulary)
  prompts, said = [], set()
  for category in CATEGORIES:
    for difficulty in DIFFICULTIES:
      fits = _FITS[category, difficulty]
      attempt = 0
      for number in range(EACH):
        while True:
          stream = f'prompts/{vocabulary}/{category}/{difficulty}'
          attempt += 1
          scene = scenes.generate(words, scenes.Draws(stream, number, attempt))
          caption = grammar.plain(scene)
          if not fits(scene, number) or caption in said:
            continue
          if splits.belongs(scene, 'prompts', vocabulary) and (
            readable.readable(scene, vocabulary)
          ):
            break
        said.add(caption)
        prompts.append(
          Prompt(
            category=category,
            difficulty=difficulty,
            caption=caption,
            scene=scene,
          )
        )
  return prompts


def save(prompts: dict[str, list[Prompt]]) -> None:
  """Writes the prompts of every vocabulary, one to a line."""
  parts = []
  for vocabulary, values in prompts.items():
    lines = [
      json.dumps(
        dataclasses.asdict(prompt) | {'scene': scenes.to_json(prompt.scene)},
        separators=(',', ':'),
      )
      for prompt in values
    ]
    parts.append(f'"{vocabulary}": [\n' + ',\n'.join(lines) + '\n]')
  _FILE.write_text('{\n' + ',\n'.join(parts) + '\n}\n')


def _unusual(group) -> bool:
  """Tells whether the group has a colour that is not its natural one."""
  natural = splits.canonical(group.noun, None)
  return group.colour is not None and group.colour != natural


def _plain(scene) -> bool:
  """Tells whether all is of natural colour and ordinary size, on white."""
  return scene.background == 'white' and all(
    group.colour is None and group.size is None for group in scene.groups
  )


def _counts(scene) -> tuple[int, ...]:
  return tuple(sorted(group.count for group in scene.groups))


def _odd(scene) -> bool:
  """Tells whether something heavy lies on something light."""
  if scene.relation not in ('above', 'below'):
    return False
  heavy = [group.noun in _HEAVY for group in scene.groups]
  return heavy == [scene.relation == 'above', scene.relation == 'below']


def _colour_easy(scene, number) -> bool:
  group = scene.groups[0]
  return (
    _counts(scene) == (1,)
    and scene.background == 'white'
    and group.size is None
    and _unusual(group)
  )


def _colour_hard(scene, number) -> bool:
  colours = {group.colour for group in scene.groups}
  return (
    _counts(scene) == (1, 1)
    and scene.background == 'white'
    and scene.relation in (None, 'next')
    and all(group.size is None and _unusual(group) for group in scene.groups)
    and len(colours) == 2
  )


def _counting_easy(scene, number) -> bool:
  return _counts(scene) == (2 + number % 4,) and _plain(scene)


def _counting_hard(scene, number) -> bool:
  if number % 2:
    return _counts(scene) == (1, 2) and _coloured_in_place(scene)
  return _counts(scene) == (2 + number // 2 % 4,) and _coloured_in_place(scene)


def _positional_easy(scene, number) -> bool:
  relation = scenes.RELATIONS[number % 4]
  return (
    _counts(scene) == (1, 1) and scene.relation == relation and _plain(scene)
  )


def _positional_hard(scene, number) -> bool:
  relation = scenes.RELATIONS[number % 4]
  return (
    _counts(scene) == (1, 1)
    and scene.relation == relation
    and any(group.size for group in scene.groups) == (number // 4 % 2 == 0)
    and _coloured_in_place(scene)
  )


def _conflicting_easy(scene, number) -> bool:
  return _counts(scene) == (1, 1) and _odd(scene) and _plain(scene)


def _conflicting_hard(scene, number) -> bool:
  return _counts(scene) == (1, 1) and _odd(scene) and _coloured_in_place(scene)


def _place_easy(scene, number) -> bool:
  if number % 2:
    return len(_counts(scene)) == 1 and _counts(scene) != (1,) and _in(scene)
  return _counts(scene) == (1,) and _in(scene)


def _place_hard(scene, number) -> bool:
  kind = (1, 2) if number % 4 == 3 else (1, 1)
  return _counts(scene) == kind and _in(scene) and _coloured_in_place(scene)


def _in(scene) -> bool:
  """Tells whether the place is more than a plain background."""
  return scene.background not in grammar.PLAIN_BACKGROUNDS


def _coloured_in_place(scene) -> bool:
  return scene.background != 'white' and all(map(_unusual, scene.groups))


_FITS = {
  ('colour', 'easy'): _colour_easy,
  ('colour', 'hard'): _colour_hard,
  ('counting', 'easy'): _counting_easy,
  ('counting', 'hard'): _counting_hard,
  ('positional', 'easy'): _positional_easy,
  ('positional', 'hard'): _positional_hard,
  ('conflicting', 'easy'): _conflicting_easy,
  ('conflicting', 'hard'): _conflicting_hard,
  ('place', 'easy'): _place_easy,
  ('place', 'hard'): _place_hard,
}

if __name__ == '__main__':
  save({name: draw(name) for name in splits.VOCABULARIES})
