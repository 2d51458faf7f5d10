"""Draws requests and writes them as files, with a bar and a contact sheet.

Not in the paper. Pictures are written group by group as they are done, so that
a long list neither fills the memory nor is lost when it is cut short.
"""

import math
import pathlib

import tqdm

from imagen_jax import cascade as cascade_lib
from imagen_jax import edits, pictures, recipes

SHEET = 'sheet.png'


def draw(
  cascade,
  plan,
  prompts,
  num_images,
  seed,
  out,
  *,
  negative=None,
  source=None,
  save_steps=False,
):
  """Draws every picture, writing each group as it is done: list of paths.

  With `save_steps` each gets a strip beside it of how it came about.
  """
  requests = [
    cascade_lib.Request(caption=prompt, index=index)
    for prompt in prompts
    for index in range(num_images)
  ]
  drawn = cascade.stages[: len(plan)]
  size = drawn[-1].resolution
  names = dict(zip(prompts, pictures.slugs(prompts)))
  several = 1 < len(requests) <= pictures.SHEET_MOST
  sheet = pictures.Sheet(prompts, num_images, size) if several else None
  written = []
  # Whole batches of every stage: grouping neither costs nor changes anything.
  group = math.lcm(*(stage.sampling.batch for stage in drawn))
  with Bar(drawn, plan, len(requests), group) as bar:
    for first in range(0, len(requests), group):
      part = requests[first : first + group]
      strips = pictures.Strips(len(part)) if save_steps else None
      images = cascade.draw(
        part,
        plan,
        seed=seed,
        negative=negative,
        source=source,
        progress=bar.report,
        watch=strips and strips.add,
      )
      for n, (request, image) in enumerate(zip(part, images), start=first):
        path = out / f'{names[request.caption]}_seed{seed}_{request.index}.png'
        text = recipes.write(
          cascade,
          plan,
          request,
          seed,
          negative=negative,
          edit=source and source.said(),
        )
        pictures.write_png(path, image, text)
        written.append(path)
        if strips:
          written.append(path.with_name(f'{path.stem}_steps.png'))
          strips.write(n - first, written[-1])
        if sheet:
          sheet.add(*divmod(n, num_images), image)
  if sheet:
    sheet.write(out / SHEET)
    written.append(out / SHEET)
  return written


def enlarge(cascade, plan, path, prompt, seed, out):
  """Writes the picture file `path` enlarged by `edits.upscale`: [its path]."""
  picture = edits.read(path)
  drawn = edits.upscaling(cascade, picture, plan)
  chosen = [sampling for _, _, sampling in drawn]
  with Bar([stage for stage, _, _ in drawn], chosen, 1, 1) as bar:
    image = edits.upscale(
      cascade, picture, plan, caption=prompt, seed=seed, progress=bar.report
    )
  height, width = image.shape[:2]
  fresh = out / f'{pictures.slug(pathlib.Path(path).stem)}_{width}x{height}.png'
  text = recipes.write(
    cascade,
    plan,
    cascade_lib.Request(caption=prompt),
    seed,
    edit=f'upscale of {edits.fingerprint(picture)}',
  )
  pictures.write_png(fresh, image, text)
  return [fresh]


def draw_again(cascade, recipe, path, out):
  """Draws the picture of a `recipes.Recipe` of the file `path` again.

  Returns the path of the new file and its pixels. Raises ValueError where it
  cannot be the same picture.
  """
  if recipe.edit:
    raise ValueError(
      f'{path} was made of another picture ({recipe.edit}), which is not in '
      'it; give the same command again'
    )
  if cascade.id != recipe.cascade:
    raise ValueError(
      f'{path} was drawn by the cascade {recipe.cascade[:40]}, this one is '
      f'{cascade.id}; name the same with --cascade=DIR'
    )
  plan = cascade.plan(upto=recipe.resolution, **recipe.settings)
  request = cascade_lib.Request(caption=recipe.prompt, index=recipe.index)
  with Bar(cascade.stages[: len(plan)], plan, 1, 1) as bar:
    (image,) = cascade.draw(
      [request],
      plan,
      seed=recipe.seed,
      negative=recipe.negative,
      progress=bar.report,
    )
  fresh = out / f'{pathlib.Path(path).stem}_again.png'
  text = recipes.write(
    cascade, plan, request, recipe.seed, negative=recipe.negative
  )
  pictures.write_png(fresh, image, text)
  return fresh, image


class Bar:
  """A progress bar over the steps of all stages and groups."""

  def __init__(self, stages, plan, num_pictures, group):
    self._sizes = {stage.name: stage.resolution for stage in stages}
    batches = [
      sum(
        -(-min(group, num_pictures - first) // stage.sampling.batch)
        for first in range(0, num_pictures, group)
      )
      for stage in stages
    ]
    total = sum(n * sampling.steps for n, sampling in zip(batches, plan))
    self._bar = tqdm.tqdm(total=total, unit='step', disable=None)
    self._step = 0  # of the stage that is running

  def report(self, name, step, steps):
    """The `progress` of `Cascade.draw`."""
    del steps
    self._bar.set_description_str(f'{self._sizes[name]} px')
    self._bar.update(step - self._step if step else 0)
    self._step = step

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self._bar.close()
