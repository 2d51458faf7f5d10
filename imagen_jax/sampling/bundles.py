"""What belongs together on the way from a cascade down to its programs.

n pictures, drawn b at a time; text is [n, l, d] with its mask [n, l].
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np

from imagen_jax.config import checks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditions:
  """What a stage is told of each picture."""

  text: np.ndarray  # [n, l, d] float32, embeddings of the captions
  mask: np.ndarray  # [n, l] bool, or numbers in [0, 1]: how much a token counts
  # (text, mask) like the two above: what guidance leads away from; None = no
  # text, as in the paper.
  negative: tuple[np.ndarray, np.ndarray] | None = None
  low_res: np.ndarray | None = None  # uint8 [n, h / f, w / f, 3]; None = base
  boxes: np.ndarray | None = None  # float32 [n, k, 6]; None = no layout

  def rows(self, rows):
    """Those of some pictures alone."""
    return jax.tree.map(lambda x: x[rows], self)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Seeds:
  """Where the noise of each picture comes from.

  Seed, index, resolution and purpose alone make the keys.
  """

  seed: int  # in [0, 2^32)
  index: np.ndarray  # [n] ints, each picture's number within its prompt

  def rows(self, rows):
    """Those of some pictures alone, as numbers of 32 bits."""
    index = np.asarray(self.index, np.int32)[rows]
    return Seeds(seed=np.uint32(self.seed), index=index)


def check_seed(seed):
  """Raises ValueError where it is none; keys are made from 32 bits."""
  if not checks.fits(seed, int) or not 0 <= seed < 2**32:
    raise ValueError(
      f'seed is {seed!r}; it must be a whole number in [0, 2^32)'
    )


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

  def widened(self, edge):
    """The same with the borders continued by so many pixels."""
    mask = None if self.mask is None else widened(self.mask, edge)
    picture = widened(self.picture, edge)
    return dataclasses.replace(self, picture=picture, mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Canvas:
  """What the pictures are drawn on."""

  size: tuple[int, int] | None = None  # (h, w); None = the stage's resolution
  edit: Edit | None = None  # None = from noise

  @property
  def masked(self):
    """Whether a part of a picture is kept."""
    return self.edit is not None and self.edit.mask is not None

  def steps(self, sampling):
    """How many of the steps are run: at least one."""
    if self.edit is None:
      return sampling.steps
    return max(1, round(self.edit.strength * sampling.steps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Devices:
  """Where a stage draws.

  Each device draws a batch at a time, where there are pictures for more than
  one; parameters lie as `placement.place` has them.
  """

  devices: Sequence[jax.Device] | None = None  # None = JAX's own choice
  # Whether they share the rows of each picture, for which one has not the
  # memory; the pictures then differ in the last bits.
  cut: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observer:
  """Who is told how the drawing goes on; None = nobody.

  progress(done, total): in steps of all batches, at the start and at the
    borders of the segments.
  watch(rows, step, x0 uint8 [rows, h, w, 3]): some `stage_sampler.WATCHED`
    times a batch, what the pictures of these rows are thought to be after so
    many steps.
  measure(rows, share, figures {name: [rows]}): before every step, the share
    of the steps done, and what thresholding and guidance are about to do
    (`denoising.make_figures`). Takes as long as drawing.

  A cascade's observer is called with the stage's name first.
  """

  progress: Callable | None = None
  watch: Callable | None = None
  measure: Callable | None = None

  def of(self, *first):
    """The same, called with these arguments before the others."""

    def named(call):
      return call and (lambda *args: call(*first, *args))

    return Observer(
      progress=named(self.progress),
      watch=named(self.watch),
      measure=named(self.measure),
    )


PLAIN, ANY, NOBODY = Canvas(), Devices(), Observer()


def widened(pictures, pixels, numpy=np):
  """[n, h, w, ...] with borders continued by so many pixels each way."""
  around = [(0, 0), (pixels, pixels), (pixels, pixels)]
  around += [(0, 0)] * (pictures.ndim - 3)
  return numpy.pad(pictures, around, 'edge')
