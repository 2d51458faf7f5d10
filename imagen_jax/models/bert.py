"""BERT (Devlin et al. 2019), an encoder of Imagen's comparison (D.1).

Tokens [b, l] and mask [b, l] to text [b, l, d]: learned positions, attention
in both directions, a norm after each residual. Captions are single segments,
so the token type is 0 throughout.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from imagen_jax.models import transformer


@dataclasses.dataclass(frozen=True, kw_only=True)
class BERTConfig:
  """Size of a BERT; the defaults are those of the uncased English ones."""

  vocab_size: int = 30522  # rows of the embedding
  emb_dim: int  # width d of the text
  num_heads: int
  mlp_dim: int  # hidden units of the feed-forward layer
  num_layers: int
  max_positions: int = 512  # tokens at most
  token_types: int = 2
  activation: str = 'gelu'
  pooler: bool = True  # False: files of a masked language model have none
  layer_norm_epsilon: float = 1e-12
  dtype: str = 'float32'  # of matrix products

  def __post_init__(self):
    transformer.check(self)

  @property
  def width(self) -> int:
    """Features of one text token."""
    return self.emb_dim


BASE = BERTConfig(emb_dim=768, num_heads=12, mlp_dim=3072, num_layers=12)
LARGE = BERTConfig(emb_dim=1024, num_heads=16, mlp_dim=4096, num_layers=24)


class Output(NamedTuple):
  """What BERT knows of its captions, float32."""

  last: jax.Array  # [b, l, d]
  pooled: jax.Array | None  # [b, d] of the first token


class Layer(nn.Module):
  """Attention and MLP, each around a residual and before a norm."""

  config: BERTConfig

  @nn.compact
  def __call__(self, x, bias):
    c = self.config
    attention = transformer.Attention(c.num_heads, c.dtype, name='attention')
    norm = transformer.layer_norm(c.layer_norm_epsilon, 'attention_norm')
    x = norm(x + attention(x, bias))
    mlp = transformer.MLP(c.mlp_dim, c.activation, c.dtype, name='mlp')
    norm = transformer.layer_norm(c.layer_norm_epsilon, 'mlp_norm')
    return norm(x + mlp(x))


class BERT(nn.Module):
  """Tokens [b, l] and mask [b, l] to an `Output`.

  Values at masked positions are meaningless, as in T5.
  """

  config: BERTConfig

  @nn.compact
  def __call__(self, tokens, mask):
    c = self.config
    x = transformer.embed(c, tokens, 'word_embedding')
    x += transformer.lookup(
      c.token_types, c.emb_dim, 'type_embedding', jnp.zeros_like(tokens)
    )
    x = transformer.layer_norm(c.layer_norm_epsilon, 'embedding_norm')(x)
    seen = mask.astype(bool)[:, None, None, :]
    bias = jnp.where(seen, 0.0, transformer.MASKED)
    for i in range(c.num_layers):
      x = Layer(c, name=f'layers_{i}')(x, bias)
    pooled = None
    if c.pooler:
      pooled = transformer.dense(c.emb_dim, c.dtype, 'pooler')(x[:, 0])
      pooled = jnp.tanh(pooled.astype(jnp.float32))
    return Output(x, pooled)


class MaskedLM(nn.Module):
  """Encoder and head, for pre-training: logits [b, l, vocab] of each token.

  The head's last matrix is the encoder's embedding.
  """

  config: BERTConfig

  @nn.compact
  def __call__(self, tokens, mask):
    c = self.config
    encoder = BERT(c, name='encoder')
    x = encoder(tokens, mask).last
    x = transformer.dense(c.emb_dim, c.dtype, 'head')(x)
    x = transformer.ACTIVATIONS[c.activation](x.astype(jnp.float32))
    x = transformer.layer_norm(c.layer_norm_epsilon, 'head_norm')(x)
    bias = self.param('head_bias', nn.initializers.zeros, (c.vocab_size,))
    table = encoder.variables['params']['word_embedding']['embedding']
    return x @ table.T + bias
