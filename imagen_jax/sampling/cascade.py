"""The cascade: text encoder and stages bound together (section 2.4).

  captions -> text [n, l, d] -> 64 px -> 256 px -> 1024 px, uint8 [n, r, r, 3]

    cascade = load_cascade()
    images = cascade.sample(['a red fox at sunset'], seed=7)

A picture is a function of its caption, the seed and its index within the
prompt; what else is drawn in the same call changes nothing.
"""

import dataclasses
import math
import numbers
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from flax import errors as flax_errors

from imagen_jax import stages as stages_lib
from imagen_jax.config import checks
from imagen_jax.sampling import (
  edits,
  manifests,
  placement,
  presets,
  stage_sampler,
  texts,
)
from imagen_jax.stages import chains
from imagen_jax.text import encoders

SHIPPED = pathlib.Path(__file__).parents[1] / 'pretrained' / 'scenes'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """One picture: the caption and its number among the caption's pictures."""

  caption: str
  index: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Cascade:
  """Stages from coarse to fine with their weights, and a text encoder."""

  stages: tuple[stages_lib.Stage, ...]  # lowest resolution first
  params: tuple[dict, ...]  # a tree of weights for each stage
  encoder: encoders.TextEncoder
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

  def sample(
    self,
    captions: Sequence[str],
    *,
    num_images: int = 1,
    seed: int = 0,
    upto: int | None = None,
    preset: str | None = None,
    guidance: float | Sequence[float] | None = None,
    steps: int | Sequence[int] | None = None,
    aug_level: float | Sequence[float] | None = None,
    margin: int | Sequence[int] | None = None,
    sampler: str | Sequence[str] | None = None,
    grid: str | Sequence[str] | None = None,
    threshold: str | Sequence[str] | None = None,
    percentile: float | Sequence[float] | None = None,
    in_turn: bool | None = None,
    size: tuple[int, int] | None = None,
    negative: str | None = None,
    source: edits.Source | None = None,
    progress: Callable[[str, int, int], None] | None = None,
  ) -> np.ndarray:
    """Draws `num_images` pictures of each caption.

    Args:
      captions: what to draw.
      num_images: pictures per caption.
      seed: in [0, 2^32).
      upto: resolution of the last stage to run, pixels; None = all stages.
      preset: named settings of all stages, 'paper', 'fast' or 'draft'; what is
        given below goes before it. None = the stages' own.
      guidance: weight w of section 2.2, 1 = off; like those below one value
        for all stages or one per stage drawn; None = the stage's own.
      steps: steps of the sampler.
      aug_level: noise on the low-res picture, in [0, 1] (section 2.4); may
        also be one value per super-resolution stage.
      margin: pixels of the low-res picture by which its border is continued on
        each side while a super-resolution stage draws; likewise.
      sampler: one of `stages.SAMPLERS`.
      grid: what the steps divide evenly, one of `stages.GRIDS`, or of IF's
        `stages.WHOLE_GRIDS`, or its times as '999:500:0'.
      threshold: of section 2.3, one of `stages.THRESHOLDS`.
      percentile: of dynamic thresholding, percent in (1, 100].
      in_turn: whether guidance's two network calls come one after the other,
          for half the memory.
      size: (height, width) of the pictures that come out; None = square, of
          the last stage's resolution. Others than the network was trained on
          are its own risk.
      negative: a caption to lead away from where guidance is on; None = from
        no caption, as in the paper.
      source: a picture to change; None = from noise.
      progress: called as progress(stage name, step, steps) now and then, in
        network steps over all batches of the stage.

    Returns:
      uint8 [captions * num_images, h, w, 3], the pictures of a caption
      together. What is odd about a caption is a warning.
    """
    if isinstance(captions, str):
      raise ValueError(f'captions is the string {captions!r}; give a list')
    if num_images < 1:
      raise ValueError(f'num_images is {num_images}; it must be at least 1')
    plan = self.plan(
      upto=upto,
      preset=preset,
      guidance=guidance,
      steps=steps,
      aug_level=aug_level,
      margin=margin,
      sampler=sampler,
      grid=grid,
      threshold=threshold,
      percentile=percentile,
      in_turn=in_turn,
    )
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
      progress=progress,
    )

  def plan(self, *, upto=None, preset=None, **settings):
    """Settings of the stages to run: a tuple of `stages.Sampling`.

    Takes what `sample` takes: guidance, steps, aug_level, margin, sampler,
    grid, threshold, percentile, in_turn. Raises ValueError where they make no
    sense.
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
      plan.append(dataclasses.replace(stage.sampling, **changes))
    plan = tuple(plan)
    for stage, sampling in zip(drawn, plan):
      stages_lib.check_sampling(stage, sampling)
    return plan

  def draw(
    self,
    requests,
    plan,
    **options,
  ) -> np.ndarray:
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
    self,
    text,
    mask,
    index,
    plan,
    *,
    seed=0,
    size=None,
    negative=None,
    source=None,
    given=None,
    progress=None,
    watch=None,
    measure=None,
  ) -> np.ndarray:
    """Draws a picture of each text [n, l, d], of mask [n, l]: [n, h, w, 3].

    Args:
      text, mask: embeddings of captions, or between those of several: a mask
        may hold numbers in [0, 1].
      index: [n] numbers of the pictures within their caption.
      plan: see `plan`.
      seed, size, negative, source, progress: see `sample`.
      given: uint8 [n, h, w, 3], what the first of the stages gave before: the
        others alone are run, to the same pictures.
      watch, measure: called with a stage's name and then as
        `stage_sampler.draw` does, on what the pictures are on the way.
    """
    if not checks.fits(seed, int) or not 0 <= seed < 2**32:
      raise ValueError(
        f'seed is {seed!r}; it must be a whole number in [0, 2^32)'
      )
    sizes = stages_lib.picture_sizes(self.stages[: len(plan)], size)
    if size is not None and source is not None:
      raise ValueError(
        'a picture to change is square; leave out the size, or the picture'
      )
    run = self.stages[: len(plan)]
    away = texts.negatives(self.encoder, run, negative, len(index))
    pictures, done = given, 0
    if given is not None:
      if given.shape[1:3] not in sizes[:-1]:
        raise ValueError(
          f'the pictures given are {list(given.shape)}; the stages before the '
          f'last give heights and widths of {sizes[:-1]}'
        )
      done = 1 + sizes.index(given.shape[1:3])
    run = [*zip(self.stages, self.params, plan, sizes)]
    for stage, params, sampling, (height, width) in run[done:]:
      seen, away_from = texts.for_stage(
        stage, self.encoder, text, mask, negative, away
      )
      try:
        pictures = stage_sampler.draw(
          stage,
          params,
          *seen,
          seed=seed,
          index=index,
          sampling=sampling,
          low_res=pictures,
          size=(height, width),
          negative=away_from,
          edit=source and source.at(stage.resolution, len(index)),
          devices=self.devices,
          cut=self.cut(stage),
          progress=progress and _named(progress, stage.name),
          watch=watch and _named(watch, stage.name),
          measure=measure and _named(measure, stage.name),
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
    lines = []
    for caption in dict.fromkeys(captions):
      if not caption.strip():
        lines.append(
          "an empty prompt is drawn from the empty caption's embedding: "
          'anything may come'
        )
      prepared = self.encoder.prepared([caption])[0]
      if cut := self.encoder.tokenizer.cut(prepared).strip():
        lines.append(
          f'the prompt {_short(caption)} is longer than '
          f'{self.encoder.tokenizer.max_length} tokens; cut off: {cut!r}'
        )
      unknown = sorted(
        set(manifests.words_in(caption)) - (self.words or frozenset())
      )
      if self.words is not None and unknown:
        lines.append(
          f'the prompt {_short(caption)} has words outside the vocabulary '
          f'of this cascade: {", ".join(unknown)}'
        )
    return lines

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
  """Reads and verifies a cascade directory; None = the one that ships.

  Pictures are spread over `devices`, all of this process where it is None; at
  stages from the resolution `rows_from` on, rows of pictures are. Raises
  ValueError with one line and the remedy.
  """
  devices = tuple(jax.local_devices() if devices is None else devices)
  directory = SHIPPED if path is None else pathlib.Path(path)
  if path is None and not (directory / manifests.FILE).is_file():
    raise ValueError(
      f'no cascade ships with this installation ({directory} has no '
      f'{manifests.FILE}); install the package again or name a directory'
    )
  manifest = manifests.read(directory)
  manifests.verify(directory, manifest)
  read = [stages_lib.read(directory / name) for name in manifest.stages]
  encoder = encoders.load(directory / manifest.text)
  return Cascade(
    stages=tuple(stage for stage, _ in read),
    params=tuple(placement.place(params, devices) for _, params in read),
    encoder=dataclasses.replace(
      encoder, params=placement.place(encoder.params, devices[:1])
    ),
    words=None if manifest.words is None else frozenset(manifest.words),
    id=manifest.id,
    licence=manifest.licence,
    devices=devices,
    rows_from=rows_from,
    presets=presets.read(directory, len(read)),
  )


def _per_stage(name, value, drawn):
  """One value, one per stage, or None -> a list with one per stage."""
  if value is None or isinstance(value, numbers.Real | str):
    return [value] * len(drawn)
  values = list(value)
  if len(values) == 1:
    return values * len(drawn)
  if name in presets.OF_SUPER_RESOLUTION and len(values) == len(drawn) - 1:
    return [None, *values]  # the base has no low-res picture
  if len(values) != len(drawn):
    sizes = ', '.join(str(stage.resolution) for stage in drawn)
    raise ValueError(
      f'{name} has {len(values)} values, {len(drawn)} stages are drawn '
      f'({sizes}); give one value for all or one for each'
    )
  return values


def _steps_of_list(changes):
  """How many steps a grid has that lists them."""
  listed = stages_lib.listed_times(changes.get('grid', ''))
  return {} if listed is None else {'steps': len(listed)}


def _named(call, name):
  return lambda *args: call(name, *args)


def _short(caption):
  """The caption in quotes, shortened to be recognised in a message."""
  return repr(caption if len(caption) <= 40 else caption[:37] + '...')
