"""Adafactor's state without what stands for nothing in it.

optax keeps three averages for each leaf: sums over rows and over columns where
it is factored, the whole where it is not; [1] zeros take the place of what a
leaf does not have. A network of hundreds of leaves has a thousand of these,
each an argument and a result of the step and a file entry of a checkpoint.

  FactoredState of [1] and averages <-> the same of MaskedNode and averages
"""

import jax
import jax.numpy as jnp
import optax

_NOTHING = optax.MaskedNode()


def is_nothing(x):
  """Whether x stands for an array that is not there."""
  return isinstance(x, optax.MaskedNode)


def without_placeholders(transform):
  """`transform`, a chain with Adafactor in it, keeping only what it uses."""

  def init(params):
    return _mapped(_slim, transform.init(params))

  def update(grads, state, params=None):
    updates, state = transform.update(grads, _mapped(_whole, state), params)
    return updates, _mapped(_slim, state)

  return optax.GradientTransformation(init, update)


def _mapped(how, state):
  def is_factored(x):
    return isinstance(x, optax.FactoredState)

  return jax.tree.map(
    lambda part: how(part) if is_factored(part) else part,
    state,
    is_leaf=is_factored,
  )


def _slim(state):
  # A row of a factored leaf has 128 values and more, never one.
  def averages(row, col, whole):
    if is_nothing(whole):  # the leaf is frozen
      return row, col, whole
    if row.shape == (1,):
      return _NOTHING, _NOTHING, whole
    return row, col, _NOTHING

  return _of_leaves(averages, state)


def _whole(state):
  def averages(*given):
    present = [x for x in given if not is_nothing(x)]
    if not present:  # the leaf is frozen
      return given
    zeros = jnp.zeros((1,), present[0].dtype)
    return tuple(zeros if is_nothing(x) else x for x in given)

  return _of_leaves(averages, state)


def _of_leaves(averages, state):
  """The state with what `averages` makes of each leaf's (row, col, whole)."""
  parts = state.v_row, state.v_col, state.v
  flat = [jax.tree.leaves(part, is_leaf=is_nothing) for part in parts]
  structure = jax.tree.structure(state.v, is_leaf=is_nothing)
  found = zip(*(averages(*leaf) for leaf in zip(*flat)))
  trees = [structure.unflatten(leaves) for leaves in found]
  return optax.FactoredState(state.count, *trees)
