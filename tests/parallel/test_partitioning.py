"""Where arrays lie on 8 emulated devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from imagen_jax.parallel import partitioning

MESH = partitioning.MeshConfig(data=2, fsdp=4)


@pytest.fixture
def mesh():
  return partitioning.make_mesh(MESH)


@pytest.mark.parametrize(
  'shape, expected',
  [
    ((1024, 1024), PartitionSpec('fsdp')),  # 4 MiB; the first of equals
    ((1024, 1023), PartitionSpec()),  # below 4 MiB: stays whole
    ((3, 3, 512, 1024), PartitionSpec(None, None, None, 'fsdp')),
    ((3, 3, 4096, 1023), PartitionSpec(None, None, 'fsdp')),
    ((3001, 1001), PartitionSpec()),  # nothing divides
  ],
)
def test_largest_dimension_that_divides(mesh, shape, expected):
  spec = partitioning.spec_for('a/kernel', shape, jnp.float32, mesh, MESH)
  assert spec == expected


@pytest.mark.parametrize(
  ('overrides', 'said'),
  [
    ((('query(', (None,)),), r"'query\(' is no regular expression"),
    ((('query',),), 'it must be tuple of'),
  ],
)
def test_an_override_that_cannot_be_is_told(overrides, said):
  with pytest.raises(ValueError, match=f'MeshConfig.overrides .*{said}'):
    partitioning.MeshConfig(overrides=overrides)


def test_overrides_come_first(mesh):
  config = partitioning.MeshConfig(
    data=2, fsdp=4, overrides=(('query/kernel$', (None, 'tensor')),)
  )
  spec = partitioning.spec_for(
    'x/query/kernel', (8, 8), jnp.float32, mesh, config
  )
  assert spec == PartitionSpec(None, 'tensor')


def test_optimizer_state_lies_where_its_parameters_lie(mesh):
  shapes = {
    'params': {'kernel': jax.ShapeDtypeStruct((2048, 1024), jnp.float32)},
    'opt': ({'kernel': jax.ShapeDtypeStruct((2048, 1024), jnp.float32)},),
    'key': jax.eval_shape(lambda: jax.random.key(0)),
  }
  shardings = partitioning.state_shardings(shapes, mesh, MESH)
  assert shardings['params']['kernel'].spec == PartitionSpec('fsdp')
  assert shardings['opt'][0]['kernel'] == shardings['params']['kernel']
  assert shardings['key'].spec == PartitionSpec()


def test_batch_lies_over_data_and_fsdp(mesh):
  batch = partitioning.put_batch({'image': jnp.zeros([16, 4])}, mesh)
  shapes = {s.data.shape for s in batch['image'].addressable_shards}
  assert shapes == {(2, 4)}


class Chip:
  """What JAX looks at to place a mesh on a torus of TPUs."""

  platform, device_kind = 'tpu', 'TPU v4'
  process_index = slice_index = core_on_chip = 0

  def __init__(self, number, *coords):
    self.id, self.coords = number, coords


def test_groups_that_fill_no_axes_of_the_torus_get_part_of_one():
  """Sixteen chips of 4 x 8 x 8: a plane of 8 x 2, say, for each group."""
  places = np.ndindex(4, 8, 8)
  chips = [Chip(i, *place) for i, place in enumerate(places)]
  config = partitioning.MeshConfig(fsdp=16)
  found = partitioning.make_mesh(config, chips).devices
  assert found.shape == (16, 16, 1)
  assert len({chip.id for chip in found.flat}) == 256
  for group in found[:, :, 0]:
    spans = [len({chip.coords[i] for chip in group}) for i in range(3)]
    assert np.prod(spans) == 16, 'a group is a box of neighbours'


def test_sizes_that_do_not_fit():
  for wrong in ({'fsdp': 0}, {'data': 0}, {'data': -8, 'fsdp': -1}):
    with pytest.raises(ValueError, match='each must be at least 1'):
      partitioning.make_mesh(partitioning.MeshConfig(**wrong))
  with pytest.raises(ValueError, match='needs 16 devices, there are 8'):
    partitioning.make_mesh(partitioning.MeshConfig(fsdp=16))
  with pytest.raises(ValueError, match='needs 6 devices, there are 8'):
    partitioning.make_mesh(partitioning.MeshConfig(data=2, fsdp=3))
  mesh = partitioning.make_mesh(MESH)
  with pytest.raises(ValueError, match='12 does not divide .* use 8 or 16'):
    partitioning.check_batch(12, mesh)
  with pytest.raises(ValueError, match='batch_size is 0; .* at least 8'):
    partitioning.check_batch(0, mesh)
