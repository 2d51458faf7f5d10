"""Checksums: any altered number is seen, on whatever mesh."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from imagen_jax.parallel import partitioning
from imagen_jax.training import checksums


def _mixed(n):
  """The end of MurmurHash3 on a Python number."""
  n ^= n >> 16
  n = n * 0x85EBCA6B % 2**32
  n ^= n >> 13
  n = n * 0xC2B2AE35 % 2**32
  return n ^ (n >> 16)


def test_the_sum_is_that_of_the_definition():
  x = np.array([[1.5, -2.0, 0.0], [3.0, np.nan, 1e-30]], np.float32)
  words = x.view(np.uint32).reshape(-1).tolist()
  total = sum(_mixed(w ^ _mixed(i)) for i, w in enumerate(words)) % 2**32
  assert checksums.of_arrays({'a': {'b': jnp.asarray(x)}}) == {
    'a/b': f'{total:08x}'
  }


@pytest.mark.parametrize(
  'dtype', ['float32', 'bfloat16', 'float16', 'int32', 'uint8', 'int8']
)
def test_every_bit_counts(dtype):
  rng = np.random.default_rng(0)
  x = rng.integers(-100, 100, (3, 5)).astype(ml_dtypes.bfloat16).astype(dtype)
  size = x.dtype.itemsize
  (whole,) = checksums.of_arrays([jnp.asarray(x)]).values()
  seen = {whole}
  for bit in range(0, 8 * x.nbytes, 7):
    data = bytearray(x.tobytes())
    data[bit // 8] ^= 1 << bit % 8
    altered = np.frombuffer(bytes(data), x.dtype).reshape(x.shape)
    (found,) = checksums.of_arrays([jnp.asarray(altered)]).values()
    seen.add(found)
  assert len(seen) == 1 + -(-8 * 15 * size // 7)


def test_places_count():
  x = jnp.arange(12, dtype=jnp.int32)
  sums = [
    checksums.of_arrays([y])
    for y in (x, x[::-1], jnp.roll(x, 1), x.at[:2].set(x[1::-1]))
  ]
  assert len({str(s) for s in sums}) == 4


def test_a_scalar_and_an_empty_array_have_one():
  assert len(checksums.of_arrays([jnp.int32(3), jnp.zeros([0, 4])])) == 2
  assert checksums.of_arrays([jnp.array(True)]) != checksums.of_arrays(
    [jnp.array(False)]
  )


def test_a_mesh_does_not_count():
  x = np.random.default_rng(0).normal(size=(16, 24)).astype(np.float32)
  config = partitioning.MeshConfig(data=2, fsdp=4)
  mesh = partitioning.make_mesh(config, jax.devices()[:8])
  found = {
    str(checksums.of_arrays([jax.device_put(x, NamedSharding(mesh, spec))]))
    for spec in (
      PartitionSpec(),
      PartitionSpec('data'),
      PartitionSpec('fsdp', 'data'),
      PartitionSpec(None, ('data', 'fsdp')),
    )
  }
  assert found == {str(checksums.of_arrays([jnp.asarray(x)]))}


def test_numbers_of_64_bits_count_in_full():
  with jax.enable_x64(True):
    x = jnp.asarray([1, 2**40], jnp.int64)
    y = jnp.asarray([1, 2**40 + 2**35], jnp.int64)
    assert checksums.of_arrays([x]) != checksums.of_arrays([y])


def test_json_counts_whatever_its_order():
  one = checksums.of_json({'a': (1, 2), 'b': {'c': 0.1}})
  assert one == checksums.of_json({'b': {'c': 0.1}, 'a': [1, 2]})
  assert one != checksums.of_json({'b': {'c': 0.2}, 'a': [1, 2]})


def test_what_was_altered_is_named():
  arrays = {'params': {'x': jnp.ones(3), 'y': jnp.ones(2)}}
  meta = {'seed': 0}
  data = checksums.with_sums({'next_batch': 5}, arrays, meta)
  assert checksums.altered_text(data, meta) is None
  assert checksums.altered_array(data, arrays) is None
  assert checksums.altered_text({**data, 'next_batch': 7}, meta) == 'data'
  assert checksums.altered_text([], meta) == 'data'
  assert checksums.altered_text(data, {'seed': 1}) == 'meta'
  other = {'params': {'x': jnp.zeros(3), 'y': jnp.zeros(2)}}
  assert checksums.altered_array(data, other) == 'params/x (and 1 more)'


def test_what_an_older_release_wrote_is_taken():
  assert not checksums.known({'next_batch': 5})
  assert checksums.altered_text({'next_batch': 5}, {}) is None
  # One letter of the name altered is no older release.
  assert checksums.altered_text({'next_batch': 5, 'checksumz': {}}, {})
