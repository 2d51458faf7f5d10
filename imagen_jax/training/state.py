"""The train state: step, parameters, their moving average, optimizer state.

The paper does not mention an average of the weights; later Google papers and
all peers keep one with decay 0.9999.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from imagen_jax.parallel import partitioning


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
  make = _maker(init, optimizer)
  shapes = jax.eval_shape(make, key)
  shardings = partitioning.state_shardings(shapes, mesh, mesh_config)
  return jax.jit(make, out_shardings=shardings)(key), shardings


def describe(init, optimizer, mesh, mesh_config, key):
  """What `create` would give, as shapes: for devices that are not there."""
  shapes = jax.eval_shape(_maker(init, optimizer), key)
  shardings = partitioning.state_shardings(shapes, mesh, mesh_config)
  return partitioning.with_shardings(shapes, shardings), shardings


def _maker(init, optimizer):
  """The function of a key that makes a TrainState."""

  def make(key):
    params = init(key)
    return TrainState(
      step=jnp.zeros([], jnp.int32),
      params=params,
      ema=jax.tree.map(jnp.copy, params),
      opt=optimizer.init(params),
    )

  return make


def apply_gradients(
  state, grads, optimizer, decay, frozen=None, keep=None, stacks=None
):
  """One optimizer update and one step of the average.

  `frozen` is a tree of bools, None = none: these leaves stay bit for bit.
  `keep`, a bool [], says whether anything changes but the step, which is
  counted in any case: noise and data of the next step are others. None = yes,
  and the program has no choice in it. `stacks` are the leaves that are added
  to and averaged at once, None = each by itself; not with `frozen`.
  """
  updates, opt = optimizer.update(grads, state.opt, state.params)
  before = state.params, state.ema
  if stacks is not None:
    before, updates = stacks.join((before, updates))
  params = optax.apply_updates(before[0], updates)
  d = ema_decay(state.step, decay)
  ema = jax.tree.map(lambda e, p: d * e + (1.0 - d) * p, before[1], params)
  after = params, ema
  if frozen is not None:
    after = tuple(
      jax.tree.map(lambda f, old, new: old if f else new, frozen, a, b)
      for a, b in zip(before, after)
    )
  if keep is not None:
    after, opt = jax.tree.map(
      lambda a, b: jnp.where(keep, a, b), (after, opt), (before, state.opt)
    )
  if stacks is not None:
    after = stacks.split(after, like=(state.params, state.ema))
  params, ema = after
  return TrainState(step=state.step + 1, params=params, ema=ema, opt=opt)


def count(params):
  """Number of parameters."""
  return sum(p.size for p in jax.tree.leaves(params))
