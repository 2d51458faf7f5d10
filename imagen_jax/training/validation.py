"""Validation loss on a fixed grid of t and noise, comparable across runs."""

import functools

import jax
import jax.numpy as jnp

from imagen_jax.parallel import agreements, partitioning
from imagen_jax.training import objective


def fixed_noise(batch, k, drop=False, max_aug_level=1.0):
  """The noise of validation batch k: t on a grid, all captions dropped or none.

  t runs over the midpoints of b equal strata, shuffled once by a fixed key, so
  that a batch of any size covers all noise levels; so does aug_level, up to
  `max_aug_level`.
  """
  key = jax.random.fold_in(jax.random.key(20220523), k)
  noise = objective.draw_noise(key, batch, caption_dropout=0.0)
  b = batch['image'].shape[0]
  t = (jnp.arange(b) + 0.5) / b
  return objective.Noise(
    t=jax.random.permutation(key, t),
    eps=noise.eps,
    drop=noise.drop | drop,
    untold=noise.untold,
    aug_level=jax.random.permutation(jax.random.fold_in(key, 1), t)
    * max_aug_level,
    aug_eps=noise.aug_eps,
  )


class Validation:
  """The loss on the same examples with the same noise, whenever it is asked."""

  def __init__(self, loss, batches, count, mesh):
    """`loss` is (params, encoder_params, batch, k, drop) -> [], jitted.

    `batches` are the first `count` of the split, read when first needed.
    """
    self._loss = loss
    self._batches = batches
    self._count = count
    self._mesh = mesh
    self._placed = None

  def losses(self, params, encoder_params):
    """(mean loss, the same with no caption told), floats."""
    if self._placed is None:
      self._placed = [
        partitioning.put_batch(self._batches.batch(k), self._mesh)
        for k in range(self._count)
      ]
    loss_of_batch = functools.partial(self._loss, params, encoder_params)
    return tuple(
      mean_loss(loss_of_batch, self._placed, drop) for drop in (False, True)
    )


def mean_loss(loss_of_batch, batches, *args):
  """Mean of `loss_of_batch(batch, k, *args)` over a list of batches."""
  losses = [
    agreements.settle(loss_of_batch(b, k, *args)) for k, b in enumerate(batches)
  ]
  return float(sum(losses)) / len(losses)
