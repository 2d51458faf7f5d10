"""Pictures spread over devices, each of which runs the same program.

Not in the paper. Every device draws a compiled batch of its own and none waits
for another: what a device computes is what a single one would, bit for bit. (A
batch left to XLA's partitioner is another program, and differs in the last
bits.) Several processes share a job by sharing out its pictures.

  function of [b, ...] -> function of [devices b, ...]
"""

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

ALL = PartitionSpec()  # the same on every device
EACH = PartitionSpec('pictures')  # the first dimension is shared out


def make_mesh(devices):
  """The mesh of some devices; None for one, or for JAX's own choice: None."""
  if devices is None or len(devices) == 1:
    return None
  return jax.make_mesh(
    (len(devices),), ('pictures',), devices=devices, axis_types=(AxisType.Auto,)
  )


def spread(function, mesh, inputs, outputs):
  """`function` on every device of the mesh, on its part of the pictures.

  Args:
    function: of arrays.
    mesh: of `make_mesh`; None leaves the function as it is.
    inputs: ALL or EACH for every argument, or a tree of them.
    outputs: the same for what it returns.
  """
  if mesh is None:
    return function
  return jax.shard_map(
    function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False
  )


def place(tree, devices):
  """Arrays onto every one of the devices; None = where JAX puts them."""
  mesh = make_mesh(devices)
  if mesh is not None:
    return jax.device_put(tree, NamedSharding(mesh, ALL))
  return jax.device_put(tree, devices and devices[0])


def on_first(tree):
  """The copies on the first device of what `place` put on several."""

  def first(x):
    if isinstance(x, jax.Array) and len(x.devices()) > 1:
      return x.addressable_data(0)
    return x

  return jax.tree.map(first, tree)
