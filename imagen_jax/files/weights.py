"""Weights and small configs on disk: safetensors and JSON, replaced whole.

No pickle anywhere. A tree of arrays is stored under the path of each leaf,
joined with '.'; a file is written beside its place and renamed into it, so
that a reader sees the old one or the new one.
"""

import contextlib
import json
import math
import os
import pathlib
import uuid

import numpy as np
import safetensors
import safetensors.numpy

from imagen_jax.files import impostors
from imagen_jax.files import tensors as tensors_lib

_SAFETENSORS_NAMES = {
  'float32': 'F32',
  'float16': 'F16',
  'bfloat16': 'BF16',
}


def flatten(tree, prefix=''):
  """Nested dict -> {'a.b.c': leaf}, the names used in the files."""
  flat = {}
  for name, value in tree.items():
    path = f'{prefix}.{name}' if prefix else name
    if isinstance(value, dict):
      flat |= flatten(value, path)
    else:
      flat[path] = value
  return flat


def unflatten(flat):
  """The inverse of `flatten`."""
  tree = {}
  for path, value in flat.items():
    *parents, leaf = path.split('.')
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
      if not isinstance(node, dict):
        raise ValueError(f'{path} lies below another weight')
    if leaf in node:
      raise ValueError(f'{path} is two things')
    node[leaf] = value
  return tree


def save(path, tree, dtype=np.float32, metadata=None):
  """Writes a tree of arrays as safetensors, cast to `dtype`, atomically.

  Raises ValueError where a weight is not finite, or too large for `dtype` (the
  file would load without complaint and draw nothing), OSError where the file
  cannot be written.
  """
  flat = {k: _cast(v, dtype, f'{path}: {k}') for k, v in flatten(tree).items()}
  fresh = _beside(path)
  try:
    try:
      safetensors.numpy.save_file(flat, str(fresh), metadata=metadata)
    except safetensors.SafetensorError as e:  # of a full disk too
      raise OSError(f'{path}: {e}') from e
    if metadata:
      _sort_metadata(fresh)
    fresh.chmod(0o644)  # safetensors writes for the owner's eyes alone
    _sync_and_rename(fresh, path)
  finally:
    fresh.unlink(missing_ok=True)


def save_streamed(path, tensors, dtype=np.float32, metadata=None):
  """As `save`, but each array is made when its turn comes.

  For weights larger than the memory.

  Args:
    path: of the file.
    tensors: name -> what has a `shape` and `read(dtype)`, see `files.tensors`.
    dtype: of all of them in the file.
    metadata: texts by name.
  """
  dtype = np.dtype(dtype)
  header, offset = {}, 0
  if metadata:
    header['__metadata__'] = dict(sorted(metadata.items()))
  for name, tensor in tensors.items():
    end = offset + math.prod(tensor.shape) * dtype.itemsize
    header[name] = {
      'dtype': _SAFETENSORS_NAMES[dtype.name],
      'shape': [*tensor.shape],
      'data_offsets': [offset, end],
    }
    offset = end
  text = json.dumps(header, separators=(',', ':'), ensure_ascii=False).encode()
  text = text.ljust(-(-len(text) // 8) * 8)
  fresh = _beside(path)
  try:
    with open(fresh, 'wb') as file:
      file.write(len(text).to_bytes(8, 'little') + text)
      for name, tensor in tensors.items():
        value = _cast(tensor.read(dtype), dtype, f'{path}: {name}')
        file.write(value.reshape(-1).view(np.uint8).data)
    _sync_and_rename(fresh, path)
  finally:
    fresh.unlink(missing_ok=True)


def _sort_metadata(path):
  """Equal weights make equal files: safetensors shuffles what it is given.

  The header is 8 bytes of its length, then JSON that spaces may follow.
  """
  with open(path, 'r+b') as file:
    size = int.from_bytes(file.read(8), 'little')
    header = json.loads(file.read(size))
    said = header.pop('__metadata__')
    header = {'__metadata__': dict(sorted(said.items())), **header}
    text = json.dumps(header, separators=(',', ':'), ensure_ascii=False)
    file.seek(8)
    file.write(text.encode().ljust(size))


def _cast(value, dtype, where):
  with np.errstate(over='ignore'):
    # Not ascontiguousarray, which gives a number a dimension.
    cast = np.asarray(value).astype(dtype, order='C')
  if not np.isfinite(cast).all():
    raise ValueError(
      f'{where} has values that {np.dtype(dtype)} cannot hold; take bfloat16 '
      'or float32, or other weights if they are not finite'
    )
  return cast


def save_json(path, fields):
  """Writes a JSON file atomically."""
  save_bytes(path, (json.dumps(fields, indent=2) + '\n').encode())


def save_bytes(path, content):
  """Writes a file atomically."""
  fresh = _beside(path)
  try:
    fresh.write_bytes(content)
    _sync_and_rename(fresh, path)
  finally:
    fresh.unlink(missing_ok=True)


def _beside(path):
  path = pathlib.Path(path)
  return path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}')


def _sync_and_rename(fresh, path):
  """A crash leaves the old file or the new one, never half of either."""
  with open(fresh, 'rb') as f:
    os.fsync(f.fileno())
  os.replace(fresh, path)


def metadata(path):
  """The text that `save` was given besides the weights, {} where none was."""
  with safetensors.safe_open(str(path), 'numpy') as file:
    return file.metadata() or {}


def refuse_other(path):
  """Raises ValueError where a file of weights is a pointer, a page, empty."""
  with contextlib.suppress(OSError), open(path, 'rb') as file:
    impostors.refuse(file.read(impostors.HEAD), path)


def load(path):
  """Reads safetensors into a tree of float32 arrays.

  Raises ValueError with the remedy where the file is missing or damaged.
  """
  try:
    _check_header(path)
    flat = safetensors.numpy.load_file(str(path))
  except FileNotFoundError as e:
    raise ValueError(f'{path} is missing; copy the directory again') from e
  except (safetensors.SafetensorError, *tensors_lib.DAMAGE) as e:
    refuse_other(path)
    raise ValueError(f'{path} is damaged ({e}); copy or export it again') from e
  try:
    return unflatten({k: v.astype(np.float32) for k, v in flat.items()})
  except ValueError as e:
    raise ValueError(f'{path} is no tree of weights: {e}') from e


def _check_header(path):
  """Raises where tensors share a place or a name, which the library takes."""
  with open(path, 'rb') as file:
    size = os.fstat(file.fileno()).st_size
    length = tensors_lib.header_length(file.read(8), size)
    tensors_lib.parse_header(file.read(length))
