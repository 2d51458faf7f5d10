"""Noise schedules: t in [0, 1] -> logsnr (Imagen sec. 2.2 and app. F).

t = 0 is clean and t = 1 is noise; logsnr = log(alpha^2 / sigma^2) falls with
t. The base and the 64 -> 256 model use `Cosine`, the 256 -> 1024 model uses
`LinearBeta`. Each schedule is a small dataclass of numbers that is called:
t [...] -> logsnr [...], float32.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax.config import checks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine:
  """alpha = cos(pi t / 2), rescaled in t so that logsnr stays in bounds.

  logsnr(t) = -2 log tan(a t + b) with b = atan(exp(-logsnr_max / 2)) and
  a = atan(exp(-logsnr_min / 2)) - b. The paper does not give the bounds; we
  follow the Google code line (distillation, CDM) with [-20, 20].

  `shift` is added at the end: 2 log(64 / d) is the shifted schedule of simple
  diffusion (Hoogeboom et al. 2023, eq. 4) for pictures of side d.
  """

  logsnr_min: float = -20.0  # logsnr at t = 1, before the shift
  logsnr_max: float = 20.0  # logsnr at t = 0, before the shift
  shift: float = 0.0  # added to logsnr; 0 is the paper's schedule

  def __post_init__(self):
    # Beyond, float32 has no difference between alpha and 1, or sigma and 1.
    checks.require_within(
      self, logsnr_min=(-80, 80), logsnr_max=(-80, 80), shift=(-80, 80)
    )
    if not self.logsnr_min < self.logsnr_max:
      raise ValueError(
        f'logsnr_min={self.logsnr_min} must be below '
        f'logsnr_max={self.logsnr_max}: swap or change them.'
      )

  def __call__(self, t) -> jax.Array:
    t = _real(t)
    b = math.atan(math.exp(-self.logsnr_max / 2))
    c = math.atan(math.exp(self.logsnr_min / 2))  # pi/2 - (a + b)
    a = math.pi / 2 - b - c
    # Near t = 1 the angle comes within 5e-5 of pi/2, where a float32 has lost
    # three digits of the difference; count the angle back from pi/2 instead.
    early = t < 0.5
    angle = jnp.where(early, a * t + b, a * (1 - t) + c)
    half = jnp.log(jnp.tan(angle))
    return jnp.where(early, -2 * half, 2 * half) + self.shift


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearBeta:
  """DDPM's discrete schedule made continuous (Imagen app. F.3).

  beta_i rises linearly over i = 1..steps and log alpha_bar_i is the cumulative
  sum of log(1 - beta). Step i sits at t = i / steps; between steps the sums
  are interpolated. Before the first step logsnr keeps that step's value, so
  the defaults run from 9.21 to -10.12. Not in the paper how to make it
  continuous; interpolated sums are exact at the steps.
  """

  steps: int = 1000  # number of discrete steps
  beta_start: float = 1e-4  # variance added by the first step
  beta_end: float = 0.02  # variance added by the last step

  def __post_init__(self):
    if self.steps < 1:
      raise ValueError(f'steps={self.steps} must be at least 1.')
    if not (0 < self.beta_start < 1 and 0 < self.beta_end < 1):
      raise ValueError(
        f'beta_start={self.beta_start} and beta_end={self.beta_end} must lie '
        'strictly between 0 and 1.'
      )

  def __call__(self, t) -> jax.Array:
    t = _real(t)
    sums = _log_alpha_bar(self.steps, self.beta_start, self.beta_end)
    knots = np.arange(1, self.steps + 1)
    log_alpha_bar = jnp.interp(
      t * self.steps, knots.astype(t.dtype), sums.astype(t.dtype)
    )
    # alpha^2 / (1 - alpha^2) without forming 1 - alpha^2.
    return -jnp.log(jnp.expm1(-log_alpha_bar))


def _real(t) -> jax.Array:
  """At least float32; float64 passes through where jax allows it."""
  return jnp.asarray(t, jnp.result_type(t, jnp.float32))


@functools.lru_cache(maxsize=16)
def _log_alpha_bar(steps, beta_start, beta_end) -> np.ndarray:
  """Cumulative log(1 - beta), [steps], summed in float64."""
  betas = np.linspace(beta_start, beta_end, steps, dtype=np.float64)
  return np.cumsum(np.log1p(-betas))
