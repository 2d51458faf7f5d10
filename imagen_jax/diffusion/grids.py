"""Grids: the levels of noise that a sampler goes through (Imagen app. A).

A spacing puts n + 1 levels between noise and clean, evenly in something:

  spacing(schedule, u [m]) -> logsnr [m]       u from 1 (noise) to 0 (clean)

`uniform_time` is the paper's. The others leave out what lies beyond EDM's
range of noise, where nothing is left to draw: at its noisy end a picture is
1/80 of the noise.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

# sigma / alpha from 0.002 to 80 (Karras et al. 2022, table 1) as logsnr.
EDM_MIN, EDM_MAX = -2 * math.log(80), -2 * math.log(0.002)
_RHO = 7.0  # of `karras`, the same table


def uniform_time(schedule, u) -> jax.Array:
  """logsnr at even times: schedule(u)."""
  return schedule(u)


def uniform_logsnr(schedule, u) -> jax.Array:
  """Even steps of logsnr, as in DPM-Solver (Lu et al. 2022)."""
  low, high = _range(schedule)
  return high + u * (low - high)


def karras(schedule, u) -> jax.Array:
  """Even steps of s^(1/7), s = sigma / alpha (Karras et al. 2022, eq. 5)."""
  low, high = (jnp.exp(-x / (2 * _RHO)) for x in _range(schedule))
  return -2 * _RHO * jnp.log(high + u * (low - high))


def fractions(steps: int, capacity=None, first: int = 0) -> np.ndarray:
  """The u of steps `first` to `steps`, then zeros: float32 [capacity + 1].

  Raises ValueError unless 1 <= steps <= capacity (None: `steps`).
  """
  capacity = steps if capacity is None else capacity
  if steps < 1:
    raise ValueError(f'steps={steps} must be at least 1.')
  if steps > capacity:
    raise ValueError(
      f'steps={steps} exceed the compiled capacity={capacity}: take fewer '
      'steps or a larger capacity.'
    )
  u = np.zeros(capacity + 1, np.float32)
  u[: steps + 1 - first] = np.linspace(1.0, 0.0, steps + 1)[first:]
  return u


def levels(spacing, schedule, u, steps) -> jax.Array:
  """Rising logsnr of `steps` + 1 levels, then inf as padding: [capacity + 1].

  A sampler compiled for one capacity so runs any number of steps up to it;
  `steps` may be traced. u is from `fractions`.
  """
  inside = jnp.arange(u.shape[0]) <= steps
  return jnp.where(inside, spacing(schedule, u), jnp.inf)


def grid(spacing, schedule, steps: int, capacity=None) -> jax.Array:
  """`levels` of a known number of steps."""
  return levels(spacing, schedule, fractions(steps, capacity), steps)


def _range(schedule):
  """The noisiest and the cleanest level that are of any use."""
  noisiest, cleanest = schedule(1.0), schedule(0.0)
  return jnp.maximum(noisiest, EDM_MIN), jnp.minimum(cleanest, EDM_MAX)
