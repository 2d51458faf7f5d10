"""Small trainings from start to end: a judge, a text encoder.

One process and one loss; `train` has more to see to: several hosts, signals,
gradients that go bad. Step k depends on (seed, k) alone, so that a run which is
begun again resumes from its newest checkpoint, bit for bit on the same devices.

A config here has batch_size, steps, seed, optimizer, learning_rate, clip,
ema_decay, mesh, log_every, validate_every, validation_batches,
checkpoint_every and keep.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from imagen_jax.data import pipeline
from imagen_jax.parallel import partitioning
from imagen_jax.training import checkpoints as checkpoints_lib
from imagen_jax.training import metrics as metrics_lib
from imagen_jax.training import optimizers
from imagen_jax.training import state as state_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Begun:
  """A run before its first step."""

  state: state_lib.TrainState
  shardings: object  # those of the state
  optimizer: object  # an optax transform
  mesh: jax.sharding.Mesh


def begin(config, init) -> Begun:
  """The state on the devices; `init` is key -> parameters."""
  mesh = partitioning.make_mesh(config.mesh)
  partitioning.check_batch(config.batch_size, mesh)
  optimizer = optimizers.make(
    config.optimizer, config.learning_rate, config.clip
  )
  state, shardings = state_lib.create(
    init, optimizer, mesh, config.mesh, jax.random.key(config.seed)
  )
  return Begun(state=state, shardings=shardings, optimizer=optimizer, mesh=mesh)


def run(
  config,
  workdir,
  begun: Begun,
  *,
  loss: Callable,
  examples,
  held_out,
  write: Callable,
  identity: dict,
  unit: str,
) -> state_lib.TrainState:
  """Runs to `config.steps`, resuming if it can; returns the state.

  Args:
    config: see above.
    workdir: directory for checkpoints and metrics.
    begun: of `begin`.
    loss: (params, batch) -> (loss [], {name: scalar to report beside it}).
    examples: examples.batch(k) is batch k, arrays [b, ...] by name.
    held_out: the same of examples that are never trained on.
    write: called with the averaged parameters before every checkpoint: killed
      between the two, the run comes back and writes again, even at its end.
    identity: what must not change when the run resumes, ready for JSON.
    unit: what a row of a batch is, in the plural.
  """
  state, mesh = begun.state, begun.mesh
  train_step = _make_train_step(config, begun, loss)
  validate = _make_validation(config, mesh, loss, held_out)
  with checkpoints_lib.Checkpoints(workdir, config.keep) as checkpoints:
    state, start = checkpoints.resume(state, identity)
    log = metrics_lib.Metrics(workdir, start)
    progress = metrics_lib.Progress(
      start, config.steps, config.batch_size, unit
    )
    stream = pipeline.prefetch(examples.batch, start)
    for step in range(start + 1, config.steps + 1):
      state, metrics = train_step(
        state, partitioning.put_batch(next(stream), mesh)
      )
      if progress.is_due(step, config.log_every):
        metrics_lib.require_finite(metrics, step)
        log.write(step, **metrics)
        progress.report(step, **metrics)
      if progress.is_due(step, config.validate_every):
        log.write(step, **validate(state.ema))
      if progress.is_due(step, config.checkpoint_every):
        metrics_lib.require_finite(metrics, step)
        write(state.ema)
        checkpoints.save(step, state, identity)
    stream.close()
    log.close()
  return state


def _make_train_step(config, begun, loss):
  """The jitted (state, batch) -> (state, metrics)."""

  def train_step(state, batch):
    (value, more), grads = jax.value_and_grad(loss, has_aux=True)(
      state.params, batch
    )
    norm = optimizers.global_norm(grads)
    state = state_lib.apply_gradients(
      state, grads, begun.optimizer, config.ema_decay
    )
    return state, {'loss': value, 'grad_norm': norm, **more}

  return jax.jit(
    train_step,
    donate_argnums=0,
    out_shardings=(begun.shardings, partitioning.replicated(begun.mesh)),
  )


def _make_validation(config, mesh, loss, held_out):
  """A function of params: means over fixed batches, {'validation_...': x}."""
  evaluate = jax.jit(loss)
  batches = [
    partitioning.put_batch(held_out.batch(k), mesh)
    for k in range(config.validation_batches)
  ]

  def validate(params):
    rows = [evaluate(params, batch) for batch in batches]
    found = [{'loss': value, **more} for value, more in rows]
    return {
      f'validation_{name}': np.mean([row[name] for row in found])
      for name in found[0]
    }

  return validate
