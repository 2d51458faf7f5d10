"""T5X's legacy format: gzip and sharded zarr, arrays inside the file."""

import json
import pathlib
import shutil

import msgpack
import numpy as np
import pytest

from imagen_jax.text import checkpoints

DATA = pathlib.Path(__file__).parents[1] / 'data' / 't5x_tiny' / 'gated'
GZIP = DATA / 'legacy_gzip' / 'checkpoint_1000'
SHARDED = DATA / 'legacy_sharded' / 'checkpoint_1000'


def _flat(tree, prefix=''):
  flat = {}
  for name, value in tree.items():
    if isinstance(value, dict):
      flat |= _flat(value, f'{prefix}{name}.')
    else:
      flat[prefix + name] = value
  return flat


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


def test_gzip_and_sharded_hold_the_same_weights():
  gzip, sharded = (_flat(checkpoints.read(d)) for d in (GZIP, SHARDED))
  assert gzip.keys() == sharded.keys()
  assert len(gzip) == 30
  for name, value in gzip.items():
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, sharded[name])


def test_place_of_the_bucket_is_ignored(copy):
  """Checkpoints saved to a bucket name one that need not exist."""
  directory, target = copy
  spec = target['encoder']['encoder_norm']['scale']
  spec['kvstore'] |= {'driver': 'gcs', 'bucket': 'placeholder'}
  _write(directory, target)
  read = checkpoints.read(directory)['encoder']['encoder_norm']['scale']
  expected = checkpoints.read(SHARDED)['encoder']['encoder_norm']['scale']
  np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize('path', ['../elsewhere', '/etc', '', '.', 'a/../..'])
def test_path_outside_the_directory_is_refused(copy, path):
  directory, target = copy
  outside = directory.parent / 'elsewhere'
  shutil.copytree(directory / 'target.encoder.encoder_norm.scale', outside)
  target['encoder']['encoder_norm']['scale']['kvstore']['path'] = path
  _write(directory, target)
  with pytest.raises(ValueError, match='leaves the checkpoint'):
    checkpoints.read(directory)


def test_link_out_of_the_directory_is_refused(copy):
  directory, _ = copy
  name = 'target.encoder.encoder_norm.scale'
  shutil.move(directory / name, directory.parent / name)
  (directory / name).symlink_to(directory.parent / name)
  with pytest.raises(ValueError, match='leaves the checkpoint'):
    checkpoints.read(directory)


def test_missing_array_is_named(copy):
  directory, _ = copy
  shutil.rmtree(directory / 'target.encoder.encoder_norm.scale')
  with pytest.raises(ValueError, match='encoder_norm.scale.*missing'):
    checkpoints.read(directory)


def test_arrays_inside_the_file(tmp_path):
  """Scalars, 16-bit floats and arrays that flax cut into chunks."""
  x = np.arange(12, dtype=np.float32).reshape(3, 4)
  bits = np.array([0x3F80, 0xC000], np.uint16)  # 1 and -2 in bfloat16
  bfloat16 = msgpack.packb(([2], 'bfloat16', bits.tobytes()))
  _write(
    tmp_path,
    {
      'encoder': {
        'whole': _inline(x),
        'short': msgpack.ExtType(1, bfloat16),
        'chunked': {
          '__msgpack_chunked_array__': True,
          'shape': {'0': 3, '1': 4},
          'chunks': {'1': _inline(x.ravel()[8:]), '0': _inline(x.ravel()[:8])},
        },
      }
    },
  )
  read = checkpoints.read(tmp_path, prefixes=('encoder',))['encoder']
  np.testing.assert_array_equal(read['whole'], x)
  np.testing.assert_array_equal(read['chunked'], x)
  np.testing.assert_array_equal(read['short'], [1.0, -2.0])


def test_nothing_is_unpickled(tmp_path):
  """A pickled array would need numpy's object type, which has no buffer."""
  data = msgpack.packb(([1], 'object', b'12345678'))
  _write(tmp_path, {'encoder': {'x': msgpack.ExtType(1, data)}})
  with pytest.raises(ValueError):
    checkpoints.read(tmp_path, prefixes=('encoder',))


def test_errors_name_the_remedy(tmp_path):
  with pytest.raises(ValueError, match='does not exist: give the checkpoint_'):
    checkpoints.read(tmp_path)
  _write(tmp_path, {'decoder': {}})
  with pytest.raises(ValueError, match=r"has \['decoder'\] but not"):
    checkpoints.read(tmp_path)
  (tmp_path / 'checkpoint').write_bytes(msgpack.packb({'version': 3}))
  with pytest.raises(ValueError, match='no optimizer.target'):
    checkpoints.read(tmp_path)


def test_data_fits_its_description():
  """The stored case is the one that the parity tests mean."""
  config = json.loads((DATA / 'config.json').read_text())
  embedding = checkpoints.read(GZIP)['token_embedder']['embedding']
  assert embedding.shape == (config['vocab_size'], config['emb_dim'])
