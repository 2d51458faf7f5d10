"""The Gaussian process: noising, predictions, posterior, losses.

Imagen sec. 2.2 and app. A, with v from progressive distillation (Salimans and
Ho 2022). z = alpha x0 + sigma eps; v = alpha eps - sigma x0. Pictures are
[b, h, w, c]; logsnr is [b] or a scalar and is broadcast here. A network's
prediction has a `kind`: 'eps', 'v' or 'x0'.
"""

import jax
import jax.numpy as jnp

KINDS = ('eps', 'v', 'x0')


def broadcast(logsnr, x) -> jax.Array:
  """logsnr [b] (or scalar) -> [b, 1, 1, 1] (or scalar) to go with x."""
  logsnr = jnp.asarray(logsnr)
  if logsnr.ndim == 0:
    return logsnr
  return logsnr.reshape(logsnr.shape + (1,) * (x.ndim - logsnr.ndim))


def alpha_sigma(logsnr) -> tuple[jax.Array, jax.Array]:
  """alpha = sqrt(sigmoid(logsnr)), sigma = sqrt(sigmoid(-logsnr))."""
  return jnp.sqrt(jax.nn.sigmoid(logsnr)), jnp.sqrt(jax.nn.sigmoid(-logsnr))


def add_noise(x0, eps, logsnr) -> jax.Array:
  """z = alpha x0 + sigma eps (Imagen eq. 1 in one draw), [b, h, w, c]."""
  alpha, sigma = alpha_sigma(broadcast(logsnr, x0))
  return alpha * x0 + sigma * eps


def x0_from_eps(eps, z, logsnr) -> jax.Array:
  """x0 = (z - sigma eps) / alpha."""
  alpha, sigma = alpha_sigma(broadcast(logsnr, z))
  return (z - sigma * eps) / alpha


def x0_from_v(v, z, logsnr) -> jax.Array:
  """x0 = alpha z - sigma v: no division, good at every logsnr."""
  alpha, sigma = alpha_sigma(broadcast(logsnr, z))
  return alpha * z - sigma * v


def eps_from_x0(x0, z, logsnr) -> jax.Array:
  """eps = (z - alpha x0) / sigma."""
  alpha, sigma = alpha_sigma(broadcast(logsnr, z))
  return (z - alpha * x0) / sigma


def eps_from_v(v, z, logsnr) -> jax.Array:
  """eps = sigma z + alpha v: no division, good at every logsnr."""
  alpha, sigma = alpha_sigma(broadcast(logsnr, z))
  return sigma * z + alpha * v


def v_from_x0(x0, z, logsnr) -> jax.Array:
  """v = (alpha z - x0) / sigma."""
  alpha, sigma = alpha_sigma(broadcast(logsnr, z))
  return (alpha * z - x0) / sigma


def v_from_eps(eps, z, logsnr) -> jax.Array:
  """v = (eps - sigma z) / alpha."""
  alpha, sigma = alpha_sigma(broadcast(logsnr, z))
  return (eps - sigma * z) / alpha


def to_x0(prediction, z, logsnr, kind: str) -> jax.Array:
  """What the network said, as an x-prediction: [b, h, w, c]."""
  check_kind(kind)
  if kind == 'eps':
    return x0_from_eps(prediction, z, logsnr)
  if kind == 'v':
    return x0_from_v(prediction, z, logsnr)
  return prediction


def target(x0, eps, logsnr, kind: str) -> jax.Array:
  """What the network should say: [b, h, w, c]."""
  check_kind(kind)
  if kind == 'eps':
    return eps
  if kind == 'v':
    alpha, sigma = alpha_sigma(broadcast(logsnr, x0))
    return alpha * eps - sigma * x0
  return x0


def posterior(z, x0, logsnr_t, logsnr_s):
  """q(z_s | z_t, x0) for s < t (Imagen app. A): mean, lower, upper variance.

  With r = exp(logsnr_t - logsnr_s) <= 1:
    mean = r (alpha_s / alpha_t) z + (1 - r) alpha_s x0
    lower = (1 - r) sigma_s^2, the exact variance; upper = (1 - r) sigma_t^2.

  Args:
    z: z_t, [b, h, w, c].
    x0: x-prediction, [b, h, w, c].
    logsnr_t, logsnr_s: [b] or scalars, logsnr_s >= logsnr_t.

  Returns:
    mean [b, h, w, c]; variances [b, 1, 1, 1] or scalars.
  """
  lt, ls = broadcast(logsnr_t, z), broadcast(logsnr_s, z)
  # alpha_s / alpha_t reaches 2e4 where r is 4e-18: multiply them as logs.
  log_ratio = 0.5 * (jax.nn.log_sigmoid(ls) - jax.nn.log_sigmoid(lt))
  one_minus_r = -jnp.expm1(lt - ls)
  alpha_s, _ = alpha_sigma(ls)
  mean = jnp.exp(lt - ls + log_ratio) * z + one_minus_r * alpha_s * x0
  lower = one_minus_r * jax.nn.sigmoid(-ls)
  upper = one_minus_r * jax.nn.sigmoid(-lt)
  return mean, lower, upper


def squared_error(prediction, x0, eps, logsnr, kind: str) -> jax.Array:
  """Mean over h, w, c of (prediction - target)^2: [b]."""
  error = prediction - target(x0, eps, logsnr, kind)
  return jnp.mean(jnp.square(error), axis=tuple(range(1, error.ndim)))


def eps_loss(prediction, x0, eps, logsnr, kind: str) -> jax.Array:
  """Mean squared error of eps, whatever the network predicts: [b].

  Imagen's objective (eq. 2; weight 1 in eps). As errors of eps, v and x0 at a
  given z are proportional, the change of space is a weight on the error:
  |d eps|^2 = alpha^2 |d v|^2 = SNR |d x0|^2.
  """
  error = squared_error(prediction, x0, eps, logsnr, kind)
  if kind == 'v':
    return jax.nn.sigmoid(logsnr) * error
  return error if kind == 'eps' else jnp.exp(logsnr) * error


def v_loss(prediction, x0, eps, logsnr, kind: str) -> jax.Array:
  """Mean squared error of v, whatever the network predicts: [b].

  Salimans and Ho 2022, "SNR + 1" weighting: |d v|^2 = (1 + SNR) |d x0|^2
  = (1 + 1 / SNR) |d eps|^2.
  """
  error = squared_error(prediction, x0, eps, logsnr, kind)
  if kind == 'x0':
    return (1 + jnp.exp(logsnr)) * error
  return error if kind == 'v' else (1 + jnp.exp(-logsnr)) * error


def check_kind(kind: str):
  """Raises ValueError unless `kind` is one of KINDS."""
  if kind not in KINDS:
    raise ValueError(f'prediction kind {kind!r} is not one of {KINDS}.')
