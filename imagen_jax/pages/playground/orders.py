"""What a visitor of the page asks for: a form -> an `Order`.

Whatever is wrong with it is a ValueError of one line, before anything is drawn.
"""

import dataclasses
import secrets
from collections.abc import Callable, Mapping

import numpy as np

from imagen_jax import stages as stages_lib
from imagen_jax.pages.playground import sources
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import edits, recipes
from imagen_jax.sampling import prompts as prompts_lib
from imagen_jax.stages import settings as settings_lib

LONGEST = 1000  # characters of a prompt
MOST_STEPS = 1024  # of a stage; nobody may keep the others waiting for ever
_SEEDS = 1_000_000  # to choose from where none is given
# Settings with a field for each stage, `steps_64`, and those with one for all:
# a word, or what the command line takes, `0.5` or `0.5,0,0`.
EACH = tuple(
  s.name for s in stages_lib.SETTINGS.values() if s.usual and s.number
)
ALL = tuple(name for name in settings_lib.deciding() if name not in EACH)
ONCE = (
  *('prompt', 'negative', 'seed', 'upto', 'shape', 'preset'),
  *('picture', 'change', 'strength', 'mask', 'outpaint'),
  *ALL,
)
# What may become of a picture: all of it changes, what a mask shows, what lies
# around it; or it is enlarged.
CHANGES = ('', 'mask', 'outpaint', 'upscale')
RESAMPLES = 5  # times each step is done inside a mask, as of the command
OUTPAINT = 0.2  # share of the side
# Shapes: height and width as shares of the stage's resolution.
SHAPES = {'wide': (1, 1.5), 'tall': (1.5, 1)}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Order:
  """One picture to draw."""

  prompt: str
  seed: int
  plan: tuple  # of `Cascade.plan`
  negative: str | None = None
  picture: sources.Picture | None = None  # to start from
  change: str = ''  # one of CHANGES
  strength: float = edits.STRENGTH  # of the change, with a picture
  mask: sources.Picture | None = None  # of the picture's size
  outpaint: float | None = None  # share of the side that is drawn around
  size: tuple[int, int] | None = None  # height, width; None = square
  edit: str | None = None  # as of a recipe, where the picture is not here
  fields: Mapping[str, str]  # the form as it was filled in
  remarks: tuple[str, ...] = ()  # what is odd about the prompt

  @property
  def title(self) -> str:
    """What the picture is called: the prompt, where there is one."""
    if self.prompt or not (self.picture or self.edit):
      return self.prompt
    return f'{self.picture.name if self.picture else "a picture"}, enlarged'

  def source(self, resolution) -> edits.Source | None:
    """The picture to start from, as `Cascade.draw` wants it."""
    if self.picture is None or self.change == 'upscale':
      return None
    picture = edits.square(self.picture.pixels(), resolution)
    mask = None
    if self.change == 'mask':
      mask = edits.square(self.mask.mask(), resolution)
    elif self.change == 'outpaint':
      picture, mask = edits.outpainting(picture, self.outpaint)
    return edits.Source(
      picture=picture,
      mask=mask,
      strength=self.strength,
      resamples=1 if mask is None else RESAMPLES,
    )

  def sizes(self, cascade) -> dict[str, tuple[int, int]]:
    """Of the stages that run, in their order: name -> (height, width)."""
    if self.change == 'upscale' and self.picture is not None:
      size, found = (self.picture.height, self.picture.width), {}
      for stage, _, _ in upscaling(cascade, self.picture, self.plan):
        factor = stage.resolution // stage.low_res
        size = tuple(factor * n for n in size)
        found[stage.name] = size
      return found
    run = cascade.stages[: len(self.plan)]
    sizes = stages_lib.picture_sizes(run, self.size)
    return {stage.name: size for stage, size in zip(run, sizes)}


def upscaling(cascade, picture: sources.Picture, plan):
  """`edits.upscaling` of a picture that is not decoded."""
  shape = (picture.height, picture.width, 3)
  return edits.upscaling(cascade, np.broadcast_to(np.uint8(0), shape), plan)


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
  change = form.get('change', '')
  if change not in CHANGES:
    raise ValueError(f'change {change[:40]!r} is not one of {CHANGES[1:]}')
  prompt = _sentence(form, 'prompt')
  if prompt is None and change != 'upscale':
    raise ValueError('the prompt is empty; write what to draw')
  negative = _sentence(form, 'negative')
  plan = _plan(form, cascade)
  if negative is not None and all(s.guidance == 1 for s in plan):
    raise ValueError(
      'what to avoid needs guidance, which is off (1) at every stage; raise it '
      'at one'
    )
  picture = _found(form, 'picture', 'the picture to start from', find)
  mask = _found(form, 'mask', 'the mask', find)
  strength, outpaint = _check_change(form, change, picture, mask)
  if change == 'upscale':
    if negative is not None:
      raise ValueError('enlarging leads away from nothing; leave that out')
    upscaling(cascade, picture, plan)  # raises where it is too large
  seed = _number(form, 'seed', int, None)
  if seed is None:
    seed = secrets.randbelow(_SEEDS)
  elif not 0 <= seed < 2**32:
    raise ValueError(f'seed is {seed}; it must lie in [0, 2^32)')
  return Order(
    prompt=prompt or '',
    seed=seed,
    plan=plan,
    negative=negative,
    picture=picture,
    change=change,
    strength=strength,
    mask=mask,
    outpaint=outpaint,
    size=_shape(form, cascade, plan, picture),
    fields=form,
    remarks=tuple(cascade.remarks([prompt]) if prompt else ()),
  )


def _found(form, name, what, find):
  """A picture that was sent, or None where none is named."""
  if name not in form:
    return None
  picture = find(form[name])
  if picture is None:
    raise ValueError(f'{what} is gone; choose it again')
  return picture


def _check_change(form, change, picture, mask):
  """(strength, outpaint) of what is to become of a picture."""
  if change and picture is None:
    raise ValueError('there is no picture to change; choose one')
  if (mask is None) == (change == 'mask'):
    raise ValueError(
      'a mask changes a part of a picture'
      if mask
      else 'the mask is empty; paint what to draw anew, or choose a file'
    )
  if change == 'mask':
    edits.check_mask(
      f'the mask {mask.name}',
      (mask.height, mask.width),
      (picture.height, picture.width),
      mask.bright,
    )
  inside = change in ('mask', 'outpaint')
  strength = _number(form, 'strength', float, 1.0 if inside else edits.STRENGTH)
  if not 0 <= strength <= 1:
    raise ValueError(f'strength is {strength:g}; it must lie in [0, 1]')
  if change != 'outpaint':
    return strength, None
  outpaint = _number(form, 'outpaint', float, OUTPAINT)
  if not 0 < outpaint < 0.5:
    raise ValueError(
      f'the border is {outpaint:g} of the side; it must lie between 0 and 0.5'
    )
  return strength, outpaint


def _shape(form, cascade, plan, picture):
  """(height, width) of what is drawn; None = square."""
  name = form.get('shape', '')
  if not name:
    return None
  if name not in SHAPES:
    raise ValueError(f'shape {name[:40]!r} is not one of {[*SHAPES]}')
  if picture is not None:
    raise ValueError('a picture to start from has its own shape; choose square')
  run = cascade.stages[: len(plan)]
  size = tuple(int(share * run[-1].resolution) for share in SHAPES[name])
  stages_lib.picture_sizes(run, size)  # raises where the networks take no such
  return size


def _shape_of(size, resolution):
  """The name of a shape; ValueError where the page has none for it."""
  for name, shares in SHAPES.items():
    if size == tuple(int(share * resolution) for share in shares):
      return name
  raise ValueError('the picture was not drawn for a page: its shape is another')


def again(recipe: recipes.Recipe, cascade: cascade_lib.Cascade) -> Order:
  """The order that a recipe tells of, drawn by this cascade for a page.

  Raises ValueError where it was not.
  """
  if recipe.cascade != cascade.id or recipe.index:
    raise ValueError('the picture was not drawn for a page of this cascade')
  if recipe.layout is not None:
    raise ValueError('the picture was not drawn for a page: it has a layout')
  plan = cascade.plan(upto=recipe.resolution, **recipe.settings)
  fields = {'prompt': recipe.prompt, 'negative': recipe.negative or ''}
  if len(plan) < len(cascade.stages):
    fields['upto'] = str(recipe.resolution)
  if recipe.size:
    fields['shape'] = _shape_of(recipe.size, recipe.resolution)
  for name, values in settings(cascade, plan).items():
    setting = stages_lib.SETTINGS[name]
    if name in EACH:
      stages = cascade.stages[len(plan) - len(values) :]
      for stage, value in zip(stages, values):
        fields[f'{name}_{stage.resolution}'] = f'{value:.9g}'
    elif len(set(values)) == 1:
      fields[name] = setting.spell(values[0])
    elif not setting.choices:  # the page chooses one word for all
      fields[name] = ','.join(map(setting.spell, values))
  return Order(
    prompt=recipe.prompt,
    seed=recipe.seed,
    plan=plan,
    negative=recipe.negative,
    edit=recipe.edit,
    size=recipe.size,
    fields=fields,
  )


def settings(cascade, plan) -> dict[str, list]:
  """What a plan sets other than the stages' own: name -> one value a stage.

  Written out, so that it means the same when presets have changed. The base has
  no aug_level and no margin: there are as many as super-resolution stages.
  """
  found = {}
  for name in settings_lib.deciding():
    first = 0 if stages_lib.SETTINGS[name].base else 1
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
    name: [
      _number(form, f'{name}_{size}', stages_lib.SETTINGS[name].number, None)
      for size in drawn
    ]
    for name in EACH
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
    preset=form.get('preset'),
    **{name: _listed(form, name) for name in ALL},
    **{name: values or None for name, values in given.items()},
  )


def _listed(form, name):
  """A field of a setting of all stages; None where it is empty."""
  if name not in form:
    return None
  try:
    return stages_lib.SETTINGS[name].parse_list(form[name])
  except ValueError as e:
    raise ValueError(f'{name}: {e}') from None


def _check(stage, setting):
  try:
    for name, value in setting.items():
      stages_lib.SETTINGS[name].check(value)
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
