"""Draws pictures with one stage of the cascade (sections 2.2 to 2.4).

Noise -> guided, thresholded denoiser -> sampler, for a super-resolution stage
on top of a low-res picture that is corrupted at the chosen aug_level and then
upsampled (appendix A.32); or from a picture that is changed (`Edit`).
Everything runs at one compiled batch size, so that a picture does not depend on
its companions: XLA's results differ in the last bits between batch sizes.

  text [n, l, d], mask [n, l], low_res uint8 [n, h / f, w / f, 3]
    -> uint8 [n, h, w, 3]
"""

import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax import composition, stages
from imagen_jax.diffusion import (
  conditioning,
  grids,
  images,
  process,
  repainting,
  samplers,
)

# Purposes of a picture's keys; the values are part of what a seed means.
_START, _AUGMENT, _STEPS, _REPAINT = 0, 1, 2, 3
# Grids are padded to a multiple of this many steps: one program for all.
_CAPACITY = 256
# Looks at the x-predictions of a stage, about.
WATCHED = 8
# Seconds between two reports of progress, about; segments grow towards it.
_REPORT_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit:
  """Pictures to start from instead of noise, at the stage's resolution."""

  picture: np.ndarray  # uint8 [n, h, w, 3]
  strength: float = 1.0  # share of the steps done anew, 0 = none to 1 = all
  mask: np.ndarray | None = None  # bool [n, h, w]: to draw anew; None = all
  resamples: int = 1  # times each step is done, where there is a mask

  def __post_init__(self):
    if not 0 <= self.strength <= 1:
      raise ValueError(f'strength is {self.strength}; it must lie in [0, 1]')
    if self.resamples < 1:
      raise ValueError(
        f'resamples is {self.resamples}; it must be at least 1 (once)'
      )
    if self.mask is not None and self.mask.shape != self.picture.shape[:3]:
      raise ValueError(
        f'the mask is {list(self.mask.shape)}, the picture '
        f'{list(self.picture.shape)}; give a mask of the size of the picture'
      )

  def rows(self, rows):
    """The edit of some pictures alone."""
    mask = None if self.mask is None else self.mask[rows]
    return dataclasses.replace(self, picture=self.picture[rows], mask=mask)


def draw(
  stage,
  params,
  text,
  mask,
  *,
  seed,
  index,
  sampling,
  low_res=None,
  size=None,
  negative=None,
  edit=None,
  progress=None,
  watch=None,
):
  """Draws n pictures with one stage, in batches of `stage.sampling.batch`.

  Args:
    stage: a `stages.Stage`.
    params: its weights.
    text: [n, l, d] float32, embeddings of the captions.
    mask: [n, l] bool.
    seed: int in [0, 2^32).
    index: [n] ints, each picture's number within its prompt. Seed, index,
      resolution and purpose alone make the keys.
    sampling: the `stages.Sampling` to use, but for its batch: that of the
      stage is part of what a seed means.
    low_res: uint8 [n, h / f, w / f, 3], for a super-resolution stage.
    size: (h, w) of the pictures; None = the stage's resolution.
    negative: (text, mask) like the two above: what guidance leads away from;
      None = no text, as in the paper.
    edit: an `Edit`; None = from noise.
    progress: None, or called as progress(done, total) in steps of all
      batches, at the start and at the borders of the segments.
    watch: None, or called some WATCHED times a batch as watch(rows, step, x0
      uint8 [rows, h, w, 3]): what the pictures of these rows are thought to be
      after so many steps.

  Returns:
    uint8 [n, h, w, 3].
  """
  n, batch = len(index), stage.sampling.batch
  height, width = size or (stage.resolution, stage.resolution)
  if edit is not None and edit.strength == 0:
    return np.array(edit.picture)
  pictures = np.zeros([n, height, width, 3], np.uint8)
  steps = _steps(sampling, edit)
  total = -(-n // batch) * steps
  for done, first in enumerate(range(0, n, batch)):
    rows = np.minimum(np.arange(first, first + batch), n - 1)  # last: padding
    report = progress and functools.partial(
      lambda before, step: progress(before + step, total), done * steps
    )
    seen = watch and functools.partial(_watch, watch, range(n)[first:][:batch])
    part = _draw_batch(
      stage,
      params,
      (text[rows], mask[rows]),
      None if negative is None else tuple(x[rows] for x in negative),
      (np.uint32(seed), np.asarray(index, np.int32)[rows]),
      None if low_res is None else low_res[rows],
      (height, width),
      None if edit is None else edit.rows(rows),
      sampling,
      report,
      seen,
    )
    pictures[first : first + batch] = part[: n - first]
  if edit is not None and edit.mask is not None:
    # The known part to the last bit.
    return np.where(edit.mask[..., None], pictures, edit.picture)
  return pictures


def _steps(sampling, edit):
  """How many of the steps are run: at least one."""
  if edit is None:
    return sampling.steps
  return max(1, round(edit.strength * sampling.steps))


def _watch(watch, rows, step, x0):
  watch(rows, step, np.asarray(images.to_uint8(x0[: len(rows)])))


def _draw_batch(
  stage,
  params,
  text,
  negative,
  noise,
  low_res,
  size,
  edit,
  sampling,
  report,
  watch,
):
  """One compiled batch: uint8 [b, h, w, 3]."""
  if report:
    report(0)
  steps = _steps(sampling, edit)
  masked = edit is not None and edit.mask is not None
  begin, run, finish = _programs(
    stage,
    _compiled_part(stage, sampling),
    size,
    edit.resamples if masked else None,
  )
  capacity = -(-sampling.steps // _CAPACITY) * _CAPACITY
  carry, keys, levels, inputs = begin(
    params,
    *noise,
    grids.fractions(sampling.steps, capacity, sampling.steps - steps),
    np.int32(steps),
    np.float32(sampling.guidance),
    text,
    negative,
    low_res,
    np.float32(sampling.aug_level),
    None if steps == sampling.steps else edit.picture,
    (edit.picture, edit.mask) if masked else None,
  )
  step, length = 0, 1 if report else steps
  longest = -(-steps // WATCHED) if watch else steps
  while step < steps:
    length = min(length, steps - step, longest - step % longest)
    before = time.monotonic()
    carry = run(
      carry, np.int32(step), np.int32(length), levels, keys, (params, inputs)
    )
    step += length
    if watch and (step % longest == 0 or step == steps):
      watch(step, carry.x0)
    if report:
      carry.z.block_until_ready()
      report(step)
      if time.monotonic() - before < _REPORT_SECONDS / 2:
        length *= 2
  pictures, finite = finish(carry.z)
  if not finite:
    raise FloatingPointError(
      f'stage {stage.name} drew a picture that is not finite; its weights or '
      'the settings of its sampler are broken'
    )
  return np.asarray(pictures)


def _compiled_part(stage, sampling):
  """`sampling` as far as the programs depend on it; the rest is traced."""
  guided = sampling.guidance != 1.0
  return dataclasses.replace(
    sampling,
    steps=1,
    guidance=2.0 if guided else 1.0,
    aug_level=0.0,
    batch=stage.sampling.batch,
  )


@functools.lru_cache(maxsize=64)
def _programs(stage, sampling, size, resamples):
  """The compiled begin, segment and finish; one set per stage and process.

  `resamples` is None where nothing is repainted.
  """

  def make_step(inputs):
    step, inputs = composition.step_function(sampling), inputs[1]
    if resamples is None:
      return step
    return repainting.repaint_step(
      step, inputs.known, inputs.mask, inputs.keys, inputs.levels, resamples
    )

  run = samplers.compiled_segment(
    lambda inputs: composition.make_denoise(stage, sampling, *inputs), make_step
  )

  def begin(
    params,
    seed,
    index,
    u,
    steps,
    weight,
    text,
    negative,
    low_res,
    aug_level,
    start,
    kept,
  ):
    spacing = composition.spacing(sampling)
    levels = grids.levels(spacing, stage.schedule, u, steps)
    keys = functools.partial(_keys, _picture_keys(stage, seed, index))
    z = _normal(keys(_START), size)
    if start is not None:
      z = process.add_noise(images.to_float(start), z, levels[0])
    condition = {}
    if low_res is not None:
      condition = _low_res_condition(low_res, aug_level, keys(_AUGMENT), size)
    known = {}
    if kept is not None:
      picture, mask = kept
      known = {
        'known': images.to_float(picture),
        'mask': jnp.float32(mask)[..., None],
        'keys': keys(_REPAINT),
      }
    null = conditioning.null_text(*text) if negative is None else negative
    texts = [
      {'text': stages.text_context(stage, params, *t), 'mask': t[1]}
      for t in (text, null)
    ]
    inputs = composition.Inputs(
      condition=condition | texts[0],
      null=condition | texts[1],
      levels=levels,
      weights=composition.guidance_weights(sampling, levels, weight),
      **known,
    )
    return samplers.start(z), keys(_STEPS), levels, inputs

  def finish(z):
    return images.to_uint8(z), jnp.all(jnp.isfinite(z))

  return jax.jit(begin), run, jax.jit(finish)


def _picture_keys(stage, seed, index):
  """A key for each picture, [b]."""
  # Named: a user's default kind of key must not change what a seed means.
  key = jax.random.key(seed, impl='threefry2x32')
  key = jax.random.fold_in(key, stage.resolution)
  return jax.vmap(jax.random.fold_in, (None, 0))(key, index)


def _keys(keys, purpose):
  return jax.vmap(jax.random.fold_in, (0, None))(keys, purpose)


def _normal(keys, size):
  shape = (*size, 3)
  return jax.vmap(lambda k: jax.random.normal(k, shape, jnp.float32))(keys)


def _low_res_condition(low_res, aug_level, keys, size):
  """The low-res picture, corrupted and upsampled, and how noisy it is."""
  low_res, aug_logsnr = conditioning.augment(
    images.to_float(low_res),
    jnp.full(low_res.shape[0], aug_level),
    _normal(keys, low_res.shape[1:3]),
  )
  up = conditioning.upsample(low_res, size)
  return {'low_res': up, 'aug_logsnr': aug_logsnr}
