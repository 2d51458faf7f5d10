"""A process of 1,000 whole steps, as DeepFloyd IF was trained on.

Not in the paper, whose time is continuous. IF's network is told the *time* k in
0 (clean) .. 999 (noise), and its pictures have the noise of

  alpha_bar_k = product of 1 - beta_i for i = 0..k

`SquaredCosine` is that schedule, as continuous as the others where it must be:
between whole times log alpha_bar is interpolated, and at them it is exact.
"""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

_WHOLE = 1e-2  # as near to a whole time, it is meant
_OFFSET = 0.008  # of the cosine, so that the first beta is not too small
_MAX_BETA = 0.999


@dataclasses.dataclass(frozen=True, kw_only=True)
class SquaredCosine:
  """Nichol and Dhariwal 2021, eq. 17: alpha_bar = cos^2, betas below 0.999.

  Called like every schedule: t [...] in [0, 1] -> logsnr [...], with time k at
  t = (k + 1) / steps and nothing cleaner than time 0. Known in diffusers as
  squaredcos_cap_v2; betas are rounded to float32 as there.
  """

  steps: int = 1000  # number of discrete steps

  def __post_init__(self):
    if self.steps < 1:
      raise ValueError(f'steps={self.steps} must be at least 1.')

  def __call__(self, t) -> jax.Array:
    return self.at(jnp.asarray(t, jnp.float32) * self.steps - 1)

  def at(self, time) -> jax.Array:
    """logsnr at times [...], exact where they are whole."""
    sums = _log_alpha_bar(self.steps)
    times = np.arange(self.steps, dtype=np.float32)
    time = jnp.asarray(time, jnp.float32)
    log_alpha_bar = jnp.interp(time, times, sums.astype(np.float32))
    # alpha^2 / (1 - alpha^2) without forming 1 - alpha^2.
    return -jnp.log(jnp.expm1(-log_alpha_bar))

  def time(self, logsnr) -> jax.Array:
    """The inverse of `at`, what the network is told: [...] -> [...]."""
    falling = -_log_alpha_bar(self.steps).astype(np.float32)
    times = np.arange(self.steps, dtype=np.float32)
    logsnr = jnp.asarray(logsnr, jnp.float32)
    time = jnp.interp(-jax.nn.log_sigmoid(logsnr), falling, times)
    whole = jnp.round(time)
    return jnp.where(jnp.abs(time - whole) < _WHOLE, whole, time)


@functools.lru_cache(maxsize=16)
def _log_alpha_bar(steps) -> np.ndarray:
  """Cumulative log(1 - beta), [steps], summed in float64."""
  u = (np.arange(steps + 1) / steps + _OFFSET) / (1 + _OFFSET)
  alpha_bar = np.cos(math.pi / 2 * u) ** 2
  betas = np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], _MAX_BETA)
  return np.cumsum(np.log1p(-betas.astype(np.float32).astype(np.float64)))


# Times per section of a process cut into equal sections, cleanest first, as
# published with IF: 'super' is for super-resolution.
_SECTIONS = {
  'fast27': (10, 10, 3, 2, 2),
  'smart27': (7, 4, 2, 1, 2, 4, 7),
  'smart50': (10, 6, 4, 3, 2, 2, 3, 4, 6, 10),
  'smart100': (
    *(1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 4, 4),
    *(5, 5, 6, 7, 7, 8, 9, 10, 13),
  ),
  'smart185': (
    *(1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9),
    *(10, 11, 12, 13, 14, 15, 16, 18, 20),
  ),
  'super27': (1, 1, 1, 1, 1, 1, 1, 2, 5, 13),
  'super40': (2, 2, 2, 2, 2, 2, 3, 4, 6, 15),
  'super100': (4, 4, 6, 6, 8, 8, 10, 10, 14, 30),
}
TIME_LISTS = tuple(_SECTIONS)


def even_times(count: int, steps: int = 1000) -> tuple[int, ...]:
  """`count` times to sample at, falling by steps // count to 0.

  As diffusers spaces them; the noisiest may lie well below the last step.
  """
  if not 1 <= count <= steps:
    raise ValueError(
      f'{count} steps asked of a process of {steps}; give 1 to {steps}'
    )
  return tuple(steps // count * i for i in reversed(range(count)))


def listed_times(name: str, steps: int = 1000) -> tuple[int, ...]:
  """The times of one of IF's lists by its name, falling to 0."""
  if name not in _SECTIONS:
    raise ValueError(f'{name!r} is none of the lists {", ".join(TIME_LISTS)}')
  sections = _SECTIONS[name]
  size, longer = divmod(steps, len(sections))
  times, first = [], 0
  for i, count in enumerate(sections):
    length = size + (i < longer)
    stride = (length - 1) / max(1, count - 1)
    # Summed up as published: it decides which way a half is rounded.
    within = itertools.accumulate([stride] * (count - 1), initial=0.0)
    times += [first + round(x) for x in within]
    first += length
  return tuple(times[::-1])


def check_times(times, steps: int = 1000) -> tuple[int, ...]:
  """`times` as they are; ValueError unless they fall and lie in the process."""
  times = tuple(times)
  falling = all(a > b for a, b in zip(times, times[1:]))
  if not times or not falling or times[0] >= steps or times[-1] < 0:
    raise ValueError(
      f'times are {times}; they must be whole numbers that fall, from '
      f'{steps - 1} at most to 0 at least'
    )
  return times
