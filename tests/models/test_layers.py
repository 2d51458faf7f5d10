"""Building blocks against their formulas in NumPy, float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from imagen_jax.models import layers


def _normal(*shape, seed=0):
  values = np.random.RandomState(seed).normal(size=shape)
  return jnp.asarray(values, jnp.float32)


def _randomise(params, seed=0):
  """Every parameter drawn anew, so that zero starts hide nothing."""
  rng = np.random.RandomState(seed)
  return jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.3, jnp.float32), params
  )


def test_fold_gathers_each_cell_and_unfold_undoes_it():
  x = _normal(2, 8, 12, 3)
  folded = layers.fold(x, 4)
  assert folded.shape == (2, 2, 3, 48)
  np.testing.assert_array_equal(
    folded[1, 1, 2].reshape(4, 4, 3), x[1, 4:8, 8:12]
  )
  np.testing.assert_array_equal(layers.unfold(folded, 4), x)


def test_enlarge_repeats_and_halve_undoes_it():
  x = _normal(1, 2, 3, 4)
  np.testing.assert_array_equal(
    layers.enlarge(x, 2), np.repeat(np.repeat(x, 2, 1), 2, 2)
  )
  np.testing.assert_allclose(layers.halve(layers.enlarge(x, 2)), x, rtol=1e-6)


def test_features_are_sinusoids_of_t_under_the_cosine_schedule():
  t = np.linspace(0.01, 0.99, 7)
  logsnr = jnp.asarray(-2.0 * np.log(np.tan(np.pi * t / 2)), jnp.float32)
  features = layers.logsnr_features(logsnr, 16)
  frequencies = 1e4 ** (-np.arange(8) / 8)
  angles = 1000 * t[:, None] * frequencies
  expected = np.concatenate([np.sin(angles), np.cos(angles)], -1)
  # 1000 t is known to 6e-8 relative, hence its sine to some 1e-4 absolute.
  np.testing.assert_allclose(features, expected, atol=5e-4)


def test_features_tell_the_ends_of_the_schedule_apart():
  features = layers.logsnr_features(jnp.array([-20.0, -12.0, 12.0, 20.0]), 32)
  assert np.isfinite(features).all()
  assert np.abs(features[0] - features[1]).max() > 0.1
  assert np.abs(features[2] - features[3]).max() > 0.1


def _group_norm(x, groups, epsilon=1e-5):
  x = np.asarray(x, np.float64)
  b, h, w, c = x.shape
  y = x.reshape(b, h * w, groups, c // groups)
  y = y - y.mean((1, 3), keepdims=True)
  y = y / np.sqrt((y**2).mean((1, 3), keepdims=True) + epsilon)
  return y.reshape(x.shape)


def test_group_norm_with_film():
  x = 3.0 * _normal(2, 4, 4, 12) + 1.0
  scale, shift = _normal(2, 12, seed=1), _normal(2, 12, seed=2)
  norm = layers.GroupNorm(4)
  params = _randomise(norm.init(jax.random.key(0), x))
  gamma, beta = params['params']['scale'], params['params']['bias']
  expected = _group_norm(x, 4) * gamma + beta
  np.testing.assert_allclose(norm.apply(params, x), expected, atol=1e-5)
  film = expected * (1 + scale[:, None, None]) + shift[:, None, None]
  np.testing.assert_allclose(
    norm.apply(params, x, scale, shift), film, atol=2e-5
  )


def test_group_norm_takes_statistics_in_float32():
  x = (_normal(1, 8, 8, 8) + 10.0).astype(jnp.bfloat16)
  norm = layers.GroupNorm(2, dtype='bfloat16')
  params = norm.init(jax.random.key(0), x)
  y = norm.apply(params, x)
  assert y.dtype == jnp.bfloat16
  assert params['params']['scale'].dtype == jnp.float32
  # Within one rounding of the result: statistics in bfloat16 would miss by 1.
  np.testing.assert_allclose(
    y.astype(jnp.float32), _group_norm(x, 2), atol=0.02
  )


def _attend(queries, keys, values, mask):
  """[n, k], [m, k], [m, k], [m] -> [n, k], one head, in float64."""
  logits = np.float64(queries) @ np.float64(keys).T
  logits = logits / np.sqrt(queries.shape[-1])
  logits[:, ~np.asarray(mask)] = -np.inf
  weights = np.exp(logits - logits.max(-1, keepdims=True))
  return weights / weights.sum(-1, keepdims=True) @ np.float64(values)


@pytest.mark.parametrize('kind', ['fused', 'cross'])
def test_attention_on_text(kind):
  """Fused: one softmax over text and image; cross: over the text alone."""
  module = {'fused': layers.FusedAttention, 'cross': layers.CrossAttention}
  attention = module[kind](heads=1, head_width=8, groups=2)
  x = _normal(1, 2, 3, 4)
  keys, values = _normal(1, 5, 1, 8, seed=1), _normal(1, 5, 1, 8, seed=2)
  mask = jnp.array([[1, 1, 1, 0, 0]], bool)
  start = attention.init(jax.random.key(0), x, keys, values, mask)
  np.testing.assert_array_equal(
    attention.apply(start, x, keys, values, mask), x
  )  # the output projection starts at zero

  params = _randomise(start)
  p = params['params']
  y = _group_norm(x, 2) * p['norm']['scale'] + p['norm']['bias']
  y = y.reshape(6, 4)
  all_keys, all_values = keys[0, :3, 0], values[0, :3, 0]
  if kind == 'fused':
    all_keys = np.concatenate([all_keys, y @ p['key']['kernel']])
    all_values = np.concatenate([all_values, y @ p['value']['kernel']])
  else:
    assert set(p) == {'norm', 'query', 'output'}  # no self-attention
  y = _attend(
    y @ p['query']['kernel'],
    all_keys,
    all_values,
    np.ones(len(all_keys), bool),
  )
  y = y @ p['output']['kernel'] + p['output']['bias']
  np.testing.assert_allclose(
    attention.apply(params, x, keys, values, mask),
    x + y.reshape(1, 2, 3, 4),
    atol=1e-5,
  )


def test_text_keys_see_the_text_through_layer_norm():
  text = _normal(1, 3, 16)
  module = layers.TextKeysValues(heads=2, head_width=4)
  params = _randomise(module.init(jax.random.key(0), text))
  keys, values = module.apply(params, text)
  assert keys.shape == values.shape == (1, 3, 2, 4)
  scaled = module.apply(params, 7.0 * text + 2.0)
  np.testing.assert_allclose(scaled[0], keys, atol=1e-4)
  np.testing.assert_allclose(scaled[1], values, atol=1e-4)


def test_pool_ignores_padding_and_is_normalised():
  pool = layers.AttentionPool(features=24, head_width=8)
  text, mask = _normal(2, 6, 16), jnp.arange(6) < jnp.array([[4], [2]])
  apply = jax.jit(pool.apply)
  start = jax.jit(pool.init)(jax.random.key(0), text, mask)
  pooled = apply(start, text, mask)
  np.testing.assert_allclose(pooled.mean(-1), 0, atol=1e-5)
  np.testing.assert_allclose(pooled.std(-1), 1, atol=1e-3)

  params = _randomise(start)
  pooled = apply(params, text, mask)
  other = jnp.where(mask[:, :, None], text, 9.0)
  np.testing.assert_allclose(apply(params, other, mask), pooled, atol=1e-5)
  longer = jnp.pad(text, ((0, 0), (0, 3), (0, 0)))
  np.testing.assert_allclose(
    apply(params, longer, jnp.pad(mask, ((0, 0), (0, 3)))),
    pooled,
    atol=1e-5,
  )
  seen = text.at[0, 3, 0].add(2.0)
  assert np.abs(apply(params, seen, mask) - pooled)[0].max() > 1e-2


def test_sizes_that_cannot_be_halved_are_refused():
  layers.check_divides(jnp.zeros((1, 16, 24, 3)), 8)
  with pytest.raises(ValueError, match='16 x 20.*multiples of 8'):
    layers.check_divides(jnp.zeros((1, 16, 20, 3)), 8)


def test_convolution_can_start_at_zero():
  class Branch(nn.Module):
    zeros: bool

    @nn.compact
    def __call__(self, x):
      return layers.conv3x3(4, 'float32', 'conv', zeros=self.zeros)(x)

  x = _normal(1, 4, 4, 2)
  for zeros in (True, False):
    y, _ = Branch(zeros).init_with_output(jax.random.key(0), x)
    assert (np.abs(y).max() == 0) == zeros
