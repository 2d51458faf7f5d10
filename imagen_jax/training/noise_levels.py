"""The loss by noise level, with and without captions.

A mean over all noise levels hides what changes: most of it is noise that no
network predicts. Each step adds its examples to a table float32 [2, k, 2]: told
or dropped captions, `EDGES` of logsnr, sum and count. A report adds the tables
of its steps, so that each cell is a mean over many examples.
"""

import jax.numpy as jnp
import numpy as np

from imagen_jax.diffusion import process
from imagen_jax.training import objective

PREDICTIONS = process.KINDS
EDGES = (-10.0, -6.0, -3.0, 0.0, 3.0, 6.0, 10.0)  # of logsnr, between the bins
NAMES = (
  f'below_{EDGES[0]:g}',
  *(f'{a:g}_{b:g}' for a, b in zip(EDGES, EDGES[1:])),
  f'above_{EDGES[-1]:g}',
)
_FEWEST = 8  # examples without caption that a gap needs


def empty():
  """A table without examples."""
  return jnp.zeros([2, len(NAMES), 2])


def table(losses, logsnr, drop):
  """Losses, logsnr and whether the caption was dropped, all [b] -> a table."""
  place = (logsnr[:, None] >= jnp.array(EDGES)).sum(axis=1)
  where = place[:, None] == jnp.arange(len(NAMES))  # [b, k]
  cells = jnp.stack([~drop, drop], axis=1)[:, :, None] & where[:, None]
  values = jnp.stack([losses, jnp.ones_like(losses)], axis=1)  # [b, 2]
  return jnp.where(cells[..., None], values[:, None, None], 0.0).sum(axis=0)


def linear_guess(kind, name, variance=0.5):
  """Largest loss in a bin of a network that has learnt no picture.

  It knows the mean and the variance of pixels alone: the best linear guess of
  x0 from z errs by variance / (1 + variance SNR), and predictions of eps and v
  by SNR and 1 + SNR times that. What is above it is not learnt.

  Args:
    kind: 'eps', 'v' or 'x0', weighted as `objective.loss_weight` does.
    name: of a bin, one of NAMES.
    variance: of pixels in [-1, 1]; 0.5 is more than photographs and flat art
      have, so that the guess is an upper bound.
  """
  place = NAMES.index(name)
  edges = (EDGES[0] - 10, *EDGES, EDGES[-1] + 10)
  logsnr = jnp.linspace(edges[place], edges[place + 1], 31)
  snr = jnp.exp(logsnr)
  error = variance / (1 + variance * snr)
  error *= {'eps': snr, 'v': 1 + snr, 'x0': 1.0}[kind]
  return float(jnp.max(error * objective.loss_weight(kind, logsnr)))


def summary(table):
  """Scalars of a table, or of the sum of several, by name.

  `loss_logsnr_A_B` is the mean loss at these noise levels. `caption_gap` is
  what the caption is worth: loss without it less loss with it, compared within
  each bin, weighted by the examples without.
  """
  sums, counts = np.moveaxis(np.asarray(table), -1, 0)
  scalars = {
    f'loss_logsnr_{name}': total / count
    for name, total, count in zip(NAMES, sums.sum(0), counts.sum(0))
    if count
  }
  both = (counts > 0).all(axis=0)
  told, dropped = sums[:, both] / counts[:, both]
  weights = counts[1, both]
  if weights.sum() >= _FEWEST:
    scalars['caption_gap'] = np.average(dropped - told, weights=weights)
  return scalars
