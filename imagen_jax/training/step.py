"""One update of a stage's network: gradients, optimizer, average; jitted.

  (state, encoder_params, batch [b, ...]) -> (state, metrics)

The noise of step k depends on (seed, k) and is drawn for the whole batch, so
that a batch computed in parts gives the gradients of one computed at once.
"""

import jax
import jax.numpy as jnp

from imagen_jax.models import convolution
from imagen_jax.parallel import compilation, partitioning
from imagen_jax.training import compute as compute_lib
from imagen_jax.training import lora as lora_lib
from imagen_jax.training import noise_levels, objective, optimizers, stacking
from imagen_jax.training import state as state_lib

# Bytes of a leaf that is worth a program of its own. The paper's networks have
# biases and norms of up to 16 KB, and kernels of a megabyte and more.
_LARGE = 1 << 20


def make_train_step(config, optimizer, embed, mesh, shardings):
  """The jitted step, compiled with options: not for use inside a jit.

  Args:
    config: has stage, compute, seed, caption_dropout, max_aug_level,
      layout_dropout, low_res_blur, ema_decay, lora, is_frozen, stacked and
      max_skipped, as `jobs.TrainConfig` has.
    optimizer: an optax transform.
    embed: (encoder_params, batch) -> batch with its text.
    mesh: of the devices.
    shardings: those of the whole `TrainState`.
  """
  stage, parts = config.stage, config.compute.micro_batches
  apply = compute_lib.make_apply(stage, config.compute, shardings.params)

  def gradients(params, encoder_params, batch, noise):
    """Of the mean loss; with it, and its table by noise level."""
    batch = embed(encoder_params, batch)

    def mean_loss(params):
      plain = lora_lib.merged(config.lora, params)
      losses = objective.example_losses(stage, apply, plain, batch, noise)
      return jnp.mean(losses), losses

    (loss, losses), grads = jax.value_and_grad(mean_loss, has_aux=True)(params)
    table = noise_levels.table(losses, stage.schedule(noise.t), noise.drop)
    return grads, {'loss': loss, 'by_noise': table}

  def gradients_in_parts(params, encoder_params, batch, noise):
    """The same by a scan over parts of the batch, for less memory."""

    def add(total, part):
      with convolution.in_a_loop():
        found = gradients(params, encoder_params, *part)
      return jax.tree.map(lambda t, x: t + x.astype(t.dtype), total, found), ()

    zeros = jax.tree.map(
      lambda p, s: jax.lax.with_sharding_constraint(jnp.zeros(p.shape), s),
      params,
      shardings.params,
    )
    empty = {'loss': jnp.zeros([]), 'by_noise': noise_levels.empty()}
    split = partitioning.split_batch((batch, noise), parts, mesh)
    (grads, metrics), _ = jax.lax.scan(add, (zeros, empty), split)
    metrics['loss'] /= parts
    return jax.tree.map(lambda g: g / parts, grads), metrics

  def train_step(state, encoder_params, batch):
    key = jax.random.fold_in(jax.random.key(config.seed), state.step)
    noise = objective.draw_noise(
      key,
      batch,
      config.caption_dropout,
      config.max_aug_level,
      config.layout_dropout,
      config.low_res_blur,
    )
    params = state.params
    if config.lora is None:  # its small sums need all of float32
      params = compute_lib.compute_copy(stage, params, shardings.params)
    how = gradients if parts == 1 else gradients_in_parts
    grads, metrics = how(params, encoder_params, batch, noise)
    grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, state.params)
    frozen = None
    if config.is_frozen is not None:
      frozen = optimizers.frozen_leaves(config.is_frozen, grads)
      # What is not used is not computed: XLA drops these gradients.
      grads = jax.tree.map(
        lambda f, g: jnp.zeros_like(g) if f else g, frozen, grads
      )
    updating, averaged = optimizer, None
    if config.stacked:
      stacks = stacking.of_equal_leaves(state.params)
      grads = stacks.join(grads)
      updating = stacking.apart(optimizer, stacks, shardings)
      averaged = stacking.of_equal_leaves(state.params, below=_LARGE)
    metrics['grad_norm'] = optimizers.global_norm(grads)
    finite = jnp.isfinite(metrics['loss']) & jnp.isfinite(metrics['grad_norm'])
    metrics['skipped'] = 1.0 - finite
    metrics['by_noise'] = jnp.where(finite, metrics['by_noise'], 0.0)
    # Without the choice a step is the same program as ever, bit for bit.
    keep = finite if config.max_skipped else None
    after = state_lib.apply_gradients(
      state, grads, updating, config.ema_decay, frozen, keep, averaged
    )
    return after, metrics

  return jax.jit(
    train_step,
    donate_argnums=0,
    out_shardings=(shardings, partitioning.replicated(mesh)),
    compiler_options=compilation.options(mesh),
  )
