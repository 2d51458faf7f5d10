"""A variance that the network predicts beside eps (Nichol and Dhariwal 2021).

The paper's sampler takes one between the two bounds of the posterior for all
pixels (`samplers.ddpm_step`, gamma); a network with twice the channels says for
each pixel where between them it lies (their eq. 15, 'learned range'):

  log variance = f log upper + (1 - f) log lower,  f = (v + 1) / 2

IF does. f is not bounded and not guided: it is that of the conditional half.
"""

import math

import jax
import jax.numpy as jnp

from imagen_jax.diffusion import process

_LEAST = 1e-20  # of a variance under the logarithm; the last step's is 0
_VLB_WEIGHT = 1e-3  # lambda of eq. 16
_PIXEL = 1 / 255  # half of the distance of two uint8 values in [-1, 1]


def split(output):
  """A network's output [b, h, w, 2 c] -> (prediction, f), [b, h, w, c] each."""
  prediction, v = jnp.split(output, 2, axis=-1)
  return prediction, (v + 1) / 2


def log_variance(f, lower, upper) -> jax.Array:
  """Log of the step's variance, [b, h, w, c]; bounds of `process.posterior`."""
  low = jnp.log(jnp.maximum(lower, _LEAST))
  return f * jnp.log(jnp.maximum(upper, _LEAST)) + (1 - f) * low


def ddpm_step(z, x0, before, levels, noise, denoise, *, f):
  """Ancestral step with a learned variance; see `samplers` for the rest.

  levels.next may be inf, a clean picture: the mean then is x0.
  """
  del before, denoise
  mean, lower, upper = process.posterior(z, x0, levels.now, levels.next)
  return mean + jnp.exp(0.5 * log_variance(f, lower, upper)) * noise


def loss(x0, z, prediction, f, logsnr_t, logsnr_s) -> jax.Array:
  """lambda L_vlb of eq. 16, which trains f alone: [b], in bits a value.

  The term of the step from logsnr_t to logsnr_s: the divergence of the model's
  Gaussian from the posterior of the true x0, or at the last step (logsnr_s =
  inf) the likelihood of x0 in 256 values. No gradient passes to the mean.

  Args:
    x0: the picture, [b, h, w, c] in [-1, 1].
    z: the same, noised to logsnr_t.
    prediction: of x0, [b, h, w, c].
    f: see the module's docstring.
    logsnr_t, logsnr_s: [b].
  """
  true_mean, lower, upper = process.posterior(z, x0, logsnr_t, logsnr_s)
  mean, _, _ = process.posterior(
    z, jax.lax.stop_gradient(prediction), logsnr_t, logsnr_s
  )
  log_model = log_variance(f, lower, upper)
  log_true = jnp.log(jnp.maximum(lower, _LEAST))
  divergence = 0.5 * (
    log_model
    - log_true
    - 1
    + jnp.exp(log_true - log_model)
    + jnp.square(true_mean - mean) * jnp.exp(-log_model)
  )
  last = process.broadcast(jnp.isinf(logsnr_s), z)
  likelihood = _pixel_log_likelihood(x0, mean, 0.5 * log_model)
  term = jnp.where(last, -likelihood, divergence)
  axes = tuple(range(1, term.ndim))
  return _VLB_WEIGHT * jnp.mean(term, axes) / math.log(2)


def _pixel_log_likelihood(x, mean, log_deviation):
  """Log probability of each of 256 values under a Gaussian, [b, h, w, c].

  The outermost values have the tails (Ho et al. 2020, eq. 13).
  """
  scale = jnp.exp(-log_deviation)
  below = jax.scipy.stats.norm.cdf(scale * (x - mean - _PIXEL))
  above = jax.scipy.stats.norm.cdf(scale * (x - mean + _PIXEL))
  below = jnp.where(x < -0.999, 0.0, below)
  above = jnp.where(x > 0.999, 1.0, above)
  return jnp.log(jnp.maximum(above - below, 1e-12))
