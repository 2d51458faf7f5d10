"""The cascade: text encoder and stages bound together (section 2.4).

  captions -> text [n, l, d] -> 64 px -> 256 px -> 1024 px, uint8 [n, r, r, 3]

    cascade = load_cascade()
    images = cascade.sample(['a red fox at sunset'], seed=7)

A picture is a function of its caption, the seed and its index within the
prompt; what else is drawn in the same call changes nothing.
"""

import dataclasses
import math
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from flax import errors as flax_errors

from imagen_jax import stages as stages_lib
from imagen_jax.config import environment
from imagen_jax.files import hub
from imagen_jax.sampling import (
  bundles,
  edits,
  layout_files,
  layout_sampler,
  manifests,
  placement,
  presets,
  prompts,
  requests,
  stage_sampler,
  texts,
)
from imagen_jax.stages import chains, layout_stage
from imagen_jax.stages import settings as settings_lib
from imagen_jax.text import encoders

SHIPPED = pathlib.Path(__file__).parents[1] / 'pretrained' / 'scenes'


Request = requests.Request


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Cascade:
  """Stages from coarse to fine with their weights, and a text encoder."""

  stages: tuple[stages_lib.Stage, ...]  # lowest resolution first
  params: tuple[dict, ...]  # a tree of weights for each stage
  encoder: encoders.TextEncoder
  # Draws where things belong, for a base that is told: a stage and its weights.
  layout: tuple[layout_stage.LayoutStage, dict] | None = None
  words: frozenset[str] | None = None  # claimed vocabulary; None = no claim
  id: str = ''  # of the cascade directory
  licence: str | None = None  # of the weights; None = nothing is said
  # Drawn on, with params on each; None = where JAX puts things.
  devices: tuple[jax.Device, ...] | None = None
  # Stages from this resolution on have the rows of a picture cut over the
  # devices; None = every device draws whole pictures.
  rows_from: int | None = None
  # Its own presets, name -> settings of each stage; see `presets`.
  presets: Mapping[str, tuple[dict, ...]] = dataclasses.field(
    default_factory=dict
  )

  def __post_init__(self):
    chains.check(self.stages)
    chains.check_text(
      self.stages,
      self.encoder.config.width,
      self.encoder.tokenizer.max_length,
      self.encoder.as_if,
    )
    if self.layout is not None:
      chains.check_layout(self.stages, self.layout[0])

  def sample(
    self,
    captions: Sequence[str],
    *,
    num_images: int = 1,
    seed: int = 0,
    upto: int | None = None,
    preset: str | None = None,
    size: tuple[int, int] | None = None,
    negative: str | None = None,
    source: edits.Source | None = None,
    layout: Sequence[layout_files.Box] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **settings,
  ) -> np.ndarray:
    """Draws `num_images` pictures of each caption.

    Args:
      captions: what to draw.
      num_images: pictures per caption.
      seed: in [0, 2^32).
      upto: resolution of the last stage to run, pixels; None = all stages.
      preset: named settings of all stages, 'paper', 'fast' or 'draft'; what is
        given below goes before it. None = the stages' own.
      size: (height, width) of the pictures that come out; None = square, of
          the last stage's resolution. Others than the network was trained on
          are its own risk.
      negative: a caption to lead away from where guidance is on; None = from
        no caption, as in the paper.
      source: a picture to change; None = from noise.
      layout: what to draw where (`layout_files.read`), for a base that is told
        of layouts; None = as the layout stage of the cascade has it.
      progress: called as progress(stage name, step, steps) now and then, in
        network steps over all batches of the stage.
      **settings: of `stages.SETTINGS` by name, such as guidance=3.0 or
        steps=[32, 16, 8]; see `plan`.

    Returns:
      uint8 [captions * num_images, h, w, 3], the pictures of a caption
      together. What is odd about a caption is a warning.
    """
    if isinstance(captions, str):
      raise ValueError(f'captions is the string {captions!r}; give a list')
    if num_images < 1:
      raise ValueError(f'num_images is {num_images}; it must be at least 1')
    plan = self.plan(upto=upto, preset=preset, **settings)
    for remark in self.remarks(captions):
      warnings.warn(remark, stacklevel=2)
    requests = [
      Request(caption=caption, index=index)
      for caption in captions
      for index in range(num_images)
    ]
    return self.draw(
      requests,
      plan,
      seed=seed,
      size=size,
      negative=negative,
      source=source,
      layout=layout,
      progress=progress,
    )

  def plan(self, *, upto=None, preset=None, **settings):
    """Settings of the stages to run: a tuple of `stages.Sampling`.

    Args:
      upto, preset: see `sample`.
      **settings: of `stages.SETTINGS` by name, each one value for all stages
        or a sequence of one for each; of aug_level and margin also of one for
        each super-resolution stage. None = the stage's own (or the preset's),
        'off' = none where there may be none. guidance_range=(-5.0, 5.0) is one
        range; [(-5.0, 5.0), 'off'] one for each of two stages.

    Raises ValueError where a setting is unknown or its value makes no sense.
    """
    drawn = self._stages_upto(upto)
    named = presets.settings(preset, len(self.stages), self.presets)
    given = {
      name: _per_stage(name, value, drawn) for name, value in settings.items()
    }
    plan = []
    for i, stage in enumerate(drawn):
      changes = {k: v[i] for k, v in given.items() if v[i] is not None}
      changes = named[i] | _steps_of_list(changes) | changes
      plan.append(settings_lib.replaced(stage.sampling, **changes))
    plan = tuple(plan)
    for stage, sampling in zip(drawn, plan):
      stages_lib.check_sampling(stage, sampling)
    return plan

  def draw(self, requests, plan, **options) -> np.ndarray:
    """Draws one picture per `Request` by a `plan`: uint8 [n, r, r, 3].

    The other arguments are those of `draw_texts`.
    """
    captions = list(dict.fromkeys(r.caption for r in requests))
    text, mask = self.encoder.encode(captions)
    row_of = {caption: row for row, caption in enumerate(captions)}
    rows = [row_of[r.caption] for r in requests]
    index = [r.index for r in requests]
    return self.draw_texts(text[rows], mask[rows], index, plan, **options)

  def draw_texts(
    self, text, mask, index, plan, *, seed=0, **options
  ) -> np.ndarray:
    """Draws a picture of each text [n, l, d], of mask [n, l]: [n, h, w, 3].

    Args:
      text, mask: embeddings of captions, or between those of several: a mask
        may hold numbers in [0, 1].
      index: [n] numbers of the pictures within their caption.
      plan: see `plan`.
      seed: see `sample`.
      **options: the fields of `requests.Options`.
    """
    options = requests.Options(**options)
    bundles.check_seed(seed)
    sizes = stages_lib.picture_sizes(self.stages[: len(plan)], options.size)
    if options.size is not None and options.source is not None:
      raise ValueError(
        'a picture to change is square; leave out the size, or the picture'
      )
    seeds = bundles.Seeds(seed=seed, index=np.asarray(index))
    drawn = self.stages[: len(plan)]
    away = texts.negatives(self.encoder, drawn, options.negative, len(index))
    pictures, done, boxes = options.given, 0, None
    if pictures is None:
      negative = self._negative(options.negative, len(index))
      told = bundles.Conditions(text=text, mask=mask, negative=negative)
      boxes = self.boxes(told, seeds, options)
    else:
      done = _stages_done(pictures, sizes)
    run = [*zip(self.stages, self.params, plan, sizes)]
    for stage, params, sampling, size in run[done:]:
      source = options.source
      seen, away_from = texts.for_stage(
        stage, self.encoder, text, mask, options.negative, away
      )
      try:
        pictures = stage_sampler.draw(
          stage,
          params,
          sampling,
          bundles.Conditions(
            text=seen[0],
            mask=seen[1],
            negative=away_from,
            low_res=pictures,
            boxes=boxes,
          ),
          seeds,
          canvas=bundles.Canvas(
            size=size,
            edit=source and source.at(stage.resolution, len(index)),
          ),
          devices=bundles.Devices(devices=self.devices, cut=self.cut(stage)),
          observer=options.observer.of(stage.name),
        )
      # `bind` compares the shapes; to trace every network again here would
      # cost each run more than it is worth.
      except flax_errors.FlaxError as e:
        raise ValueError(
          f'stage {stage.name}: the weights are not those of its '
          f'{stages_lib.CONFIG_FILE} ({str(e).splitlines()[0][:160]}); bind '
          'the cascade again'
        ) from e
    return pictures

  def boxes(self, conditions, seeds, options):
    """Where the base is told that things are: [n, k, 6], or None.

    As given; else drawn by the layout stage, unless a picture is changed,
    whose things have their places.
    """
    if self.stages[0].layout is None:
      if options.layout is not None:
        raise ValueError(
          'the base of this cascade is not told of layouts; leave the layout '
          'out, or take a cascade whose base was trained with Stage.layout'
        )
      return None
    n = len(seeds.index)
    if options.layout is not None:
      return layout_files.rows(self.stages[0].layout, options.layout, n)
    if self.layout is None or options.source is not None or options.unplaced:
      return None
    return self._placed(conditions, seeds)

  def _placed(self, conditions, seeds):
    """What the layout stage draws: [n, k, 6]."""
    try:
      return layout_sampler.draw(*self.layout, conditions, seeds)
    except flax_errors.FlaxError as e:
      raise ValueError(
        'the layout stage: its weights are not those of its '
        f'{layout_stage.CONFIG_FILE} ({str(e).splitlines()[0][:160]}); bind '
        'the cascade again'
      ) from e

  def _negative(self, caption, n):
    if caption is None:
      return None
    return tuple(
      np.repeat(x, n, axis=0) for x in self.encoder.encode([caption])
    )

  def layouts(self, requests, *, seed=0, negative=None):
    """What the layout stage places for each `Request`: [(Box, ...)], or None.

    What `draw` uses where no layout is given.
    """
    if self.layout is None or self.stages[0].layout is None:
      return None
    text, mask = self.encoder.encode([r.caption for r in requests])
    conditions = bundles.Conditions(
      text=text, mask=mask, negative=self._negative(negative, len(requests))
    )
    index = np.asarray([r.index for r in requests])
    seeds = bundles.Seeds(seed=seed, index=index)
    boxes = self._placed(conditions, seeds)
    return [layout_files.boxes_of(self.stages[0].layout, b) for b in boxes]

  def cut(self, stage) -> bool:
    """Whether the rows of the stage's pictures are cut over the devices."""
    return self.rows_from is not None and stage.resolution >= self.rows_from

  def group(self, num_stages) -> int:
    """Pictures to draw at a time: whole batches of all stages and devices.

    Any other number costs more and changes nothing.
    """
    batches = (s.sampling.batch for s in self.stages[:num_stages])
    return len(self.devices or [None]) * math.lcm(*batches)

  def remarks(self, captions) -> list[str]:
    """What a user should know about the captions, a line each."""
    return prompts.remarks(captions, self.encoder, self.words)

  def _stages_upto(self, upto):
    if upto is None:
      return self.stages
    resolutions = [stage.resolution for stage in self.stages]
    if upto not in resolutions:
      raise ValueError(
        f'upto is {upto}, the stages of this cascade end at '
        f'{", ".join(map(str, resolutions))}; choose one of these'
      )
    return self.stages[: resolutions.index(upto) + 1]


def load_cascade(path=None, *, devices=None, rows_from=None) -> Cascade:
  """Reads and verifies a cascade directory or hf://user/name; None = shipped.

  Pictures are spread over `devices`, all of this process where it is None; at
  stages from the resolution `rows_from` on, rows of pictures are. Raises
  ValueError with one line and the remedy.
  """
  environment.check()
  devices = tuple(jax.local_devices() if devices is None else devices)
  directory = SHIPPED if path is None else hub.local(path)
  if path is None and not (directory / manifests.FILE).is_file():
    raise ValueError(
      f'no cascade ships with this installation ({directory} has no '
      f'{manifests.FILE}); install the package again or name a directory'
    )
  manifest = manifests.read(directory)
  manifests.verify(directory, manifest)
  read = [stages_lib.read(directory / name) for name in manifest.stages]
  layout = None
  if manifest.layout is not None:
    layout = layout_stage.read(directory / manifest.layout)
  encoder = encoders.load(directory / manifest.text)
  return Cascade(
    stages=tuple(stage for stage, _ in read),
    params=tuple(placement.place(params, devices) for _, params in read),
    encoder=dataclasses.replace(
      encoder, params=placement.place(encoder.params, devices[:1])
    ),
    layout=layout,
    words=None if manifest.words is None else frozenset(manifest.words),
    id=manifest.id,
    licence=manifest.licence,
    devices=devices,
    rows_from=rows_from,
    presets=presets.read(directory, len(read)),
  )


def _stages_done(pictures, sizes):
  """How many stages gave these pictures [n, h, w, 3]."""
  if pictures.shape[1:3] not in sizes[:-1]:
    raise ValueError(
      f'the pictures given are {list(pictures.shape)}; the stages before the '
      f'last give heights and widths of {sizes[:-1]}'
    )
  return 1 + sizes.index(pictures.shape[1:3])


def _per_stage(name, value, drawn):
  """What is given of a setting: a list with one value, or None, per stage."""
  if name in stages_lib.SETTINGS and stages_lib.SETTINGS[name].bound:
    raise ValueError(
      f'{name} is bound to the stages, as part of what a seed means; give it '
      'to imagen_jax.bind'
    )
  sizes = [stage.resolution for stage in drawn]
  return settings_lib.per_stage(name, value, sizes)


def _steps_of_list(changes):
  """How many steps a grid has that lists them."""
  listed = stages_lib.listed_times(changes.get('grid', ''))
  return {} if listed is None else {'steps': len(listed)}
