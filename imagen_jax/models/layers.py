"""Building blocks of both U-Nets (Imagen, sec. 2.5 and appendix B).

Images are [b, h, w, c], text [b, l, d] with a boolean mask [b, l], embeddings
[b, e]. Parameters are float32; `dtype` is the compute type. Statistics of norms
and softmax are float32 whatever the compute type.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from imagen_jax.config import checks
from imagen_jax.models import attention, convolution

_LECUN, _ZEROS = nn.initializers.lecun_normal(), nn.initializers.zeros
DTYPES = ('float32', 'bfloat16', 'float16')  # compute types


def check_sizes(config):
  """Raises ValueError where a U-Net's sizes do not go together.

  Shapes that disagree deep inside are a page of traceback; see both configs.
  """
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    checks.require(value, field.type, field.name)
    numbers = value if isinstance(value, tuple) else (value,)
    if field.type in (int, tuple[int, ...]) and min(numbers, default=1) < 1:
      raise ValueError(f'{field.name} is {value}; it must be at least 1')
  if config.embedding_width < 8:  # the sinusoids take a quarter, in two halves
    raise ValueError(
      f'embedding_width is {config.embedding_width}; it must be at least 8'
    )
  widths, blocks = config.widths, config.blocks
  if not widths or len(blocks) != len(widths):
    raise ValueError(
      f'widths {widths} and blocks {blocks} are of {len(widths)} and '
      f'{len(blocks)} levels; give one of each for every level'
    )
  if any(w % config.groups for w in widths):
    raise ValueError(
      f'widths {widths} are no multiples of groups={config.groups}, which '
      'group norm needs; change widths or groups'
    )
  if config.dtype not in DTYPES:
    raise ValueError(f'dtype {config.dtype!r} is not one of {DTYPES}')


def check_divides(z, factor):
  """Raises where a U-Net cannot halve the picture z [b, h, w, c] as it must."""
  h, w = z.shape[1:3]
  if h % factor or w % factor:
    raise ValueError(
      f'pictures are {h} x {w}, but this network needs multiples of {factor}; '
      'resize, crop or pad them'
    )


def fold(x, factor):
  """Moves `factor` x `factor` pixels into channels (space to depth).

  Not in the paper: on a CPU, 3x3 convolutions want few positions and many
  channels. [b, h, w, c] -> [b, h / factor, w / factor, factor^2 c].
  """
  if factor == 1:
    return x
  b, h, w, c = x.shape
  x = x.reshape(b, h // factor, factor, w // factor, factor, c)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(b, h // factor, w // factor, factor * factor * c)


def unfold(x, factor):
  """Inverse of `fold`. [b, h, w, factor^2 c] -> [b, h factor, w factor, c]."""
  if factor == 1:
    return x
  b, h, w, c = x.shape
  c //= factor * factor
  x = x.reshape(b, h, w, factor, factor, c)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(b, h * factor, w * factor, c)


def halve(x):
  """Averages 2x2 pixels. [b, h, w, c] -> [b, h / 2, w / 2, c]."""
  b, h, w, c = x.shape
  return x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def enlarge(x, factor):
  """Repeats pixels (nearest). [b, h, w, c] -> [b, factor h, factor w, c]."""
  b, h, w, c = x.shape
  x = x[:, :, None, :, None, :]
  x = jnp.broadcast_to(x, (b, h, factor, w, factor, c))
  return x.reshape(b, factor * h, factor * w, c)


def logsnr_features(logsnr, width):
  """Sinusoids of the rescaled logsnr. [b] -> [b, width] float32.

  Not in the paper; u = 2 / pi atan(exp(-logsnr / 2)) maps logsnr to (0, 1) and
  equals t under the cosine schedule, so that u x 1000 plays the part of the
  discrete time step that the usual sinusoids expect.
  """
  u = 2.0 / math.pi * jnp.arctan(jnp.exp(-0.5 * logsnr.astype(jnp.float32)))
  half = width // 2
  frequencies = jnp.exp(-math.log(1e4) * jnp.arange(half) / half)
  angles = 1000.0 * u[:, None] * frequencies  # [b, width / 2]
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def conv3x3(features, dtype, name, stride=1, zeros=False):
  """A 3x3 convolution; `zeros` starts a branch as the zero function."""
  return nn.Conv(
    features,
    (3, 3),
    strides=stride,
    padding='SAME',
    kernel_init=_ZEROS if zeros else _LECUN,
    dtype=dtype,
    conv_general_dilated=convolution.for_flax if stride == 1 else None,
    name=name,
  )


def conv1x1(features, dtype, name, init=_LECUN):
  """The same linear map at each position."""
  return nn.Conv(
    features,
    (1, 1),
    kernel_init=init,
    dtype=dtype,
    conv_general_dilated=convolution.for_flax,
    name=name,
  )


def project(x, heads, head_width, dtype, name):
  """Linear map into heads, without bias. [b, n, c] -> [b, n, heads, width].

  The kernel stays a matrix [c, heads width], whatever the number of heads.
  """
  x = nn.Dense(heads * head_width, use_bias=False, dtype=dtype, name=name)(x)
  return x.reshape(*x.shape[:-1], heads, head_width)


class LogSNREmbedding(nn.Module):
  """Noise level to embedding: sinusoids, two-layer MLP. [b] -> [b, e]."""

  width: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, logsnr):
    x = logsnr_features(logsnr, self.width // 4).astype(self.dtype)
    x = nn.Dense(self.width, dtype=self.dtype, name='dense_0')(x)
    return nn.Dense(self.width, dtype=self.dtype, name='dense_1')(nn.swish(x))


class GroupNorm(nn.Module):
  """Group norm over [b, h, w, c] with optional FiLM (scale-shift norm).

  FiLM's scale and shift are [b, c]: norm(x) * (1 + scale) + shift. Everything
  is first reduced to one factor and one term per image and channel, so that
  the picture is read once for the statistics and once for the result.
  """

  groups: int = 32
  epsilon: float = 1e-5
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, scale=None, shift=None):
    b, h, w, c = x.shape
    gamma = self.param('scale', nn.initializers.ones, (c,))
    beta = self.param('bias', nn.initializers.zeros, (c,))

    def group_mean(y):  # [b, h, w, c] -> [b, c], constant within a group
      y = y.mean(axis=(1, 2)).reshape(b, self.groups, c // self.groups)
      y = y.mean(axis=-1, keepdims=True)
      return jnp.broadcast_to(y, (b, self.groups, c // self.groups)).reshape(
        b, c
      )

    x32 = x.astype(jnp.float32)
    mean = group_mean(x32)
    variance = jnp.maximum(group_mean(jnp.square(x32)) - jnp.square(mean), 0.0)
    factor = gamma * jax.lax.rsqrt(variance + self.epsilon)
    term = beta - mean * factor
    if scale is not None:
      scale = 1.0 + scale.astype(jnp.float32)
      factor, term = factor * scale, term * scale + shift.astype(jnp.float32)
    y = x32 * factor[:, None, None] + term[:, None, None]
    return y.astype(self.dtype)


class TextKeysValues(nn.Module):
  """Keys and values of the text for one attention layer.

  Layer norm on the text first (sec. 2.5). A module of its own because its
  result does not depend on the noise level: a sampler may compute it once.
  [b, l, d] -> keys, values [b, l, heads, head_width].
  """

  heads: int
  head_width: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, text):
    text = nn.LayerNorm(dtype=self.dtype, name='norm')(text)
    keys = project(text, self.heads, self.head_width, self.dtype, 'key')
    values = project(text, self.heads, self.head_width, self.dtype, 'value')
    return keys, values


class FusedAttention(nn.Module):
  """Self-attention whose keys and values are extended by the text's.

  One softmax over image positions and text tokens (appendix D.3.1). Residual;
  the output projection starts at zero. x [b, h, w, c] -> [b, h, w, c].
  """

  heads: int
  head_width: int
  groups: int = 32
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, text_keys, text_values, mask):
    b, h, w, c = x.shape
    y = GroupNorm(self.groups, dtype=self.dtype, name='norm')(x)
    y = y.reshape(b, h * w, c)
    queries, keys, values = (
      project(y, self.heads, self.head_width, self.dtype, name)
      for name in ('query', 'key', 'value')
    )
    keys = jnp.concatenate([text_keys, keys], axis=1)
    values = jnp.concatenate([text_values, values], axis=1)
    seen = jnp.concatenate([mask, jnp.ones((b, h * w), bool)], axis=1)
    y = attention.attend(queries, keys, values, seen)
    y = nn.Dense(c, kernel_init=_ZEROS, dtype=self.dtype, name='output')(y)
    return x + y.reshape(x.shape)


class CrossAttention(nn.Module):
  """Attention from image positions to text tokens alone (SR2, appendix D.3.1).

  Residual; the output projection starts at zero. [b, h, w, c] -> the same.
  """

  heads: int
  head_width: int
  groups: int = 32
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, text_keys, text_values, mask):
    b, h, w, c = x.shape
    y = GroupNorm(self.groups, dtype=self.dtype, name='norm')(x)
    y = y.reshape(b, h * w, c)
    queries = project(y, self.heads, self.head_width, self.dtype, 'query')
    y = attention.attend(queries, text_keys, text_values, mask)
    y = nn.Dense(c, kernel_init=_ZEROS, dtype=self.dtype, name='output')(y)
    return x + y.reshape(x.shape)


class AttentionPool(nn.Module):
  """Text sequence to one vector: the mean token attends to all tokens.

  The paper says only "attention pooling". Layer norm, heads of `head_width`
  over a query made from the mean of the true tokens, linear, layer norm.
  [b, l, d], [b, l] -> [b, features].
  """

  features: int
  head_width: int = 64
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, text, mask):
    text = nn.LayerNorm(dtype=self.dtype, name='norm')(text)
    weights = mask.astype(text.dtype)[:, :, None]
    mean = (text * weights).sum(1, keepdims=True)
    mean /= jnp.maximum(weights.sum(1, keepdims=True), 1)  # [b, 1, d]
    heads = max(1, text.shape[-1] // self.head_width)
    queries, keys, values = (
      project(x, heads, self.head_width, self.dtype, name)
      for name, x in (('query', mean), ('key', text), ('value', text))
    )
    pooled = attention.attend(queries, keys, values, mask)[:, 0]
    pooled = nn.Dense(self.features, dtype=self.dtype, name='output')(pooled)
    return nn.LayerNorm(dtype=self.dtype, name='output_norm')(pooled)
