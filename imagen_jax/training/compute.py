"""How a large job's step is computed: memory and time, not what is learnt.

Parameters cut over 'fsdp' are gathered where they are used (in each block,
again in the backward pass), and a block's gradients are summed and cut before
the next one's are computed. What is plain stays as it is: on one device, or
with every parameter whole, the default is the network's own `apply`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from imagen_jax import stages
from imagen_jax.models import execution
from imagen_jax.parallel import partitioning


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compute:
  """Settings that may change when a run resumes."""

  micro_batches: int = 1  # parts of the batch, computed one after the other
  remat: str = 'none'  # what is recomputed: 'none', 'products' or 'blocks'
  scan: bool = False  # equal blocks are compiled once

  def __post_init__(self):
    if self.micro_batches < 1:
      raise ValueError(
        f'micro_batches is {self.micro_batches}; it must be at least 1'
      )
    execution.Execution(remat=self.remat)  # raises where there is no such


def make_apply(stage, compute, shardings):
  """The network's `apply` as `compute` says.

  Args:
    stage: a `stages.Stage`.
    compute: a `Compute`.
    shardings: NamedShardings of the parameters.
  """
  how = execution.Execution(remat=compute.remat, scan=compute.scan)
  leaves = jax.tree.leaves(shardings)
  if not any(map(partitioning.is_cut, leaves)):
    return stages.network(stage, how).apply

  def use(name, params):
    return jax.tree.map(partitioning.gather, params, shardings[name])

  network = stages.network(stage, dataclasses.replace(how, use=use))
  in_units = _names_in_units(stage)

  def on_device(params, inputs):
    params = {
      name: tree if name in in_units else use(name, tree)
      for name, tree in params.items()
    }
    args, kwargs = inputs
    return network.apply({'params': params}, *args, **kwargs)

  def apply(variables, *args, **kwargs):
    params = variables['params']
    own = {name: shardings[name] for name in params}  # not those of LoRA
    spread = partitioning.by_hand(on_device, own, leaves[0].mesh)
    return spread(params, (args, kwargs))

  return apply


def _names_in_units(stage):
  """Names of the submodules that gather their parameters by themselves."""
  names = set()

  def note(name, params):
    names.add(name)
    return params

  noting = stages.network(stage, execution.Execution(use=note))
  inputs = stages.example_inputs(stage, resolution=min(64, stage.resolution))
  jax.eval_shape(
    lambda params: noting.apply({'params': params}, **inputs),
    stages.param_shapes(stage),
  )
  return names


def compute_copy(stage, params, shardings):
  """Kernels that are cut, in the type that the network computes in.

  It would cast them itself; cast before they are gathered, half as much moves.
  """
  dtype = jnp.dtype(stage.model.dtype)

  def leaf(path, p, sharding):
    # The last convolution and the norms compute in float32.
    is_output = str(path[0].key).startswith('output_')
    if not partitioning.is_cut(sharding) or p.ndim < 2 or is_output:
      return p
    return p.astype(dtype)

  return jax.tree_util.tree_map_with_path(leaf, params, shardings)
