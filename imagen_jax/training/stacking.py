"""Leaves of one shape computed at once in an optimizer's update.

A network of equal blocks has hundreds of leaves of a few dozen shapes. Leaf by
leaf their updates, norms and averages are thousands of small programs, half of
what the compiler has to do for a large job; stacked, they are some for each
shape. In the state and on disk the leaves stay apart.

  tree of leaves [...] <-> [[n, ...] for each shape]

Where a leaf has no array, all of its shape have none (`factored`).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from imagen_jax.training import factored


@dataclasses.dataclass(frozen=True)
class Stacks:
  """Which leaves of a tree go together."""

  structure: object  # of the tree
  groups: tuple[tuple[int, ...], ...]  # numbers of the leaves of each stack

  def join(self, tree):
    """The stacks of a tree, or of all such trees in an optimizer's state."""
    return jax.tree.map(
      lambda part: self._join(part) if self._is_tree(part) else part,
      tree,
      is_leaf=self._is_tree,
    )

  def split(self, stacks, like, shardings=None):
    """What `join` was given: `like` has its structure.

    With `shardings`, NamedShardings in the same structure, each stack is put
    where its leaves belong: one exchange of chips, and none for each leaf.
    """
    parts, outer = jax.tree.flatten(like, is_leaf=self._is_tree)
    found = outer.flatten_up_to(stacks)
    if shardings is not None:
      found = [
        self._placed(x, wanted) if self._is_tree(part) else x
        for part, x, wanted in zip(parts, found, outer.flatten_up_to(shardings))
      ]
    return outer.unflatten(
      self._split(x) if self._is_tree(part) else x
      for part, x in zip(parts, found)
    )

  def _is_tree(self, x):
    return _structure(x) == self.structure

  def _join(self, tree):
    leaves = _leaves(tree)

    def stack(group):
      first, *_ = parts = [leaves[i] for i in group]
      return first if factored.is_nothing(first) else jnp.stack(parts)

    return [stack(group) for group in self.groups]

  def _placed(self, stacks, shardings):
    shardings = _leaves(shardings)

    def place(stack, group):
      first, *rest = (shardings[i] for i in group)
      if factored.is_nothing(stack) or any(other != first for other in rest):
        return stack
      spec = PartitionSpec(None, *first.spec)
      where = NamedSharding(first.mesh, spec)
      return jax.lax.with_sharding_constraint(stack, where)

    return [place(*pair) for pair in zip(stacks, self.groups)]

  def _split(self, stacks):
    leaves = [None] * self.structure.num_leaves
    for group, stack in zip(self.groups, stacks):
      for k, i in enumerate(group):
        leaves[i] = stack if factored.is_nothing(stack) else stack[k]
    return self.structure.unflatten(leaves)


def _leaves(tree):
  return jax.tree.leaves(tree, is_leaf=factored.is_nothing)


def _structure(tree):
  return jax.tree.structure(tree, is_leaf=factored.is_nothing)


def of_equal_leaves(tree, below=math.inf):
  """The `Stacks` of leaves that have shape and type in common.

  Those of `below` bytes and more stay alone.
  """
  leaves, structure = jax.tree.flatten(tree)
  found = {}
  for number, leaf in enumerate(leaves):
    alone = number if leaf.size * leaf.dtype.itemsize >= below else None
    found.setdefault((leaf.shape, leaf.dtype, alone), []).append(number)
  return Stacks(structure, tuple(map(tuple, found.values())))


def apart(transform, stacks, shardings):
  """`transform` of `stacks`, for a TrainState whose leaves are apart.

  Only gradients come stacked. Updates go out leaf by leaf, to where the leaves
  of `shardings`, a TrainState too, belong: large parameters are put together
  only where the optimizer reads them, and their average never.
  """

  def update(grads, state, params):
    found = transform.update(grads, *stacks.join((state, params)))
    wanted = shardings.params, shardings.opt
    return stacks.split(found, (params, state), wanted)

  return optax.GradientTransformation(transform.init, update)


def each(transform):
  """`transform`, which treats each leaf by itself, of the leaves in stacks.

  Adam and Adafactor are such; clipping by the global norm is none, but it gives
  the same for stacks as they are.
  """

  def update(grads, state, params):
    structure = jax.tree.structure(grads)

    def is_list(x):
      return _structure(x) == structure

    parts, outer = jax.tree.flatten(state, is_leaf=is_list)
    lists = [part for part in parts if is_list(part)]

    def one(grad, param, *own):
      """(update, state) of a leaf with its parts of the state."""
      own = iter(own)
      alone = [[next(own)] if is_list(part) else part for part in parts]
      (found,), after = transform.update(
        [grad], outer.unflatten(alone), [param]
      )
      return found, outer.flatten_up_to(after)

    updates, after = zip(
      *(jax.vmap(one)(*stacks) for stacks in zip(grads, params, *lists))
    )
    joined = [
      [own[k][0] for own in after] if is_list(part) else after[0][k][0]
      for k, part in enumerate(parts)
    ]  # what is no list is a count, the same for all
    return [*updates], outer.unflatten(joined)

  return optax.GradientTransformation(transform.init, update)
