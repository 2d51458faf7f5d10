"""How a stage is sampled: the settings that its directory and users give."""

import dataclasses
import math

from imagen_jax.config import checks

MAX_STEPS = 4096  # of a sampler; more is surely a slip

SAMPLERS = ('ddpm', 'ddim', 'dpmpp_2m', 'dpmpp_2m_sde', 'heun')
GRIDS = ('time', 'logsnr', 'karras')
THRESHOLDS = ('dynamic', 'static', 'none')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """How a stage is sampled unless the user says otherwise."""

  sampler: str = 'dpmpp_2m'  # one of SAMPLERS
  steps: int = 32  # of the sampler, a network call each ('heun': two)
  grid: str = 'time'  # what the steps divide evenly, one of GRIDS
  guidance: float = 5.0  # weight w of section 2.2; 1 = off
  guidance_range: tuple[float, float] | None = None  # logsnr; None = all
  oscillate_from: int | None = None  # step; then every other w is 1; None = off
  rescale: float = 0.0  # share of guidance's contrast taken back, in [0, 1]
  in_turn: bool = False  # text and no text one by one: slower, half the memory
  threshold: str = 'dynamic'  # one of THRESHOLDS
  percentile: float = 99.5  # of |x0|, in percent, for dynamic thresholding
  cap: float | None = None  # of dynamic thresholding's scale; None = no bound
  aug_level: float = 0.1  # noise on the low-res picture; unused by the base
  gamma: float = 0.3  # log-variance interpolation of 'ddpm', in [0, 1]
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
      ('grid', GRIDS),
      ('threshold', THRESHOLDS),
    ):
      if getattr(self, name) not in known:
        raise ValueError(
          f'{name} {getattr(self, name)!r} is not one of {known}'
        )
    for name, fits, wanted in (
      ('guidance', 0 <= self.guidance < math.inf, 'be 0 or more (1 = off)'),
      ('aug_level', 0 <= self.aug_level <= 1, 'lie in [0, 1]'),
      ('gamma', 0 <= self.gamma <= 1, 'lie in [0, 1]'),
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
