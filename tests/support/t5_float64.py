"""T5's encoder in NumPy and float64: what all float32 ones round.

Written from the equations of Raffel et al. 2020 and T5 1.1's gated layer;
shares with `models.t5` the table of distances alone.
"""

import numpy as np

from imagen_jax.models import t5


def encode(config, params, tokens, mask):
  """tokens, mask [b, l] -> text float64 [b, l, d]; params are nested."""

  def f(x):
    return np.asarray(x, np.float64)

  def norm(x, scale):
    size = np.sqrt((x * x).mean(-1, keepdims=True) + config.layer_norm_epsilon)
    return x / size * f(scale)

  length = tokens.shape[1]
  position = np.arange(length)
  index = t5.relative_buckets(
    position[None, :] - position[:, None],
    bidirectional=True,
    buckets=config.relative_attention_num_buckets,
    max_distance=config.relative_attention_max_distance,
  )
  stack = params['encoder']
  bias = f(stack['relpos_bias']['rel_embedding'])[:, index]  # [heads, q, k]
  bias = np.where(mask[:, None, None, :], bias, -np.inf)
  x = f(params['token_embedder']['embedding'])[tokens]
  for i in range(config.num_encoder_layers):
    layer = stack[f'layers_{i}']
    y = norm(x, layer['pre_attention_layer_norm']['scale'])
    kernels = {k: f(v['kernel']) for k, v in layer['attention'].items()}
    query, key, value = (
      (y @ kernels[k]).reshape(*y.shape[:2], config.num_heads, -1)
      for k in ('query', 'key', 'value')
    )
    logits = np.einsum('bqhe,bkhe->bhqk', query, key) + bias
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    y = np.einsum('bhqk,bkhe->bqhe', weights, value)
    x = x + y.reshape(*x.shape[:2], -1) @ kernels['out']
    y = norm(x, layer['pre_mlp_layer_norm']['scale'])
    wi_0, wi_1, wo = (
      f(layer['mlp'][k]['kernel']) for k in ('wi_0', 'wi_1', 'wo')
    )
    gate = y @ wi_0
    cubic = gate + 0.044715 * gate**3
    gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * cubic))
    x = x + gate * (y @ wi_1) @ wo
  return norm(x, stack['encoder_norm']['scale'])
