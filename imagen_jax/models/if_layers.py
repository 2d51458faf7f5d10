"""Building blocks of IF's U-Net (DeepFloyd IF, 2023); see `if_unet`.

Images are [b, h, w, c], text [b, l, d], embeddings [b, e]. Parameters are
float32; `dtype` is the compute type. Statistics of norms and softmax are
float32 whatever the compute type.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from imagen_jax.models import attention, layers

EPSILON = 1e-5  # of all norms
TEXT_GROUPS = 32  # of the text's group norm, whatever the picture's have

gelu = functools.partial(nn.gelu, approximate=False)  # with erf


def time_features(time, width):
  """Cosines, then sines of an integer diffusion time; [b] -> [b, width]."""
  half = width // 2
  frequencies = np.exp(-math.log(1e4) * np.arange(half) / half)
  angles = time.astype(jnp.float32)[:, None] * np.float32(frequencies)
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimeEmbedding(nn.Module):
  """Diffusion time, or a level of noise in its units: [b] -> [b, e]."""

  features: int  # sinusoids
  width: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, time):
    x = time_features(time, self.features).astype(self.dtype)
    x = nn.Dense(self.width, dtype=self.dtype, name='dense_0')(x)
    return nn.Dense(self.width, dtype=self.dtype, name='dense_1')(gelu(x))


class TextPool(nn.Module):
  """Text sequence to one vector: the mean attends to itself and all tokens.

  Layer norm, mean of all positions plus a learned offset, attention, linear,
  layer norm. [b, l, d] -> [b, features].
  """

  features: int
  heads: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, text):
    text = _layer_norm(self.dtype, 'norm')(text)
    d = text.shape[-1]
    position = self.param('position', nn.initializers.normal(d**-0.5), (1, d))
    mean = text.mean(axis=1, keepdims=True) + position.astype(text.dtype)
    tokens = jnp.concatenate([mean, text], axis=1)  # [b, 1 + l, d]
    queries, keys, values = (
      _project(x, self.heads, d // self.heads, self.dtype, name)
      for name, x in (('query', mean), ('key', tokens), ('value', tokens))
    )
    pooled = attention.attend(queries, keys, values, every(tokens))[:, 0]
    pooled = nn.Dense(self.features, dtype=self.dtype, name='output')(pooled)
    return _layer_norm(self.dtype, 'output_norm')(pooled)


class ResidualBlock(nn.Module):
  """Residual block with FiLM; may halve or double the grid inside.

  [b, h, w, c], emb [b, e], activated already -> [b, h', w', channels]. The last
  convolution starts at zero, so a block starts as its skip path.
  """

  channels: int
  groups: int = 32
  divisor: float = 1.0
  resample: str = 'none'  # 'none', 'halve' or 'double'
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, emb):
    resample = {
      'none': lambda y: y,
      'halve': layers.halve,
      'double': lambda y: layers.enlarge(y, 2),
    }[self.resample]
    h = group_norm(self.groups, self.dtype, 'norm_0')(x)
    h = resample(gelu(h))
    h = layers.conv3x3(self.channels, self.dtype, 'conv_0')(h)
    film = nn.Dense(2 * self.channels, dtype=self.dtype, name='film')
    scale, shift = jnp.split(film(emb), 2, axis=-1)
    norm = group_norm(self.groups, self.dtype, 'norm_1')
    h = gelu(norm(h, scale, shift))
    h = layers.conv3x3(self.channels, self.dtype, 'conv_1', zeros=True)(h)
    x = resample(x)
    if x.shape[-1] != self.channels:
      x = layers.conv1x1(self.channels, self.dtype, 'skip')(x)
    return (x + h) * (1 / self.divisor)


class TextKeysValues(nn.Module):
  """Keys and values of the text for one attention layer.

  The group norm takes its statistics over a group's channels and all tokens.
  [b, l, d] -> keys, values [b, l, heads, head_width].
  """

  heads: int
  head_width: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, text):
    text = group_norm(TEXT_GROUPS, self.dtype, 'norm')(text[:, None])[:, 0]
    sizes = self.heads, self.head_width, self.dtype
    return _project(text, *sizes, 'key'), _project(text, *sizes, 'value')


class Attention(nn.Module):
  """Self-attention whose keys and values are extended by the text's.

  Residual, not divided; the output projection starts at zero.
  x [b, h, w, c] -> [b, h, w, c].
  """

  heads: int
  head_width: int
  groups: int = 32
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, text_keys, text_values, mask):
    b, h, w, c = x.shape
    y = group_norm(self.groups, self.dtype, 'norm')(x).reshape(b, h * w, c)
    queries, keys, values = (
      _project(y, self.heads, self.head_width, self.dtype, name)
      for name in ('query', 'key', 'value')
    )
    seen = jnp.concatenate([mask, every(y)], axis=1)
    keys = jnp.concatenate([text_keys, keys], axis=1)
    values = jnp.concatenate([text_values, values], axis=1)
    y = attention.attend(queries, keys, values, seen)
    zeros = nn.initializers.zeros
    y = nn.Dense(c, kernel_init=zeros, dtype=self.dtype, name='output')(y)
    return x + y.reshape(x.shape)


def _project(x, heads, head_width, dtype, name):
  """Linear map into heads. [b, n, c] -> [b, n, heads, width]."""
  x = nn.Dense(heads * head_width, dtype=dtype, name=name)(x)
  return x.reshape(*x.shape[:-1], heads, head_width)


def group_norm(groups, dtype, name):
  return layers.GroupNorm(groups, EPSILON, dtype, name=name)


def _layer_norm(dtype, name):
  return nn.LayerNorm(EPSILON, use_fast_variance=False, dtype=dtype, name=name)


def every(tokens):
  """The mask [b, n] that sees all of [b, n, d]."""
  return jnp.ones(tokens.shape[:2], bool)
