"""T5 1.1 and 1.0: Imagen's frozen text encoder (section 2.1), and a decoder.

The encoder turns tokens [b, l] into text [b, l, d]; the decoder exists only
to pre-train a tiny encoder by span corruption (Raffel et al. 2020, 3.1.4).
Names and shapes of parameters are T5X's, so its checkpoints load unchanged:
kernels are [in, out] with heads joined, queries are not scaled by
1/sqrt(head_dim) (the initialisation does it), every layer of a stack shares
one relative-position bias, and norms have a scale alone.

In bfloat16 the residuals stay float32, as softmax and norms do: those of the
large T5s grow beyond 1e5, where bfloat16 steps by 512 and float16 has ended.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax.models import transformer

# T5X's bias for masked positions: large, yet finite, so that a row which is
# padding throughout gives a mean of values and not NaN.
_MASKED = -1e10

_attention_init = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal')
_mlp_init = nn.initializers.variance_scaling(1.0, 'fan_in', 'truncated_normal')
_bias_init = nn.initializers.variance_scaling(
  1.0, 'fan_avg', 'uniform', in_axis=1, out_axis=0
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config:
  """Size of a T5; the defaults are those of every T5 1.1 checkpoint."""

  vocab_size: int = 32128  # rows of the embedding
  emb_dim: int  # width d of the text
  num_heads: int
  head_dim: int = 64
  mlp_dim: int  # hidden units of the feed-forward layer
  num_encoder_layers: int
  num_decoder_layers: int = 0  # 0 = encoder alone
  mlp_activations: tuple[str, ...] = ('gelu', 'linear')  # T5 1.0: ('relu',)
  logits_via_embedding: bool = False  # T5 1.0: True
  relative_attention_num_buckets: int = 32
  relative_attention_max_distance: int = 128  # tokens
  layer_norm_epsilon: float = 1e-6
  dtype: str = 'float32'  # of matrix products; the rest stays float32

  def __post_init__(self):
    transformer.check_sizes(
      self,
      (
        'vocab_size',
        'emb_dim',
        'num_heads',
        'head_dim',
        'mlp_dim',
        'relative_attention_num_buckets',
      ),
    )
    known = {'gelu', 'relu', 'silu', 'linear'}
    unknown = set(self.mlp_activations) - known
    if unknown or not self.mlp_activations:
      raise ValueError(
        f'mlp_activations is {self.mlp_activations}; choose from '
        f'{sorted(known)}'
      )

  @property
  def width(self) -> int:
    """Features of one text token."""
    return self.emb_dim


def _size(emb_dim, num_heads, mlp_dim, layers):
  return T5Config(
    emb_dim=emb_dim,
    num_heads=num_heads,
    mlp_dim=mlp_dim,
    num_encoder_layers=layers,
    num_decoder_layers=layers,
  )


# The published T5 1.1 checkpoints.
SMALL = _size(512, 6, 1024, 8)
BASE = _size(768, 12, 2048, 12)
LARGE = _size(1024, 16, 2816, 24)
XL = _size(2048, 32, 5120, 24)
XXL = _size(4096, 64, 10240, 24)  # the encoder of Imagen


def relative_buckets(
  distance: np.ndarray, *, bidirectional: bool, buckets: int, max_distance: int
) -> np.ndarray:
  """Bucket of each key-minus-query distance (Raffel et al. 2020, 2.1).

  Half of the buckets hold one distance each, the rest grow in logarithmic
  steps up to max_distance; beyond it all share the last one.
  In NumPy, at trace time: whole steps lie on the borders of buckets, and the
  last bit of a device's logarithm would decide.
  """
  bucket = np.zeros_like(distance)
  if bidirectional:
    buckets //= 2
    bucket += np.where(distance > 0, buckets, 0)
    distance = np.abs(distance)
  else:
    distance = np.maximum(-distance, 0)
  exact = buckets // 2
  # T5X adds this epsilon before the logarithm; 0 takes the exact branch.
  ratio = distance.astype(np.float32) / exact + np.finfo(np.float32).eps
  steps = np.log(ratio) / np.log(max_distance / exact) * (buckets - exact)
  far = np.minimum(exact + steps.astype(np.int32), buckets - 1)
  return bucket + np.where(distance < exact, distance, far)


def _activation(name, x):
  if name == 'gelu':
    return nn.gelu(x, approximate=True)  # the tanh form, "gelu_new"
  if name == 'silu':
    return nn.silu(x)
  return nn.relu(x) if name == 'relu' else x


class Embedding(nn.Module):
  """Token table [vocab, d]; `attend` gives tied logits."""

  config: T5Config

  def setup(self):
    shape = (self.config.vocab_size, self.config.emb_dim)
    self.embedding = self.param(
      'embedding', nn.initializers.normal(1.0), shape, jnp.float32
    )

  def __call__(self, tokens):
    return self.embedding[tokens].astype(jnp.float32)

  def attend(self, x):
    return x.astype(jnp.float32) @ self.embedding.T


class RMSNorm(nn.Module):
  """Scale without centre or offset, computed in float32, given in dtype."""

  config: T5Config

  @nn.compact
  def __call__(self, x):
    scale = self.param('scale', nn.initializers.ones, (x.shape[-1],))
    x = x.astype(jnp.float32)
    mean_square = jnp.mean(x * x, axis=-1, keepdims=True)
    x = x * jax.lax.rsqrt(mean_square + self.config.layer_norm_epsilon)
    return (x * scale).astype(self.config.dtype)


class RelativeBias(nn.Module):
  """Bias [heads, q, k] of attention logits by distance, shared by a stack."""

  config: T5Config
  bidirectional: bool

  @nn.compact
  def __call__(self, length):
    c = self.config
    buckets = c.relative_attention_num_buckets
    table = self.param('rel_embedding', _bias_init, (c.num_heads, buckets))
    position = np.arange(length, dtype=np.int32)
    index = relative_buckets(
      position[None, :] - position[:, None],
      bidirectional=self.bidirectional,
      buckets=buckets,
      max_distance=c.relative_attention_max_distance,
    )
    return table[:, index]  # [heads, q, k]


class Attention(nn.Module):
  """Multi-head attention of queries [b, q, d] over a context [b, k, d]."""

  config: T5Config

  @nn.compact
  def __call__(self, x, context, bias):
    """Attends; bias broadcasts to [b, heads, q, k] and holds the mask."""
    c = self.config

    def project(inputs, name, init):
      y = nn.Dense(
        c.num_heads * c.head_dim,
        use_bias=False,
        kernel_init=init,
        dtype=c.dtype,
        name=name,
      )(inputs)
      return y.reshape(*y.shape[:2], c.num_heads, c.head_dim)

    def query_init(*args):  # takes the place of scaling the logits
      return _attention_init(*args) / c.head_dim**0.5

    query = project(x, 'query', query_init)
    key = project(context, 'key', _attention_init)
    value = project(context, 'value', _attention_init)
    logits = jnp.einsum(
      'bqhe,bkhe->bhqk', query, key, preferred_element_type=jnp.float32
    )
    weights = jax.nn.softmax(logits + bias, axis=-1).astype(c.dtype)
    y = jnp.einsum('bhqk,bkhe->bqhe', weights, value)
    return nn.Dense(
      c.emb_dim,
      use_bias=False,
      kernel_init=_attention_init,
      dtype=c.dtype,
      name='out',
    )(y.reshape(*y.shape[:2], -1))


class MLP(nn.Module):
  """Feed-forward layer: the product of one branch per activation."""

  config: T5Config

  @nn.compact
  def __call__(self, x):
    c = self.config

    def dense(features, name):
      return nn.Dense(
        features,
        use_bias=False,
        kernel_init=_mlp_init,
        dtype=c.dtype,
        name=name,
      )

    hidden = 1.0
    for i, activation in enumerate(c.mlp_activations):
      name = 'wi' if len(c.mlp_activations) == 1 else f'wi_{i}'
      hidden *= _activation(activation, dense(c.mlp_dim, name)(x))
    return dense(c.emb_dim, 'wo')(hidden)


class EncoderLayer(nn.Module):
  """Self-attention and MLP, each after a norm and around a residual."""

  config: T5Config

  @nn.compact
  def __call__(self, x, bias):
    y = RMSNorm(self.config, name='pre_attention_layer_norm')(x)
    x = x + Attention(self.config, name='attention')(y, y, bias)
    y = RMSNorm(self.config, name='pre_mlp_layer_norm')(x)
    return x + MLP(self.config, name='mlp')(y)


class EncoderStack(nn.Module):
  """Layers of the encoder over embedded tokens [b, l, d]."""

  config: T5Config

  @nn.compact
  def __call__(self, x, mask):
    c = self.config
    bias = RelativeBias(c, bidirectional=True, name='relpos_bias')(x.shape[1])
    bias = bias + jnp.where(mask[:, None, None, :], 0.0, _MASKED)
    for i in range(c.num_encoder_layers):
      x = EncoderLayer(c, name=f'layers_{i}')(x, bias)
    return RMSNorm(c, name='encoder_norm')(x)


class DecoderLayer(nn.Module):
  """Causal self-attention, cross-attention and MLP, with residuals."""

  config: T5Config

  @nn.compact
  def __call__(self, x, text, self_bias, cross_bias):
    c = self.config
    y = RMSNorm(c, name='pre_self_attention_layer_norm')(x)
    x = x + Attention(c, name='self_attention')(y, y, self_bias)
    y = RMSNorm(c, name='pre_cross_attention_layer_norm')(x)
    cross = Attention(c, name='encoder_decoder_attention')
    x = x + cross(y, text, cross_bias)
    y = RMSNorm(c, name='pre_mlp_layer_norm')(x)
    return x + MLP(c, name='mlp')(y)


class DecoderStack(nn.Module):
  """Layers of the decoder; embedded targets [b, t, d] -> [b, t, d]."""

  config: T5Config

  @nn.compact
  def __call__(self, x, text, mask):
    c = self.config
    length = x.shape[1]
    bias = RelativeBias(c, bidirectional=False, name='relpos_bias')(length)
    causal = jnp.tril(jnp.ones((length, length), bool))
    self_bias = bias + jnp.where(causal, 0.0, _MASKED)
    cross_bias = jnp.where(mask[:, None, None, :], 0.0, _MASKED)
    for i in range(c.num_decoder_layers):
      layer = DecoderLayer(c, name=f'layers_{i}')
      x = layer(x, text, self_bias, cross_bias)
    x = RMSNorm(c, name='decoder_norm')(x)
    if c.logits_via_embedding:
      return x
    return nn.Dense(
      c.vocab_size, use_bias=False, kernel_init=_mlp_init, name='logits_dense'
    )(x.astype(jnp.float32))


class T5Encoder(nn.Module):
  """Tokens [b, l] and mask [b, l] to text [b, l, d], float32.

  Values at masked positions are meaningless: whoever attends to the text
  needs the mask.
  """

  config: T5Config

  def setup(self):
    self.token_embedder = Embedding(self.config)
    self.encoder = EncoderStack(self.config)

  def __call__(self, tokens, mask):
    text = self.encoder(self.token_embedder(tokens), mask.astype(bool))
    return text.astype(jnp.float32)


class T5(nn.Module):
  """Encoder and decoder, for pre-training: logits [b, t, vocab]."""

  config: T5Config

  def setup(self):
    self.token_embedder = Embedding(self.config)
    self.encoder = EncoderStack(self.config)
    self.decoder = DecoderStack(self.config)

  def __call__(self, tokens, mask, decoder_tokens):
    """Logits of the targets; decoder_tokens are those shifted right by 1."""
    mask = mask.astype(bool)
    text = self.encoder(self.token_embedder(tokens), mask)
    x = self.decoder(self.token_embedder(decoder_tokens), text, mask)
    if self.config.logits_via_embedding:
      return self.token_embedder.attend(x) / self.config.emb_dim**0.5
    return x
