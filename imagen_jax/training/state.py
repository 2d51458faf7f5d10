"""The train state: step, parameters, their moving average, optimizer state.

The paper does not mention an average of the weights; later Google papers and
all peers keep one with decay 0.9999.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from imagen_jax import partitioning


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainState:
  """Everything that changes from step to step."""

  step: jax.Array  # int32 [], updates done
  params: dict
  ema: dict  # float32 average of params
  opt: object  # optax state


def ema_decay(step, decay):
  """Ramped decay: the average of a young run forgets its random start."""
  return jnp.minimum(decay, (1.0 + step) / (10.0 + step))


def create(init, optimizer, mesh, mesh_config, key):
  """A sharded TrainState made on the devices, never on one host whole.

  Args:
    init: function of a key that returns the parameter tree.
    optimizer: an optax transform.
    mesh: from `partitioning.make_mesh`.
    mesh_config: its `MeshConfig`.
    key: a jax key.

  Returns:
    (state, shardings), the second a tree of NamedShardings.
  """

  def make(key):
    params = init(key)
    return TrainState(
      step=jnp.zeros([], jnp.int32),
      params=params,
      ema=jax.tree.map(jnp.copy, params),
      opt=optimizer.init(params),
    )

  shapes = jax.eval_shape(make, key)
  shardings = partitioning.state_shardings(shapes, mesh, mesh_config)
  return jax.jit(make, out_shardings=shardings)(key), shardings


def apply_gradients(state, grads, optimizer, decay):
  """One optimizer update and one step of the average."""
  updates, opt = optimizer.update(grads, state.opt, state.params)
  params = optax.apply_updates(state.params, updates)
  d = ema_decay(state.step, decay)
  ema = jax.tree.map(lambda e, p: d * e + (1.0 - d) * p, state.ema, params)
  return TrainState(step=state.step + 1, params=params, ema=ema, opt=opt)


def count(params):
  """Number of parameters."""
  return sum(p.size for p in jax.tree.leaves(params))
