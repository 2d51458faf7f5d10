"""Gradients on 8 emulated devices are those of one device, leaf by leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax import stages
from imagen_jax.parallel import partitioning
from imagen_jax.training import objective
from tests.support import tiny_cascade

BATCH = 8
TOLERANCE = 1e-5  # of the norm of each leaf's gradient
EIGHT = partitioning.MeshConfig(data=4, fsdp=2, replicate_below=0)


def _batch(stage):
  rng = np.random.default_rng(0)
  side = stage.resolution
  batch = {
    'image': rng.integers(0, 256, [BATCH, side, side, 3]).astype(np.uint8),
    'text': rng.normal(size=[BATCH, stage.max_length, stage.text_width]).astype(
      np.float32
    ),
    'mask': np.arange(stage.max_length) < rng.integers(2, 9, [BATCH, 1]),
  }
  if stage.low_res is not None:
    low = stage.low_res
    batch['low_res'] = rng.integers(0, 256, [BATCH, low, low, 3]).astype(
      np.uint8
    )
  return batch


def _gradients(stage, config, devices):
  """Gradients of the mean loss at random weights, as numpy by name."""
  mesh = partitioning.make_mesh(config, devices)
  params = tiny_cascade.random_params(stage)
  shardings = partitioning.state_shardings(params, mesh, config)
  params = jax.tree.map(jax.device_put, params, shardings)
  apply = stages.network(stage).apply

  def gradients(params, batch):
    noise = objective.draw_noise(jax.random.key(1), batch, 0.25)

    def mean_loss(params):
      return jnp.mean(
        objective.example_losses(stage, apply, params, batch, noise)
      )

    return jax.grad(mean_loss)(params)

  batch = partitioning.put_batch(_batch(stage), mesh)
  grads = jax.jit(gradients, out_shardings=shardings)(params, batch)
  leaves, _ = jax.tree_util.tree_flatten_with_path(grads)
  return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


@pytest.mark.parametrize(
  'resolution', [8, pytest.param(16, marks=pytest.mark.slow)]
)
def test_gradients_agree_leaf_by_leaf(resolution):
  """The base U-Net (8) and the Efficient U-Net (16)."""
  stage = tiny_cascade.stage(resolution)
  one = _gradients(stage, partitioning.MeshConfig(), jax.devices()[:1])
  eight = _gradients(stage, EIGHT, jax.devices())
  sharded = [g for g in eight.values() if 'fsdp' in str(g.sharding.spec)]
  assert len(sharded) > 10, 'the test must shard parameters'
  far = {}
  for name, expected in one.items():
    expected = np.asarray(expected, np.float64)
    norm = np.linalg.norm(expected)
    error = np.linalg.norm(np.asarray(eight[name], np.float64) - expected)
    assert norm > 0, f'{name} has no gradient'
    if not error <= TOLERANCE * norm:
      far[name] = f'{error / norm:.1e} of {norm:.1e}'
  assert not far
