"""T5X checkpoints, read without T5X: the classic ("legacy") format and Orbax.

Legacy: a directory `checkpoint_<step>` holds a msgpack file `checkpoint` whose
`optimizer.target` is the parameter tree. A leaf is an array inside the file,
or a TensorStore spec of a zarr directory beside it. Specs may name a bucket
that no longer exists, so only their path is used, and only below the
directory. Orbax: the item `state` holds zarr arrays by the names of the
parameters, in an OCDBT database or in directories. Nothing is unpickled.

No config lies beside the weights: their shapes tell all but the largest
relative distance, which is 128 in every T5.
"""

import pathlib
import re

import ml_dtypes
import msgpack
import numpy as np

from imagen_jax.files import json_files, remote, tensors
from imagen_jax.models import t5

_FILE = 'checkpoint'
_STATE = 'state'
_METADATA = '_METADATA'
_NDARRAY = 1  # flax.serialization's msgpack codes
_NPSCALAR = 3
_CHUNKED = '__msgpack_chunked_array__'
_STEP = re.compile(r'checkpoint_(\d+)')
_NOT_NEEDED = 'decoder'
_NEEDED = ('encoder', 'token_embedder')


def is_one(names: list[str]) -> bool:
  """Does a directory with these entries belong to this module?"""
  return (
    _FILE in names
    or _METADATA in names
    or {'_CHECKPOINT_METADATA', _STATE} <= set(names)
  )


def newest(names: list[str]) -> str | None:
  """The checkpoint_<step> of the highest step among them, if any."""
  steps = [name for name in names if _STEP.fullmatch(name)]
  return max(steps, key=lambda n: int(_STEP.fullmatch(n)[1]), default=None)


def read(folder: remote.Folder):
  """Config and tensors by T5X's names, joined with '.'."""
  names = folder.names()
  if _FILE in names:
    found = _legacy(folder)
  elif _METADATA in names:
    found = _orbax(folder)
  elif _STATE in names:
    found = _orbax(folder.child(_STATE))
  else:
    raise ValueError(
      f'{folder} does not hold {_FILE} or {_STATE}: give the '
      'checkpoint_<step> directory of a T5X checkpoint'
    )
  tops = {name.partition('.')[0] for name in found}
  missing = [name for name in _NEEDED if name not in tops]
  if missing:
    raise ValueError(f'{folder} has {sorted(tops)} but not {missing}')
  found = {k: v for k, v in found.items() if k.split('.')[0] != _NOT_NEEDED}
  return config_of({k: v.shape for k, v in found.items()}, str(folder)), found


def config_of(shapes: dict[str, tuple[int, ...]], where: str) -> t5.T5Config:
  """The size of an encoder with these shapes by T5X's names."""
  layer = 'encoder.layers_0'
  gated = f'{layer}.mlp.wi_0.kernel' in shapes
  try:
    vocab_size, emb_dim = shapes['token_embedder.embedding']
    heads, buckets = shapes['encoder.relpos_bias.rel_embedding']
    _, joined = shapes[f'{layer}.attention.query.kernel']
    _, mlp_dim = shapes[f'{layer}.mlp.{"wi_0" if gated else "wi"}.kernel']
  except (KeyError, ValueError) as error:
    if any(re.match(r'encoder\.(encoder|layers)\.', name) for name in shapes):
      raise ValueError(
        f'{where} has the layers of its encoder in one array each (scalable '
        'T5, scan_layers=True), which is not read; export it with '
        'scan_layers=False, or take the Hugging Face files of the model'
      ) from error
    raise ValueError(
      f'{where} holds no T5 encoder as T5X names it: {error}'
    ) from error
  layers = {
    m[1] for n in shapes if (m := re.match(r'encoder\.layers_(\d+)', n))
  }
  return t5.T5Config(
    vocab_size=vocab_size,
    emb_dim=emb_dim,
    num_heads=heads,
    head_dim=joined // heads,
    mlp_dim=mlp_dim,
    num_encoder_layers=len(layers),
    mlp_activations=('gelu', 'linear') if gated else ('relu',),
    relative_attention_num_buckets=buckets,
  )


def _legacy(folder):
  where = f'{folder}/{_FILE}'
  try:
    state = msgpack.unpackb(
      folder.read(_FILE), ext_hook=_array, raw=False, strict_map_key=False
    )
  except (ValueError, TypeError) as error:
    raise ValueError(
      f'{where} is damaged ({error}); copy the directory again'
    ) from error
  target = state.get('optimizer') if isinstance(state, dict) else None
  target = target.get('target') if isinstance(target, dict) else None
  if not isinstance(target, dict):
    raise ValueError(f'{where} holds no optimizer.target: not a T5X checkpoint')
  leaves = _flat({k: v for k, v in target.items() if k != _NOT_NEEDED})
  specs = {
    name: _spec(leaf, folder) for name, leaf in leaves.items() if _is_spec(leaf)
  }
  found = _zarr(specs, folder)
  for name, leaf in leaves.items():
    if name not in specs:
      found[name] = _inline(name, leaf)
  return found


def _array(code, data):
  """msgpack extension to array: (shape, dtype name, bytes in C order)."""
  if code not in (_NDARRAY, _NPSCALAR):
    raise ValueError(f'msgpack extension {code} is no array: file not read')
  shape, dtype, data = msgpack.unpackb(data, raw=False)
  # NumPy alone knows no bfloat16.
  dtype = ml_dtypes.bfloat16 if dtype == 'bfloat16' else dtype
  return np.frombuffer(data, np.dtype(dtype)).reshape(shape)


def _is_spec(leaf):
  return isinstance(leaf, dict) and 'kvstore' in leaf


def _flat(node, prefix=''):
  """Leaves by their joined names: arrays, chunked arrays and specs."""
  flat = {}
  for name, value in node.items():
    inner = isinstance(value, dict) and _CHUNKED not in value
    if inner and not _is_spec(value):
      flat |= _flat(value, f'{prefix}{name}.')
    else:
      flat[f'{prefix}{name}'] = value
  return flat


def _inline(name, leaf):
  if isinstance(
    leaf, dict
  ):  # arrays above 1 GiB, split in order of their names
    chunks = sorted(leaf['chunks'].items(), key=lambda item: int(item[0]))
    shape = [size for _, size in sorted(leaf['shape'].items())]
    flat = np.concatenate([chunk.ravel() for _, chunk in chunks])
    leaf = flat.reshape(shape)
  leaf = np.asarray(leaf)
  return tensors.Tensor(name=name, shape=leaf.shape, read=leaf.astype)


def _spec(leaf, folder):
  """TensorStore's spec of an array below `folder`, wherever it was written."""
  if leaf.get('driver') != 'zarr':
    raise ValueError(
      f'driver {leaf.get("driver")!r} of {leaf}: only zarr is read'
    )
  store = leaf['kvstore']
  path = store.get('path') if isinstance(store, dict) else None
  if not isinstance(path, str):
    raise ValueError(f'{folder}/{_FILE} is damaged: {leaf} names no path')
  name = path.strip('/')
  parts = name.split('/')
  outside = not name or path.startswith('/')
  outside |= any(part in ('', '.', '..') for part in parts)
  if not folder.remote and not outside:  # links count too
    root = pathlib.Path(folder.place).resolve()
    outside = root not in (root / name).resolve().parents
  if outside:
    raise ValueError(f'array path {name!r} leaves the checkpoint {folder}')
  return {'driver': 'zarr', 'kvstore': folder.kvstore(name)}


def _orbax(folder):
  where = f'{folder}/{_METADATA}'
  try:
    metadata = json_files.read_in(folder, _METADATA)
    paths = [
      [str(key['key']) for key in leaf['key_metadata']]
      for leaf in metadata['tree_metadata'].values()
    ]
  except (AttributeError, KeyError, TypeError) as error:
    raise ValueError(
      f'{where} is missing or damaged ({error}); copy the directory again'
    ) from error
  driver = 'zarr3' if metadata.get('use_zarr3') else 'zarr'
  specs = {}
  for path in paths:
    if path[:1] != ['target'] or path[1:2] in ([], [_NOT_NEEDED]):
      continue
    name = '.'.join(path)
    if '/' in name:
      raise ValueError(f'array path {name!r} leaves the checkpoint {folder}')
    kvstore = folder.kvstore(name)
    if metadata.get('use_ocdbt'):
      base = folder.kvstore('.')
      base = {**base, 'path': base['path'].removesuffix('./')}
      kvstore = {'driver': 'ocdbt', 'base': base, 'path': f'{name}/'}
    specs['.'.join(path[1:])] = {'driver': driver, 'kvstore': kvstore}
  return _zarr(specs, folder)


def _zarr(specs, folder):
  """Opens all arrays at once; a read of a missing chunk is an error."""
  if not specs:
    return {}
  import tensorstore  # a second of import, and only these formats need it

  context = tensorstore.Context()  # one OCDBT cache for all of them
  opened = {
    name: tensorstore.open(
      {**spec, 'fill_missing_data_reads': False}, read=True, context=context
    )
    for name, spec in specs.items()
  }
  found = {}
  for name, future in opened.items():
    try:
      store = future.result()
    except ValueError as error:
      raise _damaged(name, folder, error) from error
    found[name] = _lazy(name, store, folder)
  return found


def _lazy(name, store, folder):
  import tensorstore

  def read(dtype):
    try:
      cast = tensorstore.cast(store, tensorstore.dtype(dtype))
      return np.asarray(cast.read(order='C').result())
    except ValueError as error:
      raise _damaged(name, folder, error) from error

  return tensors.Tensor(name=name, shape=tuple(store.shape), read=read)


def _damaged(name, folder, error):
  return ValueError(
    f'array {name!r} of {folder} is missing or damaged; copy the whole '
    f'directory again ({str(error).splitlines()[0]})'
  )
