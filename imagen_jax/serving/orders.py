"""What a visitor of the page asks for: a form -> an `Order`.

Whatever is wrong with it is a ValueError of one line, before anything is drawn.
"""

import dataclasses
import secrets
from collections.abc import Callable, Mapping

from imagen_jax import cascade as cascade_lib
from imagen_jax import edits, presets, recipes
from imagen_jax import prompts as prompts_lib
from imagen_jax.serving import sources

LONGEST = 1000  # characters of a prompt
MOST_STEPS = 1024  # of a stage; nobody may keep the others waiting for ever
_SEEDS = 1_000_000  # to choose from where none is given
# A value for each stage, `steps_64`, and one for all of them.
EACH = {'steps': int, 'guidance': float, 'aug_level': float}
ALL = ('preset', 'sampler', 'grid', 'threshold')
ONCE = ('prompt', 'negative', 'seed', 'upto', 'picture', 'strength', *ALL)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Order:
  """One picture to draw."""

  prompt: str
  seed: int
  plan: tuple  # of `Cascade.plan`
  negative: str | None = None
  picture: sources.Picture | None = None  # to start from
  strength: float = edits.STRENGTH  # of the change, with a picture
  edit: str | None = None  # as of a recipe, where the picture is not here
  fields: Mapping[str, str]  # the form as it was filled in
  remarks: tuple[str, ...] = ()  # what is odd about the prompt

  def source(self, resolution) -> edits.Source | None:
    """The picture to start from, as `Cascade.draw` wants it."""
    if self.picture is None:
      return None
    return edits.Source(
      picture=edits.square(self.picture.pixels(), resolution),
      strength=self.strength,
    )


def read(
  form: Mapping[str, str],
  cascade: cascade_lib.Cascade,
  find: Callable[[str], sources.Picture | None],
) -> Order:
  """Takes a form apart.

  Args:
    form: field -> what was typed; an empty field is left to the preset.
    cascade: that will draw.
    find: id -> `sources.Picture`, or None where it is not there any more.
  """
  form = {name: text.strip() for name, text in form.items() if text.strip()}
  sizes = [stage.resolution for stage in cascade.stages]
  known = {*ONCE, *(f'{name}_{size}' for name in EACH for size in sizes)}
  if unknown := sorted(form.keys() - known):
    raise ValueError(f'there is no field {unknown[0][:40]!r}')
  prompt = _sentence(form, 'prompt')
  if prompt is None:
    raise ValueError('the prompt is empty; write what to draw')
  negative = _sentence(form, 'negative')
  plan = _plan(form, cascade)
  if negative is not None and all(s.guidance == 1 for s in plan):
    raise ValueError(
      'what to avoid needs guidance, which is off (1) at every stage; raise it '
      'at one'
    )
  picture = None
  if 'picture' in form and (picture := find(form['picture'])) is None:
    raise ValueError('the picture to start from is gone; choose it again')
  strength = _number(form, 'strength', float, edits.STRENGTH)
  if not 0 <= strength <= 1:
    raise ValueError(f'strength is {strength:g}; it must lie in [0, 1]')
  seed = _number(form, 'seed', int, None)
  if seed is None:
    seed = secrets.randbelow(_SEEDS)
  elif not 0 <= seed < 2**32:
    raise ValueError(f'seed is {seed}; it must lie in [0, 2^32)')
  return Order(
    prompt=prompt,
    seed=seed,
    plan=plan,
    negative=negative,
    picture=picture,
    strength=strength,
    fields=form,
    remarks=tuple(cascade.remarks([prompt])),
  )


def again(recipe: recipes.Recipe, cascade: cascade_lib.Cascade) -> Order:
  """The order that a recipe tells of, drawn by this cascade for a page.

  Raises ValueError where it was not.
  """
  if recipe.cascade != cascade.id or recipe.index or recipe.size:
    raise ValueError('the picture was not drawn for a page of this cascade')
  plan = cascade.plan(upto=recipe.resolution, **recipe.settings)
  fields = {'prompt': recipe.prompt, 'negative': recipe.negative or ''}
  if len(plan) < len(cascade.stages):
    fields['upto'] = str(recipe.resolution)
  for name, values in settings(cascade, plan).items():
    if name in ALL and len(set(values)) == 1:
      fields[name] = values[0]
    elif name in EACH:
      stages = cascade.stages[len(plan) - len(values) :]
      for stage, value in zip(stages, values):
        fields[f'{name}_{stage.resolution}'] = f'{value:.9g}'
  return Order(
    prompt=recipe.prompt,
    seed=recipe.seed,
    plan=plan,
    negative=recipe.negative,
    edit=recipe.edit,
    fields=fields,
  )


def settings(cascade, plan) -> dict[str, list]:
  """What a plan sets other than the stages' own: name -> one value a stage.

  Written out, so that it means the same when presets have changed. The base has
  no aug_level and no margin: there are as many as super-resolution stages.
  """
  found = {}
  for name in presets.KINDS:
    first = int(name in presets.OF_SUPER_RESOLUTION)
    pairs = [*zip(plan, cascade.stages)][first:]
    values = [getattr(sampling, name) for sampling, _ in pairs]
    if values != [getattr(stage.sampling, name) for _, stage in pairs]:
      found[name] = values
  return found


def _plan(form, cascade):
  upto = _number(form, 'upto', int, None)
  sizes = [stage.resolution for stage in cascade.stages]
  drawn = [size for size in sizes if upto is None or size <= upto]
  given = {
    name: [_number(form, f'{name}_{size}', kind, None) for size in drawn]
    for name, kind in EACH.items()
  }
  for stage, steps in zip(cascade.stages, given['steps']):
    if steps is not None and steps > MOST_STEPS:
      raise ValueError(
        f'{stage.resolution} px: steps is {steps}; this page takes '
        f'{MOST_STEPS} at most'
      )
  for name, values in given.items():  # whose number it is, where one is wrong
    for stage, value in zip(cascade.stages, values):
      _check(stage, {} if value is None else {name: value})
  return cascade.plan(
    upto=upto,
    **{name: form.get(name) for name in ALL},
    **{name: values or None for name, values in given.items()},
  )


def _check(stage, setting):
  try:
    dataclasses.replace(stage.sampling, **setting)
  except ValueError as e:
    raise ValueError(f'{stage.resolution} px: {e}') from e


def _sentence(form, name):
  """A prompt, None where it is empty."""
  if name not in form:
    return None
  text = ' '.join(form[name].split())
  if len(text) > LONGEST:
    raise ValueError(
      f'the {name} has {len(text)} characters; this page takes {LONGEST}'
    )
  ((sentence,), _) = prompts_lib.read([text])
  return sentence


def _number(form, name, kind, otherwise):
  """A field as a number; `otherwise` where it is empty."""
  if name not in form:
    return otherwise
  text = form[name][:40]
  try:
    return kind(text)
  except ValueError:
    what, _, size = name.rpartition('_')
    said = f'{size} px: {what}' if what in EACH else name
    wanted = 'whole number' if kind is int else 'number'
    raise ValueError(f'{said} is {text!r}; give a {wanted}') from None
