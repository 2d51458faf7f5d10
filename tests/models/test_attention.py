"""Softmax attention and its gradient against NumPy, float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.models import attention, layers


def _normal(*shape, seed=0):
  values = np.random.RandomState(seed).normal(size=shape)
  return jnp.asarray(values, jnp.float32)


def _weights(queries, keys, mask):
  """[n, k], [m, k], [m] -> [n, m], one head, in float64."""
  logits = np.float64(queries) @ np.float64(keys).T
  logits = logits / np.sqrt(queries.shape[-1])
  logits[:, ~np.asarray(mask)] = -np.inf
  weights = np.exp(logits - logits.max(-1, keepdims=True))
  return weights / weights.sum(-1, keepdims=True)


def _attend(queries, keys, values, mask):
  """[n, k], [m, k], [m, k], [m] -> [n, k], one head, in float64."""
  return _weights(queries, keys, mask) @ np.float64(values)


def test_attend_is_masked_softmax_attention():
  queries, keys = _normal(2, 3, 2, 8), _normal(2, 5, 2, 8, seed=1)
  values = _normal(2, 5, 2, 8, seed=2)
  mask = jnp.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], bool)
  out = attention.attend(queries, keys, values, mask).reshape(2, 3, 2, 8)
  for i in range(2):
    for head in range(2):
      expected = _attend(
        queries[i, :, head], keys[i, :, head], values[i, :, head], mask[i]
      )
      np.testing.assert_allclose(out[i, :, head], expected, atol=1e-5)


def _attend_gradients(queries, keys, values, mask, g):
  """Of sum(g * attend), in closed form; shapes as in `_attend`, g [n, k]."""
  queries, keys, values, g = map(np.float64, (queries, keys, values, g))
  weights = _weights(queries, keys, mask)
  back = g @ values.T
  back = weights * (back - (weights * back).sum(-1, keepdims=True))
  back /= np.sqrt(queries.shape[-1])
  return back @ keys, back.T @ queries, weights.T @ g


@pytest.mark.parametrize('scale', [1, 30], ids=['mild', 'peaked'])
def test_gradients_of_attend_are_those_of_softmax_attention(scale):
  queries, keys = scale * _normal(1, 3, 2, 8), _normal(1, 5, 2, 8, seed=1)
  values, g = _normal(1, 5, 2, 8, seed=2), _normal(1, 3, 2, 8, seed=3)
  mask = jnp.array([[1, 1, 0, 1, 0]], bool)

  def loss(*x):
    return (attention.attend(*x, mask).reshape(g.shape) * g).sum()

  found = jax.grad(loss, argnums=(0, 1, 2))(queries, keys, values)
  for head in range(2):
    one = [x[0, :, head] for x in (queries, keys, values)]
    expected = _attend_gradients(*one, mask[0], g[0, :, head])
    for x, y in zip(found, expected):
      # What rounds in the logits' gradients is multiplied by the queries.
      atol = max(1e-5, 1e-6 * scale)
      np.testing.assert_allclose(x[0, :, head], y, rtol=1e-4, atol=atol)


def test_attend_without_any_true_key_is_finite():
  x = _normal(1, 2, 1, 4)
  no = jnp.zeros((1, 2), bool)
  assert np.isfinite(attention.attend(x, x, x, no)).all()
  for argument in range(3):
    gradient = jax.grad(lambda *x: attention.attend(*x, no).sum(), argument)
    assert np.isfinite(gradient(x, x, x)).all()


@pytest.mark.parametrize('scale', [1, 100, 1e6])
def test_attend_without_any_true_key_is_the_mean_of_all(scale):
  queries, keys = scale * _normal(1, 3, 1, 8), _normal(1, 5, 1, 8, seed=1)
  values = _normal(1, 5, 1, 8, seed=2)
  out = attention.attend(queries, keys, values, jnp.zeros((1, 5), bool))
  expected = np.broadcast_to(values.mean(axis=1), out.shape)
  np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize('dtype', layers.DTYPES)
def test_a_masked_key_gets_nothing_however_large(dtype):
  large = min(1e12, 0.5 * float(jnp.finfo(dtype).max))  # logits of 2e24
  keys = jnp.array([1, large], dtype).reshape(1, 2, 1, 1).repeat(4, axis=3)
  values = jnp.array([1, 2], dtype).reshape(1, 2, 1, 1)
  queries = jnp.full((1, 1, 1, 4), large, dtype)
  for mask in (jnp.array([[True, False]]), jnp.array([[1.0, 0.0]])):
    out = attention.attend(queries, keys, values, mask)
    np.testing.assert_array_equal(out, [[[1]]])


@pytest.mark.parametrize('width', [64, 192])
def test_attend_rounds_bfloat16_no_more_than_its_inputs(width):
  """Relative, with peaked weights; 192 is the head width of SR2, 400M."""
  shapes = [(1, 64, 1, width)] + [(1, 77, 1, width)] * 2 + [(1, 64, 1, width)]
  queries, keys, values, g = (
    _normal(*shape, seed=seed).astype(jnp.bfloat16)
    for seed, shape in enumerate(shapes)
  )
  queries *= 12
  mask = jnp.ones((1, 77), bool)
  out, pull = jax.vjp(
    lambda *x: attention.attend(*x, mask), queries, keys, values
  )
  found = [x[0, :, 0] for x in pull(g.reshape(out.shape))]
  one = [x[0, :, 0] for x in (queries, keys, values)]
  expected = _attend_gradients(*one, mask[0], g[0, :, 0])
  pairs = [(out[0], _attend(*one, mask[0])), *zip(found, expected)]
  for (x, y), most in zip(pairs, [3e-3, 1e-2, 1e-2, 3e-3], strict=True):
    assert x.dtype == jnp.bfloat16
    assert np.linalg.norm(np.float64(x) - y) / np.linalg.norm(y) < most


@pytest.mark.parametrize('dtype', layers.DTYPES)
def test_attend_averages_many_large_values_without_overflow(dtype):
  """Their sum is beyond float16."""
  x = jnp.zeros((1, 1024, 1, 8), dtype)
  values = jnp.full(x.shape, 100, dtype)
  out = attention.attend(x, x, values, jnp.ones((1, 1024), bool))
  assert out.dtype == dtype
  np.testing.assert_allclose(out.astype(jnp.float32), 100, rtol=1e-6)


def test_a_key_that_counts_half_is_one_of_two_heard_by_half():
  queries, keys = _normal(1, 3, 1, 8), _normal(1, 2, 1, 8, seed=1)
  values = _normal(1, 2, 1, 8, seed=2)
  twice = [jnp.concatenate([x, x[:, 1:]], 1) for x in (keys, values)]
  np.testing.assert_allclose(
    attention.attend(queries, *twice, jnp.array([[1.0, 0.5, 0.5]])),
    attention.attend(queries, keys, values, jnp.array([[True, True]])),
    atol=1e-6,
  )
