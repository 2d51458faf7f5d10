"""The learning rate's shape, and what each optimizer does in one step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from imagen_jax.parallel import partitioning
from imagen_jax.training import optimizers

RATE = optimizers.LearningRate(peak=2.0, warmup=4)


def test_warm_up_constant_decay():
  rate = optimizers.LearningRate(
    peak=2.0, warmup=4, decay_start=10, decay_steps=5
  ).schedule()
  steps = [0, 1, 4, 9, 10, 11, 15, 99]
  expected = [0, 0.5, 2, 2, 2, 1.6, 0, 0]
  np.testing.assert_allclose([rate(s) for s in steps], expected, atol=1e-6)
  np.testing.assert_allclose(RATE.schedule()(10**6), 2.0)


def test_decay_inside_the_warm_up():
  with pytest.raises(ValueError, match='decay_start 5 lies inside .* of 10'):
    optimizers.LearningRate(warmup=10, decay_start=5)


@pytest.mark.parametrize(
  ('wrong', 'said'),
  [
    ({'peak': -1e-4}, 'LearningRate.peak is -0.0001; it must be at least 0'),
    ({'warmup': -1}, 'LearningRate.warmup is -1'),
    ({'decay_steps': 0}, 'LearningRate.decay_steps is 0; it must be at least'),
    ({'peak': '1e-4'}, "LearningRate.peak is '1e-4'; it must be float"),
  ],
)
def test_rates_that_cannot_be(wrong, said):
  with pytest.raises(ValueError, match=said):
    optimizers.LearningRate(**wrong)


def _step(optimizer, params, grads, clip=None):
  rate = optimizers.LearningRate(peak=1.0, warmup=1)
  transform = optimizers.make(optimizer, rate, clip)
  update = jax.jit(transform.update)
  state = transform.init(params)
  # The first step has rate 0: the warm-up begins there.
  _, state = update(grads, state, params)
  updates, _ = update(grads, state, params)
  return updates


def test_adam_moves_by_the_rate_against_the_sign():
  params = {'a': jnp.zeros(3)}
  grads = {'a': jnp.array([1e-3, -5.0, 2.0])}
  np.testing.assert_allclose(
    _step(optimizers.Adam(), params, grads)['a'], [-1, 1, -1], rtol=1e-4
  )


def test_clipping_bounds_the_global_norm():
  params = {'a': jnp.zeros(2), 'b': jnp.zeros(1)}
  grads = {'a': jnp.array([3.0, 0.0]), 'b': jnp.array([4.0])}
  updates = _step(optimizers.SGD(), params, grads, clip=1.0)
  np.testing.assert_allclose(updates['a'], [-0.6, 0], rtol=1e-5)
  np.testing.assert_allclose(updates['b'], [-0.8], rtol=1e-5)


def test_adafactor_with_sharded_states_updates_alike():
  """Factored statistics of a kernel that is cut, and whole ones of a bias."""
  rng = np.random.default_rng(0)
  shapes = {'kernel': (256, 128), 'bias': (128,), 'odd': (3, 5)}
  params, grads = (
    {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}
    for _ in range(2)
  )
  expected = _step(optimizers.Adafactor(), params, grads)
  config = partitioning.MeshConfig(data=2, fsdp=4, replicate_below=0)
  mesh = partitioning.make_mesh(config)
  transform = optimizers.make(
    optimizers.Adafactor(), optimizers.LearningRate(peak=1.0, warmup=1), None
  )
  state = transform.init(params)
  cut, states = (
    partitioning.state_shardings(tree, mesh, config) for tree in (params, state)
  )
  statistics = [s.spec for s in jax.tree.leaves(states) if 'fsdp' in s.spec]
  assert len(statistics) >= 3, 'rows, columns and the bias are cut'
  update = jax.jit(transform.update, out_shardings=(cut, states))
  params, grads = jax.device_put((params, grads), (cut, cut))
  state = jax.device_put(state, states)
  _, state = update(grads, state, params)
  found, _ = update(grads, state, params)
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
  # Steps of about the rate, whatever the gradients' size.
  assert 0.5 < float(jnp.sqrt(jnp.mean(jnp.square(found['kernel'])))) <= 1.01


def test_muon_makes_kernels_orthogonal_and_leaves_the_ends_to_adam():
  rng = np.random.default_rng(0)
  shapes = {
    'input_conv': {'kernel': (3, 3, 4, 8)},
    'block': {'kernel': (3, 3, 4, 8), 'bias': (8,)},
  }
  grads = {
    name: {k: jnp.asarray(rng.normal(size=s)) for k, s in leaves.items()}
    for name, leaves in shapes.items()
  }
  params = optax.tree.zeros_like(grads)
  updates = _step(optimizers.Muon(), params, grads)
  matrix = np.asarray(updates['block']['kernel']).reshape(36, 8)
  singular = np.linalg.svd(matrix, compute_uv=False)
  assert singular.max() / singular.min() < 2.0  # Newton-Schulz: 0.7 to 1.2
  # Adam's first steps: the sign of the gradient times its smaller rate (here
  # with Nesterov's momentum, which makes them a little longer).
  for name, leaf in (('input_conv', 'kernel'), ('block', 'bias')):
    steps = np.asarray(updates[name][leaf])
    np.testing.assert_array_equal(np.sign(steps), -np.sign(grads[name][leaf]))
    np.testing.assert_allclose(np.abs(steps), 0.087, rtol=0.01)


def test_muon_decays_kernels_by_the_rate():
  params = {
    'block': {'kernel': jnp.full([8, 8], 3.0), 'bias': jnp.full([8], 3.0)}
  }
  grads = optax.tree.zeros_like(params)
  # Without a gradient the decay is all that there is.
  updates = _step(optimizers.Muon(weight_decay=0.05), params, grads)
  np.testing.assert_allclose(updates['block']['kernel'], -0.05 * 3, rtol=1e-5)
  np.testing.assert_array_equal(updates['block']['bias'], 0.0)


def test_cosine_decay():
  rate = optimizers.LearningRate(
    peak=2.0, warmup=4, decay_start=10, decay_steps=6, decay='cosine'
  ).schedule()
  expected = [2, 1 + np.cos(np.pi / 6), 1, 0, 0]
  found = [rate(s) for s in (10, 11, 13, 16, 99)]
  np.testing.assert_allclose(found, expected, atol=1e-6)
  with pytest.raises(ValueError, match="decay is 'step'; 'linear' or 'cosine'"):
    optimizers.LearningRate(decay='step')
