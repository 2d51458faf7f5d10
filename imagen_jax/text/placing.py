"""Weights of a text encoder on their way to the devices, one at a time.

`files.tensors` says what a checkpoint has; nothing is read before `place` asks.
So the memory of the host holds one tensor at a time beside what the devices
keep.
"""

import math
import re
from collections.abc import Mapping

import jax
import numpy as np

from imagen_jax.files import tensors, weights
from imagen_jax.parallel import partitioning

# What the tensor axis cuts: outputs of the first, inputs of the second.
_COLUMNS = ('query', 'key', 'value', 'wi', 'wi_0', 'wi_1')
_ROWS = ('out', 'wo')
_ATTENTION = ('query', 'key', 'value', 'out')  # cut between heads


def leaf_dtype(name: str, dtype) -> np.dtype:
  """Matrices are kept in `dtype`; norms, offsets and T5's biases in float32.

  The latter are a thousandth of the bytes and used in float32 anyway.
  """
  matrix = name.endswith(('.kernel', '.embedding'))
  return np.dtype(jax.numpy.dtype(dtype)) if matrix else np.dtype(np.float32)


def place(
  found: Mapping[str, tensors.Tensor],
  expected: Mapping[str, tuple[int, ...]],
  *,
  where: str,
  dtype='float32',
  mesh=None,
  mesh_config=None,
  heads: int = 1,
) -> dict:
  """Reads a checkpoint into device arrays, tensor by tensor.

  Args:
    found: tensors of the checkpoint by our names.
    expected: shapes by our names.
    where: the checkpoint, for error messages.
    dtype: of the matrices, see `leaf_dtype`.
    mesh: devices to spread the arrays over; None = the default device.
    mesh_config: a `partitioning.MeshConfig`; None = its defaults.
    heads: attention heads, which the tensor axis must divide.

  Returns:
    Nested dict of arrays.
  """
  tensors.check(found, expected, where)
  flat = {}
  # The largest first: what a read takes for a moment then comes on top of
  # little, and the peak is the weights and a small tensor.
  for name in sorted(expected, key=lambda name: -math.prod(expected[name])):
    shape = expected[name]
    kind = leaf_dtype(name, dtype)
    x = found[name].read(kind)
    if mesh is None:
      flat[name] = jax.device_put(x)
    else:
      spec = spec_for(name, shape, kind, mesh, heads, mesh_config)
      sharding = jax.sharding.NamedSharding(mesh, spec)
      flat[name] = jax.make_array_from_callback(
        x.shape, sharding, lambda index, x=x: x[index]
      )
    flat[name].block_until_ready()  # or several host copies pile up
  return weights.unflatten(flat)


def spec_for(name, shape, dtype, mesh, heads, config=None):
  """FSDP by shape; attention heads and hidden units over 'tensor'."""
  config = partitioning.MeshConfig() if config is None else config
  path = name.replace('.', '/')
  plain = partitioning.spec_for(path, shape, dtype, mesh, config)
  if any(re.search(pattern, path) for pattern, _ in config.overrides):
    return plain
  size = mesh.shape['tensor']
  module = path.split('/')[-2] if path.endswith('/kernel') else ''
  if size == 1 or module not in _COLUMNS + _ROWS:
    return plain
  cut = 1 if module in _COLUMNS else 0
  whole = heads if module in _ATTENTION else shape[cut]
  if whole % size:
    return plain
  axes = [None, None]
  axes[cut] = 'tensor'
  if any(plain) and shape[1 - cut] % mesh.shape['fsdp'] == 0:
    axes[1 - cut] = 'fsdp'
  return jax.sharding.PartitionSpec(*axes)
