"""Layers that the text towers of CLIP and BERT share.

Tokens [b, l] become vectors [b, l, d] by their rows and positions. Hidden
states [b, l, d] are float32 from layer to layer; matrix products run in
`dtype`, softmax and norms in float32. Names of the parameters are those of
`t5`, so that one rule says how they lie on a mesh.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

MASKED = -1e10  # finite: a row of padding gives a mean of values, not NaN

_init = nn.initializers.normal(0.02)

ACTIVATIONS = {
  'gelu': lambda x: nn.gelu(x, approximate=False),
  'gelu_new': lambda x: nn.gelu(x, approximate=True),
  'quick_gelu': lambda x: x * nn.sigmoid(1.702 * x),
  'relu': nn.relu,
}


def check(config) -> None:
  """Raises ValueError where a tower cannot have this size."""
  check_sizes(
    config,
    ('vocab_size', 'emb_dim', 'num_heads', 'mlp_dim', 'max_positions'),
  )
  check_layers(config)


def check_layers(config) -> None:
  """Raises ValueError where a layer cannot have this size."""
  if config.emb_dim % config.num_heads:
    raise ValueError(
      f'emb_dim {config.emb_dim} does not divide into {config.num_heads} '
      'heads; change one of them'
    )
  if config.activation not in ACTIVATIONS:
    raise ValueError(
      f'activation {config.activation!r} is not known; there are '
      f'{sorted(ACTIVATIONS)}'
    )


def check_sizes(config, names: tuple[str, ...]) -> None:
  """Raises ValueError where one of these fields is below 1."""
  for name in names:
    if getattr(config, name) < 1:
      raise ValueError(
        f'{name} is {getattr(config, name)}; it must be at least 1'
      )


def dense(features: int, dtype: str, name: str) -> nn.Dense:
  """A linear layer with offset; kernel [in, out]."""
  return nn.Dense(features, dtype=dtype, kernel_init=_init, name=name)


def lookup(rows: int, width: int, name: str, ids: jax.Array) -> jax.Array:
  """Rows `ids` of the table [rows, width], made float32 after the choice."""
  table = nn.Embed(rows, width, embedding_init=_init, name=name)
  return table(ids).astype(jnp.float32)


def embed(config, tokens: jax.Array, name: str) -> jax.Array:
  """Rows and positions of the tokens [b, l] -> [b, l, d] float32.

  `config` has vocab_size, max_positions and emb_dim; `name` is the table's.
  """
  length = tokens.shape[1]
  if length > config.max_positions:
    raise ValueError(
      f'{length} tokens, the encoder has {config.max_positions} positions; '
      "lower the tokenizer's max_length"
    )
  width, positions = config.emb_dim, jnp.arange(length)
  x = lookup(config.vocab_size, width, name, tokens)
  return x + lookup(
    config.max_positions, width, 'position_embedding', positions
  )


def layer_norm(epsilon: float, name: str) -> nn.LayerNorm:
  """Centre, scale and offset, in float32."""
  return nn.LayerNorm(epsilon=epsilon, dtype=jnp.float32, name=name)


class Attention(nn.Module):
  """Multi-head self-attention; bias broadcasts to [b, heads, q, k]."""

  heads: int
  dtype: str

  @nn.compact
  def __call__(self, x, bias):
    b, length, width = x.shape

    def project(name):
      y = dense(width, self.dtype, name)(x)
      return y.reshape(b, length, self.heads, width // self.heads)

    query, key, value = map(project, ('query', 'key', 'value'))
    logits = jnp.einsum(
      'bqhe,bkhe->bhqk', query, key, preferred_element_type=jnp.float32
    )
    logits = logits * (width // self.heads) ** -0.5 + bias
    weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
    y = jnp.einsum('bhqk,bkhe->bqhe', weights, value)
    return dense(width, self.dtype, 'out')(y.reshape(b, length, width))


class MLP(nn.Module):
  """Two linear layers around an activation."""

  hidden: int
  activation: str
  dtype: str

  @nn.compact
  def __call__(self, x):
    y = dense(self.hidden, self.dtype, 'wi')(x)
    y = ACTIVATIONS[self.activation](y)
    return dense(x.shape[-1], self.dtype, 'wo')(y)
