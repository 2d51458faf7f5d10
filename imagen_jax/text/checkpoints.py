"""T5X checkpoints of the classic ("legacy") format, read without T5X.

A directory `checkpoint_<step>` holds a msgpack file `checkpoint` whose
`optimizer.target` is the parameter tree. A leaf is an array inside the file,
or a TensorStore spec of a zarr directory beside it. Specs may name a bucket
that no longer exists, so only their path is used, and only below the
directory. Nothing is unpickled.
"""

import pathlib

import msgpack
import numpy as np

_FILE = 'checkpoint'
_NDARRAY = 1  # flax.serialization's msgpack codes
_NPSCALAR = 3
_CHUNKED = '__msgpack_chunked_array__'


def read(directory: str, prefixes=('encoder', 'token_embedder')) -> dict:
  """Parameters of a T5X checkpoint as float32 NumPy arrays.

  Args:
    directory: the `checkpoint_<step>` directory.
    prefixes: top-level entries to read; the default is what T5Encoder needs,
      half of the bytes of the whole.

  Returns:
    Nested dict with T5X's names.
  """
  root = pathlib.Path(directory)
  path = root / _FILE
  if not path.is_file():
    raise ValueError(
      f'{path} does not exist: give the checkpoint_<step> directory of a '
      'T5X checkpoint in the legacy format'
    )
  state = msgpack.unpackb(
    path.read_bytes(), ext_hook=_array, raw=False, strict_map_key=False
  )
  target = state.get('optimizer', {}).get('target')
  if not isinstance(target, dict):
    raise ValueError(f'{path} holds no optimizer.target: not a T5X checkpoint')
  missing = [name for name in prefixes if name not in target]
  if missing:
    raise ValueError(f'{path} has {sorted(target)} but not {missing}')
  return {name: _tree(target[name], root) for name in prefixes}


def _array(code, data):
  """msgpack extension to array: (shape, dtype name, bytes in C order)."""
  if code not in (_NDARRAY, _NPSCALAR):
    raise ValueError(f'msgpack extension {code} is no array: file not read')
  shape, dtype, data = msgpack.unpackb(data, raw=False)
  return np.frombuffer(data, _dtype(dtype)).reshape(shape)


def _dtype(name):
  if name == 'bfloat16':
    import ml_dtypes  # comes with jax; NumPy alone has no such type

    return np.dtype(ml_dtypes.bfloat16)
  return np.dtype(name)


def _tree(node, root):
  if not isinstance(node, dict):
    return np.asarray(node).astype(np.float32)
  if _CHUNKED in node:  # arrays above 1 GiB, split in order of their names
    chunks = sorted(node['chunks'].items(), key=lambda item: int(item[0]))
    shape = [size for _, size in sorted(node['shape'].items())]
    flat = np.concatenate([chunk.ravel() for _, chunk in chunks])
    return flat.reshape(shape).astype(np.float32)
  if 'driver' in node and 'kvstore' in node:
    return _zarr(node, root)
  return {name: _tree(child, root) for name, child in node.items()}


def _zarr(spec, root):
  """Array of a TensorStore spec, always from a local file below root."""
  import tensorstore  # only this format needs it

  if spec['driver'] != 'zarr':
    raise ValueError(f'driver {spec["driver"]!r} of {spec}: only zarr is read')
  name = spec['kvstore'].get('path', '')
  path = (root / name).resolve()
  if not name or root.resolve() not in path.parents:
    raise ValueError(f'array path {name!r} leaves the checkpoint {root}')
  local = {
    'driver': 'zarr',
    'kvstore': {'driver': 'file', 'path': f'{path}/'},
  }
  try:
    store = tensorstore.open(local, read=True).result()
  except ValueError as error:
    raise ValueError(
      f'array {name!r} of {root} is missing or damaged; copy the whole '
      f'directory again ({str(error).splitlines()[0]})'
    ) from error
  return np.asarray(store.read().result()).astype(np.float32)
