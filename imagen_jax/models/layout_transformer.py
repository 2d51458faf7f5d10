"""The layout model: from a sentence to boxes, by diffusion.

Not in the paper. A transformer over the boxes of a picture, each a token that
attends to the other boxes and to the words of the sentence in one softmax, as
the base U-Net's attention does (appendix D.3.1), in every block. It is
given noisy boxes and says what the clean ones are (`layouts.expected`).

  z [b, n, d], logsnr [b], text [b / k, l, e], mask [b / k, l] -> x0 [b, n, d]

Several noisy versions of one picture, k in a row, may share its text.
"""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn

from imagen_jax.config import checks
from imagen_jax.models import attention, layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayoutTransformerConfig:
  """Size of a layout model."""

  width: int = 128  # of a token
  blocks: int = 4
  head_width: int = 32
  expansion: int = 3  # of the layers between two linear maps
  text_width: int = 256  # e, of the encoder
  max_length: int = 32  # words' positions that are told apart

  def __post_init__(self):
    checks.check(self, 'LayoutTransformerConfig')
    for field in dataclasses.fields(self):
      if getattr(self, field.name) < 1:
        raise ValueError(
          f'LayoutTransformerConfig.{field.name} is '
          f'{getattr(self, field.name)}; it must be at least 1'
        )
    if self.width % self.head_width:
      raise ValueError(
        f'LayoutTransformerConfig: width {self.width} is no multiple of '
        f'head_width={self.head_width}; change one of them'
      )


class Block(nn.Module):
  """Attention to words and boxes, then a layer of its own for each box.

  Both start as the identity and are scaled and shifted by the noise level
  (Peebles and Xie 2023). Queries and keys are normalised, so that their
  products stay bounded. x [b, n, w], words [b / k, l, w] -> [b, n, w].
  """

  config: LayoutTransformerConfig

  @nn.compact
  def __call__(self, x, emb, words, mask):
    c = self.config
    film = nn.Dense(6 * c.width, kernel_init=nn.initializers.zeros, name='film')
    scale_0, shift_0, gate_0, scale_1, shift_1, gate_1 = jnp.split(
      film(nn.swish(emb))[:, None], 6, axis=-1
    )
    y = nn.LayerNorm(name='norm_0')(x) * (1 + scale_0) + shift_0
    y = self._attend(y, nn.LayerNorm(name='text_norm')(words), mask)
    x += (1 + gate_0) * self._output(y, 'attention_output')
    y = nn.LayerNorm(name='norm_1')(x) * (1 + scale_1) + shift_1
    y = nn.gelu(nn.Dense(c.expansion * c.width, name='dense_0')(y))
    return x + (1 + gate_1) * self._output(y, 'dense_1')

  def _attend(self, y, words, mask):
    """One softmax over the words and the boxes."""
    c = self.config
    heads = c.width // c.head_width

    def project(x, name):
      return layers.project(x, heads, c.head_width, 'float32', name)

    times = len(y) // len(words)
    keys, values = (
      jnp.concatenate(
        [
          jnp.repeat(project(words, f'text_{name}'), times, axis=0),
          project(y, name),
        ],
        axis=1,
      )
      for name in ('key', 'value')
    )
    mask = jnp.repeat(mask, times, axis=0)
    queries = nn.RMSNorm(name='query_norm')(project(y, 'query'))
    keys = nn.RMSNorm(name='key_norm')(keys)
    seen = jnp.concatenate([mask, jnp.ones(y.shape[:2], mask.dtype)], axis=1)
    return attention.attend(queries, keys, values, seen)

  def _output(self, y, name):
    return nn.Dense(
      self.config.width, kernel_init=nn.initializers.zeros, name=name
    )(y)


class LayoutTransformer(nn.Module):
  """Noisy boxes, noise level and text to clean boxes."""

  config: LayoutTransformerConfig
  boxes: int  # n, of a picture
  features: int  # d, numbers that tell a box

  @nn.compact
  def __call__(self, z, logsnr, text, mask):
    c = self.config
    length = text.shape[1]
    if length > c.max_length or text.shape[2] != c.text_width:
      raise ValueError(
        f'the text is {list(text.shape)}, the layout model takes at most '
        f'{c.max_length} tokens of width {c.text_width}'
      )
    words = nn.Dense(c.width, name='text_projection')(
      nn.LayerNorm(name='text_norm')(text)
    )
    words += nn.Embed(c.max_length, c.width, name='text_embed')(
      jnp.arange(length)
    )
    x = nn.Dense(c.width, name='input_projection')(z)
    x += nn.Embed(self.boxes, c.width, name='box_embed')(jnp.arange(z.shape[1]))
    emb = layers.LogSNREmbedding(c.width, name='logsnr_embedding')(logsnr)
    for i in range(c.blocks):
      x = Block(c, name=f'block_{i}')(x, emb, words, mask)
    x = nn.LayerNorm(name='output_norm')(x)
    return nn.Dense(
      self.features, kernel_init=nn.initializers.zeros, name='output_projection'
    )(x)
