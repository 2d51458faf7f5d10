"""How a stage is sampled: `Sampling`, and the one table of its settings.

`SETTINGS` says of every field what it means, what it may be and whom it
concerns. Flags (`sampling.setting_flags`), the keywords of `Cascade.plan`,
presets, recipes, protocols, sweeps and the page all follow from it: a new
setting is a field of `Sampling`, its entry in the table, and the code that
heeds it.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from imagen_jax.diffusion import discrete
from imagen_jax.stages import entries

MAX_STEPS = 4096  # of a sampler; more is surely a slip

SAMPLERS = ('ddpm', 'ddim', 'dpmpp_2m', 'dpmpp_2m_sde', 'heun')
GRIDS = ('time', 'logsnr', 'karras')
WHOLE_GRIDS = ('whole', *discrete.TIME_LISTS)  # of IF's whole times
THRESHOLDS = ('dynamic', 'static', 'none')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """How a stage is sampled unless the user says otherwise; see `SETTINGS`."""

  sampler: str = 'dpmpp_2m'
  steps: int = 32
  grid: str = 'time'
  guidance: float = 5.0
  guidance_range: tuple[float, float] | None = None
  oscillate_from: int | None = None
  rescale: float = 0.0
  in_turn: bool = False
  threshold: str = 'dynamic'
  percentile: float = 99.5
  cap: float | None = None
  aug_level: float = 0.1
  gamma: float | None = 0.3
  eta: float = 0.0
  batch: int = 4
  margin: int = 0

  def __post_init__(self):
    for name, setting in SETTINGS.items():
      setting.check(getattr(self, name))
    _check_grid(self.grid, self.steps)


def _entry(name, **about):
  field = Sampling.__dataclass_fields__[name]
  return entries.Setting(name=name, kind=field.type, **about)


# In the order in which they are shown.
_TABLE = (
  _entry(
    'guidance',
    label='Guidance',
    value='W',
    help='weight of classifier-free guidance, no unit: how closely to follow '
    'the sentence',
    fits=lambda weight: 0 <= weight < math.inf,
    wanted='be 0 or more (1 = off)',
    usual=True,
    recipe=entries.ALWAYS,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'guidance_range',
    label='Guided range',
    value='FROM:TO',
    help='log signal-to-noise ratios between which guidance is on, and 1 '
    'outside; -20 is noise, 20 the picture',
    fits=lambda ends: ends[0] <= ends[1],
    wanted='rise, from the noisier logsnr to the cleaner',
    recipe=entries.UNLIKE_OWN,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'oscillate_from',
    label='Oscillates from',
    value='STEP',
    help='step from which on every other weight of guidance is 1',
    fits=lambda step: step >= 0,
    wanted='be a step, 0 or more',
    recipe=entries.UNLIKE_OWN,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'rescale',
    label='Rescale',
    value='SHARE',
    help='share of the contrast that guidance adds which is taken back',
    fits=lambda share: 0 <= share <= 1,
    wanted='lie in [0, 1]',
    recipe=entries.UNLIKE_OWN,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'in_turn',
    label='In turn',
    value='',
    help="whether guidance's two network calls are run one after the other, "
    'for half the memory; changes pictures by rounding alone',
    wanted='be True or False',
    decides=False,
  ),
  _entry(
    'threshold',
    label='Threshold',
    value='NAME',
    help='what becomes of pixels outside [-1, 1]',
    choices=THRESHOLDS,
    usual=True,
    recipe=entries.ALWAYS,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'percentile',
    label='Percentile',
    value='P',
    help='percent of the pixels that dynamic thresholding leaves inside',
    fits=lambda percent: 1 < percent <= 100,
    wanted='lie in (1, 100]',
    recipe=entries.ALWAYS,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'cap',
    label='Cap',
    value='S',
    help='most that dynamic thresholding divides by, no unit',
    fits=lambda scale: scale >= 1,
    wanted='be at least 1',
    recipe=entries.UNLIKE_OWN,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'steps',
    label='Steps',
    value='N',
    help='steps of the sampler: network evaluations of a picture, twice as '
    'many of heun',
    fits=lambda steps: 1 <= steps <= MAX_STEPS,
    wanted=f'be a whole number from 1 to {MAX_STEPS}',
    usual=True,
    recipe=entries.ALWAYS,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'grid',
    label='Grid',
    value='NAME',
    help=f'what the steps divide evenly, one of {", ".join(GRIDS)}; of '
    f'DeepFloyd IF also {", ".join(WHOLE_GRIDS)}, or times that fall '
    '(999:500:0)',
    wanted=f'be one of {GRIDS}, or a list of times',
    recipe=entries.ALWAYS,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'aug_level',
    label='Noise',
    value='A',
    help='noise on the picture that a super-resolution stage starts from, 0 = '
    'none to 1 = nothing else: more frees its hand',
    fits=lambda level: 0 <= level <= 1,
    wanted='lie in [0, 1]',
    usual=True,
    base=False,
    recipe=entries.ALWAYS,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'margin',
    label='Margin',
    value='PIXELS',
    help='pixels by which the border of the picture that a super-resolution '
    'stage starts from is continued on each side while it draws, cut off '
    'again: no line along the edges where the stage learned from crops',
    fits=lambda pixels: 0 <= pixels <= 64,
    wanted='be a whole number from 0 to 64',
    base=False,
  ),
  _entry(
    'sampler',
    label='Solver',
    value='NAME',
    help='solver of the reverse process',
    choices=SAMPLERS,
    usual=True,
    recipe=entries.ALWAYS,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'gamma',
    label='Gamma',
    value='SHARE',
    help='of ddpm, its noise: interpolates the log-variance, 0 = the '
    "posterior's to 1 = the forward process'",
    fits=lambda share: 0 <= share <= 1,
    wanted='lie in [0, 1]',
    recipe=entries.UNLIKE_OWN,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'eta',
    label='Eta',
    value='SHARE',
    help='of ddim, its noise: 0 = none to 1 = as ddpm',
    fits=lambda share: 0 <= share <= 1,
    wanted='lie in [0, 1]',
    recipe=entries.UNLIKE_OWN,
    protocol=entries.ALWAYS,
  ),
  _entry(
    'batch',
    label='Batch',
    value='N',
    help='pictures in one compiled call, padded; part of what a seed means',
    fits=lambda pictures: pictures >= 1,
    wanted='be at least 1',
    decides=False,
    bound=True,
  ),
)
SETTINGS: Mapping[str, entries.Setting] = {
  setting.name: setting for setting in _TABLE
}


def offered() -> list[str]:
  """Names of the settings that may be given for a picture."""
  return [name for name, setting in SETTINGS.items() if not setting.bound]


def deciding() -> list[str]:
  """Names of the settings that decide what a picture is."""
  return [name for name, setting in SETTINGS.items() if setting.decides]


def replaced(sampling: Sampling, **settings) -> Sampling:
  """`sampling` with some settings as they were given; None = as it is."""
  changes = {
    name: SETTINGS[name].taken(value)
    for name, value in settings.items()
    if value is not None
  }
  return dataclasses.replace(sampling, **changes)


def per_stage(
  name: str, value, resolutions: Sequence[int], what: str = 'drawn'
) -> list:
  """What is given of a setting -> a list with a value for each stage.

  Args:
    name: of the setting.
    value: one for all, a sequence of one for each, or of one for each
      super-resolution stage where the base has none; None = the stages' own.
      Two numbers are one `guidance_range`.
    resolutions: of the stages, pixels.
    what: is done with the stages, for the message.

  Returns:
    A list with None for each stage that keeps its own.
  """
  setting = SETTINGS.get(name)
  if setting is None:
    raise ValueError(
      f'there is no setting {name!r}; there are {", ".join(offered())}'
    )
  if value is None or setting.is_one(value):
    return [value] * len(resolutions)
  if not isinstance(value, Iterable):
    raise ValueError(f'{name} is {value!r}; it must {setting.must}')
  values = list(value)
  if len(values) == 1:
    return values * len(resolutions)
  if not setting.base and len(values) == len(resolutions) - 1:
    return [None, *values]
  if len(values) != len(resolutions):
    sizes = ', '.join(map(str, resolutions))
    raise ValueError(
      f'{name} has {len(values)} values, {len(resolutions)} stages are {what} '
      f'({sizes}); give one value for all or one for each'
    )
  return values


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
