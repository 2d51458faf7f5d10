"""Pictures spread over devices, each of which runs the same program.

Not in the paper. Every device draws a compiled batch of its own and none waits
for another: what a device computes is what a single one would, bit for bit. (A
batch left to XLA's partitioner is another program, and differs in the last
bits.) Several processes share a job by sharing out its pictures.

  function of [b, ...] -> function of [devices b, ...]

Where a picture is too large for one device, the rows of each are cut into
bands instead, a device for each: there the partitioner is needed, to pass
convolutions the neighbours' rows and norms the whole picture's sums.
"""

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

ALL = PartitionSpec()  # the same on every device
EACH = PartitionSpec('pictures')  # the first dimension is shared out


def make_mesh(devices, cut=False):
  """The mesh of some devices; None for one, or for JAX's own choice: None.

  `cut` says that they share the rows of each picture, not the pictures.
  """
  if devices is None or len(devices) == 1:
    return None
  axis = 'rows' if cut else 'pictures'
  return jax.make_mesh(
    (len(devices),), (axis,), devices=devices, axis_types=(AxisType.Auto,)
  )


def dividing(devices, rows):
  """As many of the first devices as so many rows can be cut over."""
  most = len(devices or ())
  return (
    devices and devices[: max(n for n in range(1, most + 1) if not rows % n)]
  )


def cut_rows(x, mesh):
  """Pictures [b, h, w, c] in bands, where the mesh is one of rows."""
  if mesh is None or 'rows' not in mesh.axis_names:
    return x
  sharding = NamedSharding(mesh, PartitionSpec(None, 'rows'))
  return jax.lax.with_sharding_constraint(x, sharding)


def spread(function, mesh, inputs, outputs):
  """`function` on every device of the mesh, on its part of the pictures.

  Args:
    function: of arrays.
    mesh: of `make_mesh`; None leaves the function as it is, and so does one
      of rows.
    inputs: ALL or EACH for every argument, or a tree of them.
    outputs: the same for what it returns.
  """
  if mesh is None or 'rows' in mesh.axis_names:
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
    if isinstance(x, jax.Array) and x.is_fully_replicated:
      return x.addressable_data(0)
    return x

  return jax.tree.map(first, tree)
