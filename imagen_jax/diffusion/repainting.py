"""Inpainting with a model that never learned it (RePaint, Lugmayr 2022).

Not in the paper. After every step the part of z that is known is replaced by
the known picture at that level of noise; going back a step and drawing it again
lets the two parts grow together.

  mask [b, h, w, 1]: 1 where the picture is drawn, 0 where it is known
"""

import jax
import jax.numpy as jnp

from imagen_jax.diffusion import process, samplers


def merge(drawn, known, mask) -> jax.Array:
  """`drawn` inside the mask, `known` outside: [b, h, w, c]."""
  return mask * drawn + (1 - mask) * known


def noisier(z, logsnr, to_logsnr, noise) -> jax.Array:
  """z at `logsnr` taken back to the noisier `to_logsnr` by the process.

  q(z_t | z_s) has mean (alpha_t / alpha_s) z_s and variance sigma_t^2 (1 - r)
  with r = exp(to_logsnr - logsnr): the same as `process.posterior`'s upper.
  """
  alpha_s, _ = process.alpha_sigma(logsnr)
  alpha_t, sigma_t = process.alpha_sigma(to_logsnr)
  deviation = sigma_t * jnp.sqrt(-jnp.expm1(to_logsnr - logsnr))
  return alpha_t / alpha_s * z + deviation * noise


def repaint_step(step, known, mask, keys, grid, resamples: int):
  """A step function that keeps the known part (RePaint, algorithm 1).

  Args:
    step: the step function to draw with.
    known: [b, h, w, c] in [-1, 1].
    mask: [b, h, w, 1].
    keys: one jax key per picture, [b], for nothing else.
    grid: the rising levels of the run, [n].
    resamples: times each step is done, at least 1; 10 in RePaint. Each costs
      a network call.
  """

  def repainted(z, x0, before, levels, noise, denoise, **learned):
    i = jnp.searchsorted(grid, levels.now)

    def draw(number):
      own = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
      return samplers.draw_noise(own, i, known.shape[1:])

    def keep(z, number):
      there = process.add_noise(known, draw(3 * number), levels.next)
      return merge(z, there, mask)

    def again(number, z):
      z = noisier(z, levels.next, levels.now, draw(3 * number + 1))
      x0 = denoise(z, jnp.full(z.shape[0], levels.now))
      # Of first order: no x-prediction before belongs to this z.
      first = levels._replace(before=levels.now)
      noise = draw(3 * number + 2)
      z = samplers.take(step, z, x0, x0, first, noise, denoise)
      return keep(z, number)

    z = step(z, x0, before, levels, noise, denoise, **learned)
    z = keep(z, 0)
    # The last step keeps x0 (as `loop.rows` says): nothing to do again.
    times = jnp.where(levels.next == levels.now, 1, resamples)
    return jax.lax.fori_loop(1, times, again, z)

  return repainted
