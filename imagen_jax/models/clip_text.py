"""CLIP's text tower (Radford et al. 2021), an encoder of Imagen's D.1.

Tokens [b, l] and mask [b, l] to text [b, l, d]: a causal transformer with
learned positions and a norm before each layer. Imagen takes the penultimate
layer; the pooled and projected states are here for scores of pictures.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from imagen_jax.models import transformer

_LARGEST_ID_EOS = 2  # in the published configs; the end is the largest id


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPTextConfig:
  """Size of a text tower; the defaults hold for all that OpenAI published."""

  vocab_size: int = 49408  # rows of the embedding
  emb_dim: int  # width d of the text
  num_heads: int
  mlp_dim: int  # hidden units of the feed-forward layer
  num_layers: int
  max_positions: int = 77  # tokens at most
  activation: str = 'quick_gelu'
  eos_id: int = 49407  # 2 = the largest id of a row, as in older configs
  projection_dim: int | None = None  # of the pooled state; None = none
  layer_norm_epsilon: float = 1e-5
  dtype: str = 'float32'  # of matrix products

  def __post_init__(self):
    transformer.check(self)

  @property
  def width(self) -> int:
    """Features of one text token."""
    return self.emb_dim


# The text tower of CLIP ViT-L/14, which the paper compares with T5.
LARGE = CLIPTextConfig(
  emb_dim=768, num_heads=12, mlp_dim=3072, num_layers=12, projection_dim=768
)


class Output(NamedTuple):
  """What a text tower knows of its captions, float32."""

  penultimate: jax.Array  # [b, l, d] before the last layer, no norm
  last: jax.Array  # [b, l, d] after the last layer and its norm
  pooled: jax.Array  # [b, d] `last` at the first end of sequence
  projected: jax.Array | None  # [b, p] not normalised


class Layer(nn.Module):
  """Attention and MLP, each after a norm and around a residual."""

  config: CLIPTextConfig

  @nn.compact
  def __call__(self, x, bias):
    c = self.config
    y = transformer.layer_norm(c.layer_norm_epsilon, 'attention_norm')(x)
    attention = transformer.Attention(c.num_heads, c.dtype, name='attention')
    x = x + attention(y, bias)
    y = transformer.layer_norm(c.layer_norm_epsilon, 'mlp_norm')(x)
    return x + transformer.MLP(c.mlp_dim, c.activation, c.dtype, name='mlp')(y)


class CLIPText(nn.Module):
  """Tokens [b, l] and mask [b, l] to an `Output`.

  Under jit, what is not used of the output is not computed.
  """

  config: CLIPTextConfig

  @nn.compact
  def __call__(self, tokens, mask):
    c = self.config
    length = tokens.shape[1]
    x = transformer.embed(c, tokens, 'token_embedding')
    causal = jnp.tril(jnp.ones((length, length), bool))
    seen = causal & mask.astype(bool)[:, None, None, :]  # [b, 1, q, k]
    bias = jnp.where(seen, 0.0, transformer.MASKED)
    for i in range(c.num_layers):
      penultimate = x
      x = Layer(c, name=f'layers_{i}')(x, bias)
    last = transformer.layer_norm(c.layer_norm_epsilon, 'final_norm')(x)
    # argmax finds the first of equals, for the published ids as for others.
    is_end = tokens if c.eos_id == _LARGEST_ID_EOS else tokens == c.eos_id
    end = jnp.argmax(is_end, axis=1)
    pooled = jnp.take_along_axis(last, end[:, None, None], axis=1)[:, 0]
    projected = None
    if c.projection_dim is not None:
      projected = nn.Dense(
        c.projection_dim, use_bias=False, dtype=c.dtype, name='projection'
      )(pooled).astype(jnp.float32)
    return Output(penultimate, last, pooled, projected)
