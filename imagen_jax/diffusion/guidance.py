"""Classifier-free guidance in the paper's convention (Imagen sec. 2.2, eq. 5).

eps~ = w eps(z, c) + (1 - w) eps(z): w = 1 is no guidance. At a given z, x0, eps
and v are affine in each other and the weights sum to 1, so the same sum of
x-predictions is the same guidance. Thresholding comes after it.
"""

import numbers

import jax
import jax.numpy as jnp


def combine(conditional, unconditional, weight) -> jax.Array:
  """w conditional + (1 - w) unconditional: [b, h, w, c] (Imagen eq. 5)."""
  return weight * conditional + (1 - weight) * unconditional


def guided(denoise_cond, denoise_uncond, weight):
  """`denoise` from a conditional and an unconditional one: two calls a step.

  A weight that is the number 1 leaves out the unconditional call; a traced
  weight cannot, and always makes both.
  """
  if _is_one(weight):
    return denoise_cond

  def denoise(z, logsnr):
    return combine(denoise_cond(z, logsnr), denoise_uncond(z, logsnr), weight)

  return denoise


def guided_batch(predict, condition, null, weight):
  """`denoise` from one call a step at twice the batch.

  Args:
    predict: (z [n, h, w, c], logsnr [n], condition of n) -> x0 [n, h, w, c].
    condition: pytree of arrays [b, ...].
    null: the same tree for no text (the low-resolution picture stays).
    weight: w; the number 1 leaves out the unconditional half.
  """
  if _is_one(weight):
    return lambda z, logsnr: predict(z, logsnr, condition)
  both = jax.tree.map(_interleave, condition, null)

  def denoise(z, logsnr):
    x0 = predict(_interleave(z, z), _interleave(logsnr, logsnr), both)
    return combine(x0[0::2], x0[1::2], weight)

  return denoise


def _interleave(a, b) -> jax.Array:
  """a0 b0 a1 b1 ...: [2 b, ...].

  Neighbours, not halves: with the batch sharded, a pair stays on its device.
  """
  pairs = jnp.stack([a, b], axis=1)
  return pairs.reshape(-1, *pairs.shape[2:])


def _is_one(weight) -> bool:
  return isinstance(weight, numbers.Real) and weight == 1
