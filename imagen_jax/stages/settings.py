"""How a stage is sampled: the settings that its directory and users give."""

import dataclasses
import math
import re

from imagen_jax.config import checks
from imagen_jax.diffusion import discrete

MAX_STEPS = 4096  # of a sampler; more is surely a slip

SAMPLERS = ('ddpm', 'ddim', 'dpmpp_2m', 'dpmpp_2m_sde', 'heun')
GRIDS = ('time', 'logsnr', 'karras')
WHOLE_GRIDS = ('whole', *discrete.TIME_LISTS)  # of IF's whole times
THRESHOLDS = ('dynamic', 'static', 'none')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """How a stage is sampled unless the user says otherwise."""

  sampler: str = 'dpmpp_2m'  # one of SAMPLERS
  steps: int = 32  # of the sampler, a network call each ('heun': two)
  # What the steps divide evenly, one of GRIDS; or, of IF's process of whole
  # times, one of WHOLE_GRIDS, or times that fall: '999:500:0'.
  grid: str = 'time'
  guidance: float = 5.0  # weight w of section 2.2; 1 = off
  guidance_range: tuple[float, float] | None = None  # logsnr; None = all
  oscillate_from: int | None = None  # step; then every other w is 1; None = off
  rescale: float = 0.0  # share of guidance's contrast taken back, in [0, 1]
  in_turn: bool = False  # text and no text one by one: slower, half the memory
  threshold: str = 'dynamic'  # one of THRESHOLDS
  percentile: float = 99.5  # of |x0|, in percent, for dynamic thresholding
  cap: float | None = None  # of dynamic thresholding's scale; None = no bound
  aug_level: float = 0.1  # noise on the low-res picture; unused by the base
  # Log-variance interpolation of 'ddpm', in [0, 1]; None = as it was learned,
  # by a network that learns it (0 is fixed_small in diffusers).
  gamma: float | None = 0.3
  eta: float = 0.0  # noise of 'ddim', 0 = deterministic to 1 = as 'ddpm'
  batch: int = 4  # pictures in one compiled call, padded
  # Pixels of the low-res picture by which its border is continued on each side
  # while the stage draws; cut off again. For a stage that learned from crops.
  margin: int = 0

  def __post_init__(self):
    whole = checks.fits(self.steps, int)
    if not whole or not 1 <= self.steps <= MAX_STEPS:
      raise ValueError(
        f'steps is {self.steps}; it must be a whole number from 1 to '
        f'{MAX_STEPS}'
      )
    if not checks.fits(self.batch, int) or self.batch < 1:
      raise ValueError(f'batch is {self.batch}; it must be at least 1')
    if not checks.fits(self.margin, int) or not 0 <= self.margin <= 64:
      raise ValueError(
        f'margin is {self.margin}; it must be a whole number from 0 to 64'
      )
    for name, known in (
      ('sampler', SAMPLERS),
      ('threshold', THRESHOLDS),
    ):
      if getattr(self, name) not in known:
        raise ValueError(
          f'{name} {getattr(self, name)!r} is not one of {known}'
        )
    _check_grid(self.grid, self.steps)
    for name, fits, wanted in (
      ('guidance', 0 <= self.guidance < math.inf, 'be 0 or more (1 = off)'),
      ('aug_level', 0 <= self.aug_level <= 1, 'lie in [0, 1]'),
      (
        'gamma',
        self.gamma is None or 0 <= self.gamma <= 1,
        'lie in [0, 1], or None',
      ),
      ('eta', 0 <= self.eta <= 1, 'lie in [0, 1]'),
      ('rescale', 0 <= self.rescale <= 1, 'lie in [0, 1]'),
      ('cap', self.cap is None or self.cap >= 1, 'be at least 1, or None'),
      (
        'oscillate_from',
        self.oscillate_from is None or self.oscillate_from >= 0,
        'be a step, 0 or more, or None',
      ),
      (
        'guidance_range',
        self.guidance_range is None
        or self.guidance_range[0] <= self.guidance_range[1],
        'rise, from the noisier logsnr to the cleaner',
      ),
      ('percentile', 1 < self.percentile <= 100, 'lie in (1, 100]'),
    ):
      if not fits:
        raise ValueError(f'{name} is {getattr(self, name)}; it must {wanted}')


def times(sampling):
  """The whole times of its grid, falling; None where the grid has none."""
  if sampling.grid == 'whole':
    return discrete.even_times(sampling.steps)
  return listed_times(sampling.grid)


def listed_times(grid):
  """The times that a grid lists; None where `steps` says how many."""
  if not isinstance(grid, str):
    return None
  if grid in discrete.TIME_LISTS:
    return discrete.listed_times(grid)
  if re.fullmatch(r'\d{1,3}(:\d{1,3})*', grid):
    return discrete.check_times(map(int, grid.split(':')))
  return None


def _check_grid(grid, steps):
  """Raises ValueError where there is no such grid, or of other steps."""
  listed = listed_times(grid)
  if listed is None and grid not in (*GRIDS, *WHOLE_GRIDS):
    raise ValueError(
      f'grid {grid!r} is not one of {GRIDS}, nor, of whole times, of '
      f"{WHOLE_GRIDS}, nor a list of them such as '999:500:0'"
    )
  if listed is not None and len(listed) != steps:
    raise ValueError(
      f'grid {grid!r} lists {len(listed)} times, steps is {steps}; set steps '
      f'to {len(listed)}'
    )
  if grid == 'whole':
    discrete.even_times(steps)  # checks the number
