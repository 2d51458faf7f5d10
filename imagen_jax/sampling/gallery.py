"""Draws requests and writes them as files, with a bar and a contact sheet.

Not in the paper. Pictures are written group by group as they are done, so that
a long list neither fills the memory nor is lost when it is cut short.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import tqdm

from imagen_jax.files import pictures, plots
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import (
  edits,
  interpolation,
  layout_files,
  recipes,
  stage_sampler,
)

SHEET = 'sheet.png'


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Order:
  """What is to be drawn, how, and where to."""

  cascade: cascade_lib.Cascade
  plan: tuple  # of `Cascade.plan`
  prompts: Sequence[str]
  out: pathlib.Path
  file: pathlib.Path | None = None  # of the only picture; None = by its name
  num_images: int = 1  # of each prompt
  seed: int = 0
  size: tuple[int, int] | None = None  # height, width; None = square
  negative: str | None = None
  source: edits.Source | None = None
  # What to draw where; None = as the cascade's layout stage has it, if any.
  layout: Sequence[layout_files.Box] | None = None
  save_steps: bool = False  # a strip of how each came about, beside it

  @property
  def stages(self):
    """The stages to run."""
    return self.cascade.stages[: len(self.plan)]

  def requests(self):
    return [
      cascade_lib.Request(caption=prompt, index=index)
      for prompt in self.prompts
      for index in range(self.num_images)
    ]

  @functools.cached_property
  def _names(self):
    return dict(zip(self.prompts, pictures.slugs(self.prompts)))

  def path(self, request):
    """Where its picture goes."""
    if self.file is not None:
      return self.file
    name = self._names[request.caption]
    return self.out / f'{name}_seed{self.seed}_{request.index}.png'

  def recipe(self, request):
    """The metadata of its picture."""
    return recipes.write(
      self.cascade,
      self.plan,
      request,
      self.seed,
      negative=self.negative,
      edit=self.source and self.source.said(),
      size=self.size,
      layout=self.layout,
    )

  def placed(self, requests):
    """What their metadata says besides: where a layout stage put things."""
    if self.layout is not None or self.source is not None:
      return [{} for _ in requests]
    placed = self.cascade.layouts(
      requests, seed=self.seed, negative=self.negative
    )
    if placed is None:
      return [{} for _ in requests]
    return [{layout_files.PLACED: layout_files.to_text(b)} for b in placed]


def kept(order, requests):
  """Those of the requests whose pictures are there, drawn as they would be.

  Raises ValueError where a file of the name was drawn in another way.
  """
  pictures.sweep_up(order.out)
  there = []
  for request in requests:
    path = order.path(request)
    text = pictures.read_text(path) if path.exists() else None
    if text is None:  # none, or not whole: it is drawn
      continue
    if other := recipes.difference(text, order.recipe(request)):
      raise ValueError(
        f'{path} is there, drawn with {other}; give another --out, or the same '
        'settings to go on'
      )
    there.append(request)
  return there


def draw(order, requests=None, failed=None):
  """Draws pictures and writes each group as it is done: yields the paths.

  Args:
    order: an `Order`.
    requests: some of its requests; None = all.
    failed: called as failed(request, error) where a picture comes out as no
      picture; None = that is raised. The others are drawn all the same.
  """
  requests = order.requests() if requests is None else requests
  group = order.cascade.group(len(order.plan))
  run = [*zip(order.stages, order.plan)]
  with Bar(run, len(requests), group, order.cascade) as bar:
    for first in range(0, len(requests), group):
      part = requests[first : first + group]
      seen = Seen(order, len(part)) if order.save_steps else None
      images = _images(order, part, bar, seen, failed)
      placed = order.placed(part)
      for n, (request, image) in enumerate(zip(part, images)):
        if image is None:
          continue
        path = order.path(request)
        pictures.write_png(path, image, order.recipe(request) | placed[n])
        yield path
        if seen:
          yield from seen.write(n, path)


class Seen:
  """What goes on while some pictures are drawn, for `--save_steps`."""

  def __init__(self, order, n):
    self.strips = pictures.Strips(n)
    self._sizes = {s.name: f'{s.resolution} px' for s in order.stages}
    self._figures = [{} for _ in range(n)]  # {stage: [(share, figures)]}

  def measure(self, stage, rows, share, figures):
    """Of `Cascade.draw_texts`."""
    for number, row in enumerate(rows):
      here = {name: float(values[number]) for name, values in figures.items()}
      self._figures[row].setdefault(stage, []).append((100 * share, here))

  def write(self, number, path):
    """Writes the strip and the chart of the picture at `path`: their paths."""
    strip, chart = (
      path.with_name(f'{path.stem}_{name}.png') for name in ('steps', 'chart')
    )
    self.strips.write(number, strip)
    panels = [
      self._panel(number, 'outside', 100, 'Values outside [-1, 1]', 'percent'),
      self._panel(
        number, 'guidance', 1, 'How far guidance moves the picture', 'rms of x0'
      ),
    ]
    pictures.write_png(chart, plots.draw(panels), {})
    return [strip, chart]

  def _panel(self, number, name, factor, title, unit):
    return plots.Panel(
      title=title,
      x_label='percent of the steps done',
      y_label=unit,
      y_least=0.0,
      markers=False,
      curves=[
        plots.Curve(
          label=self._sizes[stage],
          x=[share for share, _ in points],
          y=[factor * figures[name] for _, figures in points],
        )
        for stage, points in self._figures[number].items()
      ],
    )


def _images(order, part, bar, seen, failed):
  """The pictures of a group, None for each that came to nothing."""

  def draw(requests, seen):
    return order.cascade.draw(
      requests,
      order.plan,
      seed=order.seed,
      size=order.size,
      negative=order.negative,
      source=order.source,
      layout=order.layout,
      progress=bar.report,
      watch=seen and seen.strips.add,
      measure=seen and seen.measure,
    )

  try:
    return draw(part, seen)
  except FloatingPointError as e:
    if failed is None:
      raise
    if len(part) == 1:
      failed(part[0], e)
      return [None]
  # One of them spoilt it; what is drawn alone is the same to the last bit.
  return [_images(order, [r], bar, None, failed)[0] for r in part]


def interpolate(order, n):
  """Writes a strip and an animation from prompt to prompt: their paths."""
  run = [*zip(order.stages, order.plan)]
  frames = max(1, len(order.prompts) - 1) * n
  with Bar(run, frames, frames, order.cascade) as bar:
    images = interpolation.draw(
      order.cascade,
      order.prompts,
      n,
      order.plan,
      seed=order.seed,
      size=order.size,
      negative=order.negative,
      progress=bar.report,
    )
  text = order.recipe(cascade_lib.Request(caption=' -> '.join(order.prompts)))
  text['edit'] = f'interpolation, {n} pictures from prompt to prompt'
  name = f'{pictures.slug("-".join(order.prompts))}_seed{order.seed}_between'
  strip, gif = (order.out / f'{name}.{kind}' for kind in ('png', 'gif'))
  pictures.write_png(strip, interpolation.strip(images, order.prompts), text)
  interpolation.write_animation(gif, images)
  return [strip, gif]


def write_sheet(order):
  """A contact sheet of the pictures that are there: its path, or None."""
  requests = order.requests()
  if not 1 < len(requests) <= pictures.SHEET_MOST:
    return None
  size = order.stages[-1].resolution
  sheet = pictures.Sheet(order.prompts, order.num_images, size)
  for n, request in enumerate(requests):
    path = order.path(request)
    if path.exists():
      sheet.add(*divmod(n, order.num_images), pictures.read_png(path)[0])
  sheet.write(order.out / SHEET)
  return order.out / SHEET


def enlarge(cascade, plan, path, prompt, seed, out, file=None):
  """Writes the picture file `path` enlarged by `edits.upscale`: [its path].

  In the directory `out`, under its own name unless it is to be `file`.
  """
  picture = edits.read(path)
  drawn = edits.upscaling(cascade, picture, plan)
  with Bar([(stage, sampling) for stage, _, sampling in drawn]) as bar:
    image = edits.upscale(
      cascade, picture, plan, caption=prompt, seed=seed, progress=bar.report
    )
  height, width = image.shape[:2]
  name = f'{pictures.slug(pathlib.Path(path).stem)}_{width}x{height}.png'
  fresh = file or out / name
  text = recipes.write(
    cascade,
    plan,
    cascade_lib.Request(caption=prompt),
    seed,
    edit=f'upscale of {edits.fingerprint(picture)}',
  )
  pictures.write_png(fresh, image, text)
  return [fresh]


def draw_again(cascade, recipe, path, out, file=None):
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
  with Bar([*zip(cascade.stages, plan)]) as bar:
    (image,) = cascade.draw(
      [request],
      plan,
      seed=recipe.seed,
      size=recipe.size,
      negative=recipe.negative,
      layout=recipe.layout,
      progress=bar.report,
    )
  fresh = file or out / f'{pathlib.Path(path).stem}_again.png'
  text = recipes.write(
    cascade,
    plan,
    request,
    recipe.seed,
    negative=recipe.negative,
    size=recipe.size,
    layout=recipe.layout,
  )
  pictures.write_png(fresh, image, text)
  return fresh, image


class Bar:
  """A progress bar over the steps of all stages and groups.

  Args:
    run: (stage, sampling) of the stages to run.
    num_pictures: in all.
    group: of these are drawn at a time.
    cascade: that draws them; None = on one device.
  """

  def __init__(self, run, num_pictures=1, group=1, cascade=None):
    self._sizes = {stage.name: stage.resolution for stage, _ in run}
    groups = [
      min(group, num_pictures - first)
      for first in range(0, num_pictures, group)
    ]
    total = sum(
      stage_sampler.calls(
        stage,
        n,
        cascade and cascade.devices,
        bool(cascade and cascade.cut(stage)),
      )
      * sampling.steps
      for stage, sampling in run
      for n in groups
    )
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
