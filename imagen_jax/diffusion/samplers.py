"""Samplers: the step functions (Imagen app. A); `sampling/loop.py` runs them.

The only contract with the network is `denoise(z [b, h, w, c], logsnr [b]) ->
x0 [b, h, w, c]`: guidance and thresholding are wrapped around it beforehand.
A step function takes z at one level of noise to z at the next:

  step(z, x0, before, levels, noise, denoise) -> z     all [b, h, w, c]

where x0 is the x-prediction at z, `before` that of the step before, noise is
standard normal, and only Heun's method calls `denoise` once more.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from imagen_jax.diffusion import process


class Levels(NamedTuple):
  """logsnr around a step, scalars: before <= now <= next.

  `before` equals `now` at the first step, which has none.
  """

  before: jax.Array
  now: jax.Array
  next: jax.Array


class Denoised(NamedTuple):
  """What `denoise` may return where the network learned its variance.

  The step then is given f as well (`learned_variance.ddpm_step`).
  """

  x0: jax.Array  # [b, h, w, c]
  f: jax.Array  # [b, h, w, c]


def ddpm_step(z, x0, before, levels, noise, denoise, *, gamma: float = 0.3):
  """Ancestral step (Imagen app. A; variance of Nichol and Dhariwal 2021).

  z = mean + sqrt(lower^(1 - gamma) upper^gamma) noise. gamma is not in the
  paper; 0.3 is the guidance paper's choice at 64 px (Ho and Salimans 2022).
  """
  del before, denoise
  mean, lower, upper = process.posterior(z, x0, levels.now, levels.next)
  return mean + jnp.sqrt(lower ** (1 - gamma) * upper**gamma) * noise


def ddim_step(z, x0, before, levels, noise, denoise, *, eta: float = 0.0):
  """DDIM (Song et al. 2021, eq. 12; with eta = 0 Imagen app. A).

  z = alpha_s x0 + sqrt(sigma_s^2 - d^2) eps + d noise, where eps = (z - alpha_t
  x0) / sigma_t comes from the thresholded x0 and d^2 is eta^2 times the
  posterior's variance: eta = 0 is deterministic, eta = 1 is DDPM with gamma =
  0. sigma_s / sigma_t <= 1 is formed in logs.
  """
  del before, denoise
  alpha_t, _ = process.alpha_sigma(levels.now)
  alpha_s, sigma_s = process.alpha_sigma(levels.next)
  direction = _sigma_ratio(levels) * (z - alpha_t * x0)
  if eta == 0:
    return alpha_s * x0 + direction
  share = -(eta**2) * jnp.expm1(levels.now - levels.next)  # d^2 / sigma_s^2
  kept = jnp.sqrt(jnp.maximum(1 - share, 0.0))
  return alpha_s * x0 + kept * direction + sigma_s * jnp.sqrt(share) * noise


def dpmpp_2m_step(z, x0, before, levels, noise, denoise):
  """DPM-Solver++(2M), midpoint (Lu et al. 2022, algorithm 2).

  With h the change of logsnr / 2 and D extrapolated from two x-predictions:
  z = (sigma_s / sigma_t) z + alpha_s (1 - exp(-h)) D.
  """
  del noise, denoise
  h = levels.next - levels.now
  d = _extrapolated(x0, before, levels)
  alpha_s, _ = process.alpha_sigma(levels.next)
  return _sigma_ratio(levels) * z - alpha_s * jnp.expm1(-h / 2) * d


def dpmpp_2m_sde_step(z, x0, before, levels, noise, denoise):
  """SDE-DPM-Solver++(2M), midpoint (Lu et al. 2022, appendix on SDEs).

  As above for the diffusion SDE, of which each step is solved exactly where D
  is constant:
  z = (sigma_s / sigma_t) e^-h z + alpha_s (1 - e^-2h) D
      + sigma_s sqrt(1 - e^-2h) noise.
  """
  del denoise
  h = levels.next - levels.now
  d = _extrapolated(x0, before, levels)
  alpha_s, sigma_s = process.alpha_sigma(levels.next)
  gone = -jnp.expm1(-h)
  mean = _sigma_ratio(levels) * jnp.exp(-h / 2) * z + alpha_s * gone * d
  return mean + sigma_s * jnp.sqrt(gone) * noise


def heun_step(z, x0, before, levels, noise, denoise):
  """Heun's second-order step (Karras et al. 2022, algorithm 1, no churn).

  In y = z / alpha and s = sigma / alpha the flow is dy/ds = (y - x0) / s; the
  Euler step to the next level is DDIM, and the mean of the slopes at both ends
  adds (s_t / s_s - 1) / 2 times the change of x0. Two network calls a step,
  except the last.
  """
  alpha_s, _ = process.alpha_sigma(levels.next)
  euler = ddim_step(z, x0, before, levels, noise, denoise)

  def corrected():
    logsnr = jnp.full(z.shape[0], levels.next)
    gain = 0.5 * jnp.expm1((levels.next - levels.now) / 2)
    return euler + alpha_s * gain * (denoise(euler, logsnr) - x0)

  # The last step keeps x0 (see `loop.rows`): nothing to correct.
  last = levels.next == levels.now
  return jax.lax.cond(last, lambda: euler, corrected)


def draw_noise(keys, i, shape) -> jax.Array:
  """Standard normal noise of step i, [b, *shape], from a key per picture [b].

  A picture's noise depends on its own key and on i, not on its companions.
  """

  def draw(key):
    return jax.random.normal(jax.random.fold_in(key, i), shape)

  return jax.vmap(draw)(keys)


def take(step, z, x0, before, levels, noise, denoise):
  """One step, from what `denoise` gave: x0 or `Denoised`."""
  if isinstance(x0, Denoised):
    return step(z, x0.x0, before, levels, noise, denoise, f=x0.f)
  return step(z, x0, before, levels, noise, denoise)


def _sigma_ratio(levels: Levels) -> jax.Array:
  """sigma at the next level over sigma now, at most 1."""
  log_variance = jax.nn.log_sigmoid(-levels.next)
  return jnp.exp(0.5 * (log_variance - jax.nn.log_sigmoid(-levels.now)))


def _extrapolated(x0, before, levels) -> jax.Array:
  """D = x0 + h / (2 h_before) (x0 - before), of two x-predictions.

  The first step has none before it and takes D = x0: first order.
  """
  h = levels.next - levels.now
  h_before = levels.now - levels.before
  second_order = h_before > 0
  slope = h / (2 * jnp.where(second_order, h_before, 1.0))
  return x0 + jnp.where(second_order, slope, 0.0) * (x0 - before)
