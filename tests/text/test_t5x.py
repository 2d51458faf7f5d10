"""T5X's formats: gzip and sharded zarr, arrays inside the file, Orbax."""

import json
import pathlib
import shutil

import ml_dtypes
import msgpack
import numpy as np
import pytest

from imagen_jax.files import remote as remote_lib
from imagen_jax.text import t5x

DATA = pathlib.Path(__file__).parents[1] / 'data' / 't5x_tiny' / 'gated'
GZIP = DATA / 'legacy_gzip' / 'checkpoint_1000'
ORBAX = DATA / 'orbax' / 'checkpoint_1000'
SHARDED = DATA / 'legacy_sharded' / 'checkpoint_1000'


def _read(directory):
  _, found = t5x.read(remote_lib.folder(directory))
  return {k: v.read(np.dtype(np.float32)) for k, v in found.items()}


def _digest(x):
  x = x.astype(np.float64)
  return [x.size, x.sum(), (x * x).sum(), x.ravel()[0], x.ravel()[-1]]


def _write(directory, target):
  directory.mkdir(parents=True, exist_ok=True)
  state = {'version': 3, 'optimizer': {'target': target}}
  (directory / 'checkpoint').write_bytes(msgpack.packb(state))


def _inline(x):
  data = msgpack.packb((x.shape, x.dtype.name, x.tobytes()))
  return msgpack.ExtType(1, data)


@pytest.fixture
def copy(tmp_path):
  """A copy of the sharded checkpoint and its parsed target, to change."""
  directory = tmp_path / 'checkpoint_1000'
  shutil.copytree(SHARDED, directory)
  content = (directory / 'checkpoint').read_bytes()
  return directory, msgpack.unpackb(content)['optimizer']['target']


def test_all_formats_hold_the_same_weights():
  gzip, *others = (_read(d) for d in (GZIP, SHARDED, ORBAX))
  assert len(gzip) == 30
  for other in others:
    assert gzip.keys() == other.keys()
    for name, value in gzip.items():
      assert value.dtype == np.float32
      np.testing.assert_array_equal(value, other[name])


def test_bfloat16_is_rounded_to_nearest():
  """TensorStore casts while it reads; NumPy is the reference."""
  _, found = t5x.read(remote_lib.folder(SHARDED))
  tensor = found['token_embedder.embedding']
  short = tensor.read(np.dtype(ml_dtypes.bfloat16))
  exact = tensor.read(np.dtype(np.float32))
  np.testing.assert_array_equal(short, exact.astype(ml_dtypes.bfloat16))


def test_place_of_the_bucket_is_ignored(copy):
  """Checkpoints saved to a bucket name one that need not exist."""
  directory, target = copy
  spec = target['encoder']['encoder_norm']['scale']
  spec['kvstore'] |= {'driver': 'gcs', 'bucket': 'placeholder'}
  _write(directory, target)
  read = _read(directory)['encoder.encoder_norm.scale']
  expected = _read(SHARDED)['encoder.encoder_norm.scale']
  np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize('path', ['../elsewhere', '/etc', '', '.', 'a/../..'])
def test_path_outside_the_directory_is_refused(copy, path):
  directory, target = copy
  outside = directory.parent / 'elsewhere'
  shutil.copytree(directory / 'target.encoder.encoder_norm.scale', outside)
  target['encoder']['encoder_norm']['scale']['kvstore']['path'] = path
  _write(directory, target)
  with pytest.raises(ValueError, match='leaves the checkpoint'):
    _read(directory)


def test_names_of_orbax_stay_in_the_directory(tmp_path):
  directory = tmp_path / 'checkpoint_1000'
  shutil.copytree(ORBAX, directory)
  path = directory / 'state' / '_METADATA'
  metadata = json.loads(path.read_text())
  leaf = next(iter(metadata['tree_metadata'].values()))
  for keys, said in (
    (['target', 'encoder', '../../x'], 'leaves the checkpoint'),
    (['target'], None),
  ):
    leaf['key_metadata'] = [{'key': key, 'key_type': 2} for key in keys]
    path.write_text(json.dumps(metadata))
    if said:
      with pytest.raises(ValueError, match=said):
        _read(directory)
    else:
      assert _read(directory)


@pytest.mark.parametrize('store', [5, {}, {'path': 5}])
def test_specs_without_a_path_are_refused(copy, store):
  directory, target = copy
  target['encoder']['encoder_norm']['scale']['kvstore'] = store
  _write(directory, target)
  with pytest.raises(ValueError, match='checkpoint is damaged: .* no path'):
    _read(directory)


def test_link_out_of_the_directory_is_refused(copy):
  directory, _ = copy
  name = 'target.encoder.encoder_norm.scale'
  shutil.move(directory / name, directory.parent / name)
  (directory / name).symlink_to(directory.parent / name)
  with pytest.raises(ValueError, match='leaves the checkpoint'):
    _read(directory)


def test_missing_array_is_named(copy):
  directory, _ = copy
  shutil.rmtree(directory / 'target.encoder.encoder_norm.scale')
  with pytest.raises(ValueError, match='encoder_norm.scale.*missing'):
    _read(directory)


def test_arrays_inside_the_file(tmp_path):
  """16-bit floats, and arrays that flax cut into chunks."""
  _, target = _inside(tmp_path)
  norm = target['encoder']['encoder_norm']
  bits = np.full(4, 0xC000, np.uint16)  # -2 in bfloat16
  bits[0] = 0x3F80  # 1
  short = msgpack.packb(([4], 'bfloat16', bits.tobytes()))
  norm['scale'] = msgpack.ExtType(1, short)
  x = np.arange(40, dtype=np.float32).reshape(10, 4)
  flat = x.ravel()
  target['token_embedder']['embedding'] = {
    '__msgpack_chunked_array__': True,
    'shape': {'0': 10, '1': 4},
    'chunks': {'1': _inline(flat[8:]), '0': _inline(flat[:8])},
  }
  _write(tmp_path, target)
  read = _read(tmp_path)
  np.testing.assert_array_equal(read['token_embedder.embedding'], x)
  np.testing.assert_array_equal(
    read['encoder.encoder_norm.scale'], [1.0, -2.0, -2.0, -2.0]
  )


def _inside(directory):
  """Writes a checkpoint of T5 1.0, d = 4, one layer, all arrays inside."""
  shapes = {
    'query': (4, 6), 'key': (4, 6), 'value': (4, 6), 'out': (6, 4)
  }  # fmt: skip
  scale = _inline(np.ones(4, np.float32))
  layer = {
    'attention': {
      k: {'kernel': _inline(np.ones(s, np.float32))} for k, s in shapes.items()
    },
    'mlp': {
      'wi': {'kernel': _inline(np.ones((4, 8), np.float32))},
      'wo': {'kernel': _inline(np.ones((8, 4), np.float32))},
    },
    'pre_attention_layer_norm': {'scale': scale},
    'pre_mlp_layer_norm': {'scale': scale},
  }
  target = {
    'token_embedder': {'embedding': _inline(np.ones((10, 4), np.float32))},
    'encoder': {
      'encoder_norm': {'scale': scale},
      'relpos_bias': {'rel_embedding': _inline(np.ones((3, 32), np.float32))},
      'layers_0': layer,
    },
  }
  _write(directory, target)
  return directory, target


def test_the_size_is_that_of_the_shapes(tmp_path):
  config, _ = t5x.read(remote_lib.folder(_inside(tmp_path)[0]))
  assert (config.emb_dim, config.num_heads, config.head_dim) == (4, 3, 2)
  assert (config.mlp_dim, config.vocab_size) == (8, 10)
  assert config.mlp_activations == ('relu',)  # T5 1.0 has one matrix


def test_nothing_is_unpickled(tmp_path):
  """A pickled array would need numpy's object type, which has no buffer."""
  data = msgpack.packb(([1], 'object', b'12345678'))
  _write(tmp_path, {'encoder': {'x': msgpack.ExtType(1, data)}})
  with pytest.raises(ValueError):
    _read(tmp_path)


def test_a_truncated_chunk_is_named(copy):
  directory, _ = copy
  chunks = directory / 'target.encoder.layers_0.mlp.wo.kernel'
  chunk = next(path for path in chunks.iterdir() if path.name[0] != '.')
  chunk.write_bytes(chunk.read_bytes()[:-20])
  with pytest.raises(
    ValueError, match='layers_0.mlp.wo.kernel.*copy the whole'
  ):
    _read(directory)


def test_a_missing_chunk_is_not_read_as_zeros(copy):
  directory, _ = copy
  chunks = directory / 'target.encoder.layers_0.mlp.wo.kernel'
  next(path for path in chunks.iterdir() if path.name[0] != '.').unlink()
  with pytest.raises(
    ValueError, match='layers_0.mlp.wo.kernel.*copy the whole'
  ):
    _read(directory)


def test_half_of_an_orbax_checkpoint_is_refused(tmp_path):
  directory = tmp_path / 'checkpoint_1000'
  shutil.copytree(ORBAX, directory)
  for path in (directory / 'state' / 'ocdbt.process_0' / 'd').iterdir():
    path.unlink()
  with pytest.raises(ValueError, match='is missing or damaged; copy the whole'):
    _read(directory)


def test_arrays_of_a_bucket_are_asked_of_it():
  """No network here: the place that TensorStore is told."""
  folder = remote_lib.folder('gs://bucket/t5/checkpoint_1000/')
  assert folder.kvstore('target.x') == {
    'driver': 'gcs',
    'bucket': 'bucket',
    'path': 't5/checkpoint_1000/target.x/',
  }
  with pytest.raises(ValueError, match='not from ftp://'):
    remote_lib.folder('ftp://host/t5').kvstore('x')


def test_a_url_reads_as_a_path_does():
  """fsspec for the files and TensorStore for the arrays, by file://."""
  for directory in (SHARDED, ORBAX):
    local, remote = _read(directory), _read(f'file://{directory}')
    assert local.keys() == remote.keys()
    for name, value in local.items():
      np.testing.assert_array_equal(value, remote[name])


def test_errors_name_the_remedy(tmp_path):
  with pytest.raises(ValueError, match='does not hold.*give the checkpoint_'):
    _read(tmp_path)
  _write(tmp_path, {'encoder': {'x': _inline(np.ones(2))}})
  with pytest.raises(ValueError, match=r"\['encoder'\] but not.*'token_emb"):
    _read(tmp_path)
  (tmp_path / 'checkpoint').write_bytes(msgpack.packb({'version': 3}))
  with pytest.raises(ValueError, match='no optimizer.target'):
    _read(tmp_path)


@pytest.mark.parametrize('case', ['gated', 'tied_relu'])
def test_weights_are_those_that_were_saved(case):
  """Sums, squares, first and last elements, from T5X's own arrays."""
  root = DATA.parent / case
  step = json.loads((root / 'config.json').read_text())['step']
  read = _read(root / 'orbax' / f'checkpoint_{step}')
  digests = np.load(root / 'params_digest.npz')
  for name, x in read.items():
    np.testing.assert_allclose(_digest(x), digests[name], rtol=1e-5, atol=1e-5)
