"""Where arrays lie: the device mesh, FSDP by shape, and batch sharding.

One rule for parameters, their EMA and the optimizer's state alike: a small
table of overrides first; else replicate what is small; else cut the largest
dimension that divides over 'fsdp'. Models carry no sharding metadata.
"""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from imagen_jax.config import checks

BATCH_AXES = ('data', 'fsdp')  # together: over 'data' alone convolutions drift


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
  """Sizes of the mesh axes; their product is the number of devices."""

  data: int = -1  # -1 = all devices that the other axes leave
  fsdp: int = 1
  tensor: int = 1
  replicate_below: int = 4 << 20  # bytes; smaller leaves stay whole
  overrides: tuple[tuple[str, tuple], ...] = ()  # (regex of path, spec)

  def __post_init__(self):
    checks.check(self, 'MeshConfig')
    for pattern, _ in self.overrides:
      checks.require_regex(pattern, 'MeshConfig.overrides')


def make_mesh(config=MeshConfig(), devices=None):
  """The ('data', 'fsdp', 'tensor') mesh.

  Raises ValueError where the sizes do not multiply to the device count.
  """
  devices = jax.devices() if devices is None else devices
  rest = config.fsdp * config.tensor
  if min(config.fsdp, config.tensor) < 1 or config.data < -1 or not config.data:
    raise ValueError(
      f'mesh data={config.data} x fsdp={config.fsdp} x tensor={config.tensor}: '
      'each must be at least 1 (data may be -1: all that are left)'
    )
  data = max(1, len(devices) // rest) if config.data == -1 else config.data
  if data * rest != len(devices):
    raise ValueError(
      f'mesh data={data} x fsdp={config.fsdp} x tensor={config.tensor} needs '
      f'{data * rest} devices, there are {len(devices)}; change MeshConfig'
    )
  sizes = (data, config.fsdp, config.tensor)
  # Auto: the default (Explicit) rejects convolutions with sharded kernels.
  axes = {
    'axis_names': ('data', 'fsdp', 'tensor'),
    'axis_types': (AxisType.Auto,) * 3,
  }
  try:
    return jax.make_mesh(sizes, devices=devices, **axes)
  except NotImplementedError:
    # Groups of 16 fill no axes of a torus of 4 x 8 x 8: they get part of one.
    arranged = mesh_utils.create_device_mesh(
      sizes, devices, allow_split_physical_axes=True
    )
    return jax.sharding.Mesh(arranged, **axes)


def spec_for(path, shape, dtype, mesh, config=MeshConfig()):
  """The PartitionSpec of one leaf, from its path and shape alone."""
  for pattern, spec in config.overrides:
    if re.search(pattern, path):
      return PartitionSpec(*spec)
  size = math.prod(shape) * np.dtype(dtype).itemsize
  fsdp = mesh.shape['fsdp']
  if fsdp == 1 or size < config.replicate_below:
    return PartitionSpec()
  divisible = [(n, -i) for i, n in enumerate(shape) if n % fsdp == 0]
  if not divisible:
    return PartitionSpec()
  axis = -max(divisible)[1]
  return PartitionSpec(*([None] * axis), 'fsdp')


def state_shardings(shapes, mesh, config=MeshConfig()):
  """A tree of NamedShardings for a tree of ShapeDtypeStructs."""

  def sharding(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended):  # keys
      return NamedSharding(mesh, PartitionSpec())
    spec = spec_for(name, leaf.shape, leaf.dtype, mesh, config)
    return NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(sharding, shapes)


def with_shardings(shapes, shardings):
  """Trees of shapes and of shardings -> one of shapes that are sharded."""
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    shardings,
  )


def bytes_each(shapes):
  """Bytes of a tree of sharded arrays, or their shapes, on one device."""
  return sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(shapes)
  )


def replicated(mesh):
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh):
  """First dimension over every data and fsdp device."""
  return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def batch_shards(mesh):
  """Parts that a batch is cut into, one for each data and fsdp device."""
  return mesh.shape['data'] * mesh.shape['fsdp']


def check_batch(batch_size, mesh, micro_batches=1):
  """Raises ValueError where the global batch does not divide."""
  n = batch_shards(mesh) * micro_batches
  if batch_size < 1:
    raise ValueError(f'batch_size is {batch_size}; it must be at least {n}')
  if batch_size % n:
    over = f'{batch_shards(mesh)} devices (data x fsdp)'
    if micro_batches > 1:
      over += f' and {micro_batches} micro-batches on each'
    raise ValueError(
      f'batch_size {batch_size} does not divide over {over}; use '
      f'{max(n, batch_size // n * n)} or {(batch_size // n + 1) * n}'
    )


def split_batch(tree, parts, mesh):
  """Arrays [b, ...] -> [parts, b / parts, ...]; no row leaves its device.

  Part k takes the k-th share of the rows of every device, so that the rows of
  each part are spread like those of the whole.
  """
  n = batch_shards(mesh)
  kept = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
  taken = NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))

  def split(x):
    rest = x.shape[1:]
    x = x.reshape(n, parts, x.shape[0] // (n * parts), *rest)
    x = jax.lax.with_sharding_constraint(x, kept)
    x = jnp.moveaxis(x, 1, 0).reshape(parts, -1, *rest)
    return jax.lax.with_sharding_constraint(x, taken)

  return jax.tree.map(split, tree)


def is_cut(sharding):
  """Whether a parameter is stored in parts that 'fsdp' devices hold."""
  axes = [a for axis in sharding.spec for a in np.atleast_1d(axis)]
  return 'fsdp' in axes and sharding.mesh.shape['fsdp'] > 1


def gather(x, sharding):
  """A parameter whole over 'fsdp', inside a `jax.shard_map` over its mesh.

  Its gradient goes the way back: summed over the devices and cut at once.
  """
  if not is_cut(sharding):
    return x
  (axis,) = [
    i for i, a in enumerate(sharding.spec) if 'fsdp' in np.atleast_1d(a)
  ]
  return jax.lax.all_gather(x, 'fsdp', axis=axis, tiled=True)


def by_hand(function, shardings, mesh):
  """(params, *arrays [b, ...]) -> [b, ...] on each device's rows.

  Left to itself the partitioner splits convolutions and passes their pieces
  around; in here nothing moves between the devices of 'data' and 'fsdp' but
  what `gather` asks for, and the sums of the gradients. 'tensor' is left to the
  partitioner.

  Args:
    function: of the device's part of the parameters, and of its rows.
    shardings: NamedShardings of the parameters.
    mesh: theirs.
  """
  axes = BATCH_AXES if mesh.shape['tensor'] > 1 else mesh.axis_names

  def of_batch_axes(sharding):
    kept = (_only(axis, axes) for axis in sharding.spec)
    return PartitionSpec(*kept)

  specs = jax.tree.map(of_batch_axes, shardings)
  rows = PartitionSpec(BATCH_AXES)

  def mapped(params, arrays):
    return jax.shard_map(
      function,
      mesh=mesh,
      in_specs=(specs, rows),
      out_specs=rows,
      axis_names=set(axes),
      check_vma=False,
    )(params, arrays)

  return mapped


def _only(axis, wanted):
  """An entry of a PartitionSpec without the names that are not wanted."""
  names = () if axis is None else np.atleast_1d(axis).tolist()
  kept = tuple(name for name in names if name in wanted)
  return kept if len(kept) > 1 else next(iter(kept), None)


def local_rows(batch_size, mesh):
  """Numbers of the rows of a global batch that this process's devices hold.

  They follow the order of the devices in the mesh, so that the global batch
  is the same for any number of processes.
  """
  places = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
  rows = {i for (s,) in places.values() for i in range(*s.indices(batch_size))}
  return sorted(rows)


def put_batch(batch, mesh):
  """A dict of host arrays [b, ...] -> global arrays sharded over devices.

  With several processes the host arrays are their `local_rows`.
  """
  sharding = batch_sharding(mesh)
  if jax.process_count() == 1:
    return {k: jax.device_put(v, sharding) for k, v in batch.items()}
  local = len(next(iter(batch.values())))
  shards = batch_shards(mesh)
  # A shard is as large on every device, whatever process it belongs to.
  places = sharding.addressable_devices_indices_map((shards,))
  size = shards * local // len({str(place) for place in places.values()})
  rows = local_rows(size, mesh)

  def put(values):
    def shard(index):
      first = rows.index(index[0].start or 0)
      return values[first : first + size // shards]

    shape = (size, *values.shape[1:])
    return jax.make_array_from_callback(shape, sharding, shard)

  return {k: put(v) for k, v in batch.items()}


def put_whole(tree, shardings):
  """Host arrays that all processes have alike -> arrays on the devices."""
  if jax.process_count() == 1:
    return jax.device_put(tree, shardings)

  def put(x, sharding):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

  return jax.tree.map(put, tree, shardings)
