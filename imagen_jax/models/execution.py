"""How a network's blocks are computed, never what they compute.

A network passes its picture through *units*: one residual block, with the
attention that follows it. A unit is what a large job recomputes in the backward
pass, what it gathers sharded parameters for, and, where neighbours are equal,
what is compiled once and scanned over. Parameters keep their names and stay
separate leaves; equal neighbours are stacked only inside the computation.

  run(network, units, x [b, h, w, c], ...) -> x, the picture after each unit
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from imagen_jax.models import convolution

REMATS = ('none', 'products', 'blocks')
_PRODUCTS = ('conv_general_dilated', 'dot_general')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
  """Trades memory, communication and compile time; the default is plain."""

  # Kept for the backward pass: 'none' recomputes nothing, 'products' keeps what
  # convolutions and matrix products give, 'blocks' only what enters a unit.
  remat: str = 'none'
  scan: bool = False  # equal neighbours are compiled once
  # (name of a submodule, its parameters) -> these where they are used, such as
  # gathered from the devices; None = as they are.
  use: Callable | None = None

  def __post_init__(self):
    if self.remat not in REMATS:
      raise ValueError(f'remat {self.remat!r} is not one of {REMATS}')


PLAIN = Execution()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unit:
  """Submodules that are computed together.

  compute(parts, x, extra, *context) calls them by the part they play; each
  part is (name in the network, unbound module).
  """

  compute: Callable
  parts: dict[str, tuple[str, nn.Module]]

  def same_as(self, other):
    """Whether the two compute alike but for their parameters."""
    modules = [
      {part: module for part, (_, module) in unit.parts.items()}
      for unit in (self, other)
    ]
    return self.compute is other.compute and modules[0] == modules[1]


def run(network, units, x, context=(), extras=None):
  """Passes x through units one after the other.

  Args:
    network: the bound module, with a field `execution`, that they belong to.
    units: list of `Unit`.
    x: [b, h, w, c].
    context: what all of them see, such as embeddings and text.
    extras: a pytree of arrays for each unit; None = None for all.

  Returns:
    (x, [x after each unit]).
  """
  extras = [None] * len(units) if extras is None else extras
  execution = network.execution
  outputs = []
  if network.is_initializing() or execution == PLAIN:
    for unit, extra in zip(units, extras):
      parts = {
        part: module.clone(parent=network, name=name)
        for part, (name, module) in unit.parts.items()
      }
      x = unit.compute(parts, x, extra, *context)
      outputs.append(x)
    return x, outputs
  params = network.variables['params']
  for group in _groups(units, extras, params if execution.scan else None):
    x, more = _run_group(execution, group, params, x, context)
    outputs += more
  return x, outputs


def _groups(units, extras, params):
  """Lists of (unit, extra) that can be one scan; of one each without params."""
  groups = []
  for unit, extra in zip(units, extras):
    last = groups[-1][-1] if groups and params is not None else None
    if last and unit.same_as(last[0]):
      trees = [(_params_of(u, params), e) for u, e in (last, (unit, extra))]
      if _shapes(trees[0]) == _shapes(trees[1]):
        groups[-1].append((unit, extra))
        continue
    groups.append([(unit, extra)])
  return groups


def _params_of(unit, params):
  """The parameters of a unit by part; a part may have none."""
  return {part: params.get(name, {}) for part, (name, _) in unit.parts.items()}


def _shapes(tree):
  leaves, structure = jax.tree.flatten(tree)
  return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _run_group(execution, group, params, x, context):
  """One unit, or a scan over several equal ones."""
  unit = group[0][0]
  trees = [_params_of(u, params) for u, _ in group]
  extras = [extra for _, extra in group]

  def compute(params, x, extra, context):
    if execution.use is not None:
      params = {
        part: execution.use(unit.parts[part][0], tree)
        for part, tree in params.items()
      }
    parts = {
      part: functools.partial(module.apply, {'params': params[part]})
      for part, (_, module) in unit.parts.items()
    }
    return unit.compute(parts, x, extra, *context)

  compute = _recomputed(execution, compute, scanned=len(group) > 1)
  if len(group) == 1:
    x = compute(trees[0], x, extras[0], context)
    return x, [x]

  def step(x, inputs):
    params, extra = inputs
    with convolution.in_a_loop():
      x = compute(params, x, extra, context)
    return x, x

  stacked = jax.tree.map(lambda *p: jnp.stack(p), *zip(trees, extras))
  x, outputs = jax.lax.scan(step, x, stacked)
  return x, [outputs[i] for i in range(len(group))]


def _recomputed(execution, compute, scanned):
  """`compute` under the policy of `execution.remat`."""
  if execution.remat == 'none' and execution.use is None:
    return compute
  policy = {'none': _all_but_gathered, 'products': _products, 'blocks': None}
  return jax.checkpoint(
    compute,
    policy=policy[execution.remat],
    prevent_cse=not scanned,  # a loop's body keeps the passes apart by itself
  )


def _all_but_gathered(primitive, *_, **__):
  """Keeps everything, but gathers parameters again for the backward pass."""
  return primitive.name != 'all_gather'


def _products(primitive, *_, **params):
  """Keeps convolutions and products of activations with parameters.

  Products with batch dimensions are attention's: its weights are as large as
  the square of the picture.
  """
  if primitive.name == 'dot_general':
    _, (batch, _) = params['dimension_numbers']
    return not batch
  return primitive.name in _PRODUCTS
