"""Repainting: the known part stays, the rest is drawn to go with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.diffusion import (
  grids,
  process,
  repainting,
  samplers,
  schedules,
)
from imagen_jax.sampling import loop

# Two pixels of deviation 1 that go together: corr(a, b) = 0.9.
CORRELATION = 0.9
KNOWN = 1.5
N = 2000


def _pair_denoise(z, logsnr):
  """E[x0 | z] of the pair, from its sum and its difference."""
  alpha, sigma = process.alpha_sigma(process.broadcast(logsnr, z))
  half = (z[:, :, :1] + z[:, :, 1:]) / 2
  rest = (z[:, :, :1] - z[:, :, 1:]) / 2
  both = []
  for part, variance in (
    (half, (1 + CORRELATION) / 2),
    (rest, (1 - CORRELATION) / 2),
  ):
    noise = sigma**2 / 2
    both.append(alpha * variance / (alpha**2 * variance + noise) * part)
  return jnp.concatenate([both[0] + both[1], both[0] - both[1]], axis=2)


@pytest.fixture(scope='module')
def drawn():
  """Pairs of which the first is known, drawn with 1 and with 10 resamples."""
  known = jnp.full([N, 1, 2, 1], KNOWN)
  mask = jnp.asarray([0.0, 1.0]).reshape(1, 1, 2, 1) * jnp.ones([N, 1, 1, 1])
  grid = grids.grid(grids.uniform_logsnr, schedules.Cosine(), 24)
  keys = jax.random.split(jax.random.key(0), (3, N))
  z = jax.random.normal(jax.random.key(1), [N, 1, 2, 1])

  @jax.jit
  def run(resamples):
    step = repainting.repaint_step(
      samplers.ddpm_step, known, mask, keys[0], grid, resamples
    )
    return loop.sample(_pair_denoise, z, grid, step, keys[1])

  return {n: np.asarray(run(n))[:, 0, :, 0] for n in (1, 10)}


def test_resampling_makes_the_parts_agree(drawn):
  """Given a, b is normal: mean 0.9 a, deviation sqrt(1 - 0.9^2)."""
  mean, deviation = CORRELATION * KNOWN, np.sqrt(1 - CORRELATION**2)
  errors = {n: abs(pairs[:, 1].mean() - mean) for n, pairs in drawn.items()}
  assert errors[10] < 0.1
  assert errors[1] > 2 * errors[10]
  np.testing.assert_allclose(drawn[10][:, 1].std(), deviation, rtol=0.25)


def test_noisier_is_the_process():
  """From level s to t in one step or from clean at once: the same variance."""
  z, noise = jnp.ones([2, 1, 1, 1]), jnp.zeros([2, 1, 1, 1])
  for s, t in ((3.0, 1.0), (20.0, -20.0), (-19.0, -20.0)):
    mean = repainting.noisier(z, s, t, noise)
    deviation = repainting.noisier(0 * z, s, t, noise + 1)
    snr_s, snr_t = np.exp([s, t])
    alpha2 = (snr_t / (1 + snr_t)) / (snr_s / (1 + snr_s))
    np.testing.assert_allclose(mean, np.sqrt(alpha2), rtol=1e-5)
    variance = 1 / (1 + snr_t) - alpha2 / (1 + snr_s)
    np.testing.assert_allclose(deviation, np.sqrt(variance), rtol=1e-4)


def test_known_pixels_are_noised_and_drawn_ones_left_alone():
  known, mask = jnp.full([1, 2, 2, 3], 0.5), jnp.zeros([1, 2, 2, 1])
  mask = mask.at[0, 0, 0].set(1.0)
  keys = jax.random.split(jax.random.key(0), 1)
  grid = jnp.float32([-2.0, 8.0, 20.0])
  levels = samplers.Levels(grid[0], grid[0], grid[1])
  z, x0 = jnp.ones([1, 2, 2, 3]), jnp.zeros([1, 2, 2, 3])
  step = repainting.repaint_step(samplers.ddim_step, known, mask, keys, grid, 1)
  got = step(z, x0, x0, levels, None, lambda z, logsnr: z)
  plain = samplers.ddim_step(z, x0, x0, levels, None, None)
  np.testing.assert_array_equal(got[0, 0, 0], plain[0, 0, 0])
  # At logsnr 8 the deviation is 0.018.
  rest = np.asarray(got).reshape(4, 3)[1:]
  np.testing.assert_allclose(rest, 0.5, atol=0.08)
  assert np.any(rest != 0.5)
