"""Classifier-free guidance in the paper's convention (Imagen sec. 2.2, eq. 5).

eps~ = w eps(z, c) + (1 - w) eps(z): w = 1 is no guidance. At a given z, x0, eps
and v are affine in each other and the weights sum to 1, so the same sum of
x-predictions is the same guidance. Thresholding comes after it.

The weight may change on the way: `constant`, `interval` and `oscillating` give
one for each level of a grid, `at_levels` finds it again by the level.
"""

import numbers

import jax
import jax.numpy as jnp


def combine(conditional, unconditional, weight) -> jax.Array:
  """w conditional + (1 - w) unconditional: [b, h, w, c] (Imagen eq. 5)."""
  return weight * conditional + (1 - weight) * unconditional


def constant(grid, weight) -> jax.Array:
  """The same w at every level of `grid` [n]: [n] (the paper)."""
  return jnp.full(jnp.shape(grid), weight, jnp.float32)


def interval(grid, weight, low: float, high: float) -> jax.Array:
  """w where low <= logsnr <= high, 1 elsewhere: [n].

  Kynkaanniemi et al. 2024: at high noise guidance narrows the variety, at low
  noise it does nothing but cost.
  """
  inside = (grid >= low) & (grid <= high)
  return jnp.where(inside, weight, jnp.float32(1.0))


def oscillating(grid, weight, start: int) -> jax.Array:
  """w for `start` steps, then 1 and w in turn: [n] (Imagen Video, sec. 2.6)."""
  late = jnp.arange(jnp.shape(grid)[0]) - start
  return jnp.where((late >= 0) & (late % 2 == 0), jnp.float32(1.0), weight)


def at_levels(grid, weights):
  """logsnr -> weight, for the levels of a rising `grid` alone; see above."""

  def weight(logsnr):
    return weights[jnp.searchsorted(grid, logsnr)]

  return weight


def rescaled(guided, conditional, mix: float) -> jax.Array:
  """Guidance without its gain in contrast (Lin et al. 2023, eq. 15 and 16).

  The guided x-prediction, scaled to the deviation of the conditional one over
  h, w, c, and mixed with itself: mix 0 is off, 0.7 their choice. The pictures'
  means are kept, where the original scales them too and so darkens.
  """
  axes = tuple(range(1, guided.ndim))
  mean = jnp.mean(guided, axes, keepdims=True)
  deviation = jnp.std(guided, axes, keepdims=True)
  wanted = jnp.std(conditional, axes, keepdims=True)
  factor = wanted / jnp.maximum(deviation, 1e-6)
  return mean + (guided - mean) * (mix * factor + 1 - mix)


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


def guided_batch(predict, condition, null, weight, finish=None):
  """`denoise` from one call a step at twice the batch.

  Args:
    predict: (z [n, h, w, c], logsnr [n], condition of n) -> x0 [n, h, w, c].
    condition: pytree of arrays [b, ...].
    null: the same tree for no text (the low-resolution picture stays).
    weight: w; the number 1 leaves out the unconditional half. Or a function
      of logsnr [], as of `at_levels`: where it gives 1 only the conditional
      half is computed, by a second copy of the network in the program.
    finish: (guided, conditional) -> x0, for example `rescaled`.
  """
  both = jax.tree.map(_interleave, condition, null)

  def predict_both(z, logsnr):
    x0 = predict(_interleave(z, z), _interleave(logsnr, logsnr), both)
    return x0[0::2], x0[1::2]

  return _guided(predict, predict_both, condition, weight, finish)


def guided_in_turn(predict, condition, null, weight, finish=None):
  """As `guided_batch`, one call after the other: half the memory.

  A loop around one copy of the network, so that no compiler runs both at once.
  """
  both = jax.tree.map(lambda a, b: jnp.stack([a, b]), condition, null)

  def predict_both(z, logsnr):
    return jax.lax.map(lambda given: predict(z, logsnr, given), both)

  return _guided(predict, predict_both, condition, weight, finish)


def _guided(predict, predict_both, condition, weight, finish):
  """`denoise` from a way to predict with a condition and without."""
  if _is_one(weight):
    return lambda z, logsnr: predict(z, logsnr, condition)

  def denoise(z, logsnr, w):
    conditional, unconditional = predict_both(z, logsnr)
    x0 = combine(conditional, unconditional, w)
    return x0 if finish is None else finish(x0, conditional)

  if not callable(weight):
    return lambda z, logsnr: denoise(z, logsnr, weight)

  def denoise_where_needed(z, logsnr):
    w = weight(logsnr[0])
    return jax.lax.cond(
      w == 1,
      lambda: predict(z, logsnr, condition),
      lambda: denoise(z, logsnr, w),
    )

  return denoise_where_needed


def _interleave(a, b) -> jax.Array:
  """a0 b0 a1 b1 ...: [2 b, ...].

  Neighbours, not halves: with the batch sharded, a pair stays on its device.
  """
  pairs = jnp.stack([a, b], axis=1)
  return pairs.reshape(-1, *pairs.shape[2:])


def _is_one(weight) -> bool:
  return isinstance(weight, numbers.Real) and weight == 1
