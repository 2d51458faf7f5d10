"""Changes to a user's own picture with a cascade that never learned any.

Not in the paper. `Source` is a picture to start from: noised at a strength and
drawn again (SDEdit, Meng et al. 2022), everywhere or inside a mask (RePaint).
`upscale` runs the super-resolution stages on a picture of any shape.

  uint8 [h, w, 3] -> uint8 [r, r, 3], or [4 h, 4 w, 3]
"""

import dataclasses
import hashlib
import math
import sys
import warnings

import numpy as np
import PIL.Image

from imagen_jax import stages
from imagen_jax.data import images
from imagen_jax.sampling import bundles, placement, stage_sampler, texts

STRENGTH = 0.6  # share of the steps done anew, without a mask
MAX_SIDE = 4096  # pixels of a picture that was upscaled
_FILTER = PIL.Image.Resampling.BICUBIC


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A square picture to start from instead of noise."""

  picture: np.ndarray  # uint8 [s, s, 3]
  mask: np.ndarray | None = None  # bool [s, s]: drawn anew; None = everywhere
  strength: float = STRENGTH  # share of the steps done anew, in [0, 1]
  resamples: int = 1  # times each step is done inside a mask (RePaint)

  def __post_init__(self):
    height, width, _ = self.picture.shape
    if height != width:
      raise ValueError(
        f'the picture is {width} x {height}; cut it to a square first'
      )
    if self.mask is not None and self.mask.shape != (height, width):
      raise ValueError(
        f'the mask is {_size(self.mask)}, the picture {_size(self.picture)}; '
        'give a mask of the size of the picture'
      )
    if self.mask is not None and not self.mask.any():
      raise ValueError(f'the mask is empty: {_NOTHING}')
    self.at(1, 1)  # checks the rest

  def at(self, resolution: int, n: int) -> bundles.Edit:
    """The same for n pictures at a stage's resolution."""
    picture = _resized(self.picture, (resolution, resolution))
    mask = self.mask
    if mask is not None:
      mask = touched(mask, (resolution, resolution))
      mask = np.broadcast_to(mask, (n, *mask.shape))
    return bundles.Edit(
      picture=np.broadcast_to(picture, (n, *picture.shape)),
      strength=self.strength,
      mask=mask,
      resamples=self.resamples,
    )

  def said(self) -> str:
    """In words, for the picture's metadata."""
    where = '' if self.mask is None else f', mask {fingerprint(self.mask)}'
    return (
      f'from {fingerprint(self.picture)}{where}, strength {self.strength:g}, '
      f'resamples {self.resamples}'
    )


def fingerprint(pixels) -> str:
  """16 hexadecimal digits of a picture or a mask."""
  pixels = np.ascontiguousarray(pixels)
  digest = hashlib.sha256(str(pixels.shape).encode())
  digest.update(pixels)
  return digest.hexdigest()[:16]


def read(path) -> np.ndarray:
  """A picture file of any kind -> uint8 [h, w, 3], upright, over white, sRGB.

  A colour profile that cannot be followed is told on standard error. Raises
  ValueError naming the file.
  """
  return _read(path, _pixels)


def _pixels(data, path):
  if images.profile_of(data) == 'ignored':
    print(
      f'note: the colour profile of {path} is damaged or of another kind of '
      'picture; its colours are taken as sRGB',
      file=sys.stderr,
    )
  return np.asarray(images.decode(data))


def _read(path, decode):
  """decode(the file's bytes, path); what goes wrong is one line."""
  try:
    data = images.read(path)
  except OSError as e:
    raise ValueError(f'{path} cannot be read: {e.strerror}') from e
  except images.BadPicture as e:
    raise ValueError(f'{path} cannot be used: {e}') from e
  try:
    with warnings.catch_warnings():
      # What is too large is refused below, on one line.
      warnings.simplefilter('ignore', PIL.Image.DecompressionBombWarning)
      return decode(data, path)
  except images.BadPicture as e:
    remedy = 'give a whole PNG, JPEG or other picture file'
    if 'too many' in str(e):
      remedy = f'at most {images.MAX_PIXELS:,} are taken, make it smaller'
    raise ValueError(f'{path} cannot be used: {e}; {remedy}') from e


def read_mask(path, like) -> np.ndarray:
  """A mask file -> bool [h, w], true where it is bright and not transparent.

  Raises ValueError unless it is of the size of the picture `like` [h, w, 3] and
  something is to be drawn.
  """
  mask = _read(path, lambda data, _: mask_of(data))
  check_mask(path, mask.shape, like.shape[:2], _middle(mask).any())
  return mask


def mask_of(data: bytes) -> np.ndarray:
  """The bytes of a mask file -> bool [h, w]: what is to be drawn anew.

  Transparent is kept, as it is where a painter has painted nothing; what is
  half transparent counts by how bright it is over black. Raises BadPicture.
  """
  values = np.asarray(images.decode_mask(data))
  return values.sum(axis=2, dtype=np.uint16) >= 3 * 128


def check_mask(name, size, wanted, any_bright) -> None:
  """Raises ValueError where a mask cannot be that of a picture.

  Args:
    name: of the mask, for the message.
    size, wanted: (height, width) of the mask and of the picture.
    any_bright: whether there is anything to draw in the square in its middle.
  """
  if size != wanted:
    raise ValueError(
      f'{name} is {size[1]} x {size[0]}, the picture {wanted[1]} x '
      f'{wanted[0]}; give a mask of the size of the picture'
    )
  if not any_bright:
    raise ValueError(
      f'{name} is dark everywhere, or transparent, in the square in its '
      f'middle: {_NOTHING}'
    )


_NOTHING = 'nothing would be drawn; make white what is to be drawn anew'


def square(picture, resolution: int) -> np.ndarray:
  """The centre of a picture or mask [h, w, ...], resized to a square.

  Of a mask a pixel is drawn as soon as any part of it is: thin strokes stay.
  """
  cut = _middle(picture)
  if cut.dtype == bool:
    return touched(cut, (resolution, resolution))
  return _resized(cut, (resolution, resolution))


def _middle(picture):
  """The largest square in the middle."""
  height, width = picture.shape[:2]
  side = min(height, width)
  top, left = (height - side) // 2, (width - side) // 2
  return picture[top : top + side, left : left + side]


def touched(mask, size) -> np.ndarray:
  """bool [h, w] -> bool [*size]: whether any of what a pixel covers is true."""
  for axis, count in enumerate(size):
    whole = mask.shape[axis]
    edges = np.arange(count + 1) * whole
    # Whole numbers: rounding must not let a neighbour in.
    first, last = edges[:-1] // count, -(-edges[1:] // count)
    zero = np.zeros_like(np.take(mask, [0], axis), np.int64)
    sums = np.concatenate([zero, np.cumsum(mask, axis, np.int64)], axis)
    mask = np.take(sums, last, axis) > np.take(sums, first, axis)
  return mask


def outpainting(picture, share: float):
  """The picture shrunk onto a larger white canvas, and the mask around it.

  Args:
    picture: uint8 [s, s, 3].
    share: of the canvas' side, the width of the border, in (0, 0.5).

  Returns:
    uint8 [s, s, 3] and bool [s, s].
  """
  if not 0 < share < 0.5:
    raise ValueError(f'outpaint is {share}; it must lie between 0 and 0.5')
  side = picture.shape[0]
  edge = max(1, round(share * side))
  inner = max(1, side - 2 * edge)
  canvas = np.full_like(picture, 255)
  mask = np.ones((side, side), bool)
  inside = slice(edge, edge + inner)
  canvas[inside, inside] = _resized(picture, (inner, inner))
  mask[inside, inside] = False
  return canvas, mask


def upscale(cascade, picture, plan, *, caption='', seed=0, progress=None):
  """Enlarges a picture by the super-resolution stages of a `plan`.

  A picture larger than half as much again as what the first of them starts
  from goes to the next one at once. Sides that the network does not take are
  padded by their edges, and the result is cut to size.

  Args:
    cascade: a `cascade.Cascade`.
    picture: uint8 [h, w, 3].
    plan: of all its stages, as `Cascade.plan` gives it.
    caption: what is to be seen; the empty one says nothing.
    seed: int in [0, 2^32).
    progress: as of `Cascade.draw`.

  Returns:
    uint8 [f h, f w, 3], f = 4 or 16 for the paper's stages.
  """
  bundles.check_seed(seed)
  embedded = cascade.encoder.encode([caption])
  away = texts.negatives(cascade.encoder, cascade.stages, None, 1)
  for stage, params, sampling in upscaling(cascade, picture, plan):
    (text, mask), negative = texts.for_stage(
      stage, cascade.encoder, *embedded, None, away
    )
    factor = stage.resolution // stage.low_res
    height, width = picture.shape[:2]
    low_res = _padded(picture, _multiple(stage) // factor)
    size = tuple(factor * n for n in low_res.shape[:2])
    cut, devices = cascade.cut(stage), cascade.devices
    rows = size[0] + 2 * stages.edge(stage, sampling)
    if cut and len(on := placement.dividing(devices, rows)) < len(devices):
      devices, params = on, placement.place(params, on)
    picture = stage_sampler.draw(
      stage,
      params,
      sampling,
      bundles.Conditions(
        text=text, mask=mask, negative=negative, low_res=low_res[None]
      ),
      bundles.Seeds(seed=seed, index=np.zeros(1, np.int32)),
      canvas=bundles.Canvas(size=size),
      devices=bundles.Devices(devices=devices, cut=cut),
      observer=bundles.Observer(progress=progress).of(stage.name),
    )[0, : factor * height, : factor * width]
  return picture


def upscaling(cascade, picture, plan):
  """(stage, params, sampling) of the stages that `upscale` runs."""
  steps = [
    step
    for step in zip(cascade.stages, cascade.params, plan)
    if step[0].low_res is not None
  ]
  if not steps:
    raise ValueError(
      'this cascade, or what --upto leaves of it, has no super-resolution '
      'stage to enlarge with'
    )
  side = max(picture.shape[:2])
  while len(steps) > 1 and side > 1.5 * steps[0][0].low_res:
    steps = steps[1:]
  factor = math.prod(s.resolution // s.low_res for s, _, _ in steps)
  if side * factor > MAX_SIDE:
    raise ValueError(
      f'the picture is {_size(picture)}, {factor} times that is more than '
      f'{MAX_SIDE} pixels a side; make it smaller or cut it'
    )
  return steps


def _multiple(stage):
  """What the sides of a stage's pictures must be a multiple of."""
  return math.lcm(stage.resolution // stage.low_res, stage.model.multiple)


def _padded(picture, multiple):
  height, width = picture.shape[:2]
  pad = (-height % multiple, -width % multiple)
  return np.pad(picture, ((0, pad[0]), (0, pad[1]), (0, 0)), 'edge')


def _resized(picture, size):
  """uint8 [h, w, ...] -> [*size, ...], antialiased."""
  if picture.shape[:2] == size:
    return picture
  image = PIL.Image.fromarray(picture)
  return np.asarray(image.resize(size[::-1], _FILTER))


def _size(picture):
  return f'{picture.shape[1]} x {picture.shape[0]}'
