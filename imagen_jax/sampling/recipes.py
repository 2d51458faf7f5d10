"""The recipe in a picture's metadata: enough to draw it again.

Not in the paper. `write` makes the texts of a PNG file, `read` takes them back
and checks them: a file may come from anywhere.
"""

import dataclasses
import re
from collections.abc import Mapping

import imagen_jax
from imagen_jax.sampling import layout_files
from imagen_jax.stages import entries
from imagen_jax.stages import settings as settings_lib

# Settings stand there as lists separated by commas, in the order of the stages.
_NUMBERS = {'seed': int, 'index': int, 'resolution': int}
_TEXTS = ('prompt', 'cascade')
# What may stand there besides: `category` is of a DrawBench picture.
_MORE = (
  'negative',
  'size',
  'edit',
  'layout',
  'placed_layout',
  'software',
  'category',
)
# Not of the recipe: who drew, and what followed from the rest.
_BESIDE = {'software', 'placed_layout'}
LONGEST_SIDE = 16_384  # pixels of a picture that is drawn
_NAME = re.compile('[a-z]+(_[a-z]+)*')  # of a setting
_LONGEST = 10_000  # characters of a text that is taken seriously


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """How a picture was drawn."""

  prompt: str
  cascade: str  # its id
  seed: int
  index: int  # of the picture among those of the prompt
  resolution: int  # of the last stage
  settings: dict  # keywords of `Cascade.plan`
  negative: str | None = None
  edit: str | None = None  # what was done to which picture; None = nothing
  size: tuple[int, int] | None = None  # height, width; None = square
  # What was asked for where; None = as the layout stage had it.
  layout: tuple[layout_files.Box, ...] | None = None


def write(
  cascade,
  plan,
  request,
  seed,
  *,
  negative=None,
  edit=None,
  size=None,
  layout=None,
):
  """What a picture's metadata says: {name: text}.

  Args:
    cascade: a `cascade.Cascade`.
    plan: its `Cascade.plan`.
    request: a `cascade.Request`.
    seed: int.
    negative: the caption led away from, or None.
    edit: how it came from another picture, or None.
    size: (height, width), or None for a square.
    layout: boxes that were asked for, or None.
  """
  drawn = cascade.stages[: len(plan)]
  text = {
    'prompt': request.caption,
    'seed': str(seed),
    'index': str(request.index),
    'cascade': cascade.id,
    'resolution': str(drawn[-1].resolution),
    **_told(plan, [stage.sampling for stage in drawn]),
    'negative': negative or '',
    'size': f'{size[1]}x{size[0]}' if size else '',
    'edit': edit or '',
    'layout': '' if layout is None else layout_files.to_text(layout),
    'software': f'imagen_jax {imagen_jax.__version__}',
  }
  return {key: value for key, value in text.items() if value or key == 'prompt'}


def _told(plan, own):
  """The settings of a plan that a recipe tells: {name: text}.

  Those that came later are left out where a recipe without them, as older
  releases wrote it, means the same.
  """
  told = {}
  for name in settings_lib.deciding():
    setting = settings_lib.SETTINGS[name]
    values, stages_own = (
      [getattr(sampling, name) for sampling in samplings]
      for samplings in (plan, own)
    )
    default = getattr(settings_lib.Sampling(), name)
    if (
      setting.recipe == entries.ALWAYS
      or (setting.recipe == entries.UNLIKE_OWN and values != stages_own)
      or (
        setting.recipe == entries.UNLIKE_DEFAULT
        and {*values, *stages_own} != {default}
      )
    ):
      first = 0 if setting.base else 1
      told[name] = ','.join(map(setting.spell, values[first:]))
  return told


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
  """How two recipes differ, in words; '' where they ask for one picture."""
  for key in sorted((before.keys() | now.keys()) - _BESIDE):
    if before.get(key) != now.get(key):
      return f'{key} {before.get(key)!r}, not {now.get(key)!r}'
  return ''


def read(text: Mapping[str, str], where) -> Recipe:
  """The recipe in the metadata `text` of the file `where`.

  Raises ValueError where there is none, or something in it is not possible;
  what the stages make of the numbers `Cascade.plan` checks.
  """
  missing = [k for k in (*_TEXTS, *_NUMBERS, 'steps') if k not in text]
  if missing:
    raise ValueError(
      f'{where} has no recipe ({missing[0]} is missing): it was not drawn by '
      'imagen_jax.sample, or its metadata was removed'
    )
  long = [k for k, value in text.items() if len(value) > _LONGEST]
  if long:
    raise ValueError(f'{where}: {long[0]} in its recipe is too long to be true')
  values = {k: _parsed(kind, text[k], k, where) for k, kind in _NUMBERS.items()}
  for name, most in (('index', 2**31), ('seed', 2**32)):
    if not 0 <= values[name] < most:
      raise ValueError(
        f'{where}: {name} in its recipe is {text[name][:40]}, which is not '
        f'from 0 to {most - 1}; the file was altered'
      )
  known = {*_TEXTS, *_NUMBERS, *_MORE, *settings_lib.deciding()}
  # Other programs write texts of their own, but not with such names.
  if unknown := [k for k in text if _NAME.fullmatch(k) and k not in known]:
    raise ValueError(
      f'{where}: its recipe has a setting {unknown[0][:40]!r}, which this '
      f'release ({imagen_jax.__version__}) does not know; update imagen_jax'
    )
  settings = {
    name: [
      _parsed(settings_lib.SETTINGS[name].parse, part, name, where)
      for part in text[name].split(',')
    ]
    for name in settings_lib.deciding()
    if name in text
  }
  return Recipe(
    prompt=text['prompt'],
    cascade=text['cascade'],
    settings=settings,
    negative=text.get('negative'),
    edit=text.get('edit'),
    size=_size(text['size'], where) if 'size' in text else None,
    layout=layout_files.parse(text['layout'], where)
    if 'layout' in text
    else None,
    **values,
  )


def _size(value, where):
  """'WxH' -> (h, w)."""
  width, _, height = value.partition('x')
  size = tuple(_parsed(int, n, 'size', where) for n in (height, width))
  if not all(0 < n <= LONGEST_SIDE for n in size):
    raise ValueError(
      f'{where}: size in its recipe is {value[:40]!r}; the file was altered'
    )
  return size


def _parsed(kind, value, name, where):
  try:
    return kind(value)
  except ValueError as e:
    raise ValueError(
      f'{where}: {name} in its recipe is {value[:40]!r}; the file was altered'
    ) from e
