"""The Efficient U-Net of the super-resolution models (Imagen, appendix B).

Against the base: most residual blocks at the low resolutions, the residual sum
scaled by 1 / sqrt(2), a strided convolution *before* the blocks on the way down
and the upsampling *after* them on the way up, one skip per level, no middle.

  z, low_res [b, h, w, 3], logsnr, aug_logsnr [b], text [b, l, d],
  mask [b, l] -> [b, h, w, 3]

Any height and width that the strides divide will do. Submodules are named by
the grid their residual blocks work on when the input has the nominal
resolution, pixel folding included: `down_128_stride`, `down_128_block_0`,
`down_16_attention`, `up_16_upsample`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from imagen_jax.models import contexts, layers
from imagen_jax.models import execution as execution_lib

_NEWTON_STEPS = 4  # to the mean colour of a clipped picture
_LEAST_INSIDE = 0.1  # share of unclipped pixels, bounds Newton's step


@dataclasses.dataclass(frozen=True, kw_only=True)
class EfficientUNetConfig:
  """Sizes of an Efficient U-Net; the defaults are the paper's SR1 (F.2)."""

  resolution: int = 256  # pixels of the output, nominal: it names submodules
  widths: tuple[int, ...] = (128, 256, 512, 1024)  # channels of each level
  blocks: tuple[int, ...] = (2, 4, 8, 8)  # residual blocks, down and up alike
  strides: tuple[int, ...] = (2, 2, 2, 2)  # before a level's blocks; 1: none
  attention: str = 'fused'  # deepest level: 'fused' self + text, or 'cross'
  heads: int = 8  # of attention
  attention_width: int = 2048  # of all heads together, 2 x the deepest width
  wide_skips: bool = True  # 1x1 conv on every skip; else on change of width
  embedding_width: int = 1024  # of noise level, augmentation and pooled text
  text_width: int = 4096  # of the text encoder
  low_res: bool = True  # conditioned on a low-resolution picture and its noise
  keep_mean: bool = False  # x0 gets the low-resolution picture's mean colour
  residual: bool = False  # x0 is that picture, as far as it is clean, + output
  groups: int = 32  # of group norm
  fold: int = 1  # pixels folded into channels, each way (1: none)
  dtype: str = 'float32'  # compute type; parameters are float32

  def __post_init__(self):
    layers.check_sizes(self)
    if len(self.strides) != len(self.widths):
      raise ValueError(
        f'strides {self.strides} are of {len(self.strides)} levels, widths '
        f'of {len(self.widths)}; give one for every level'
      )
    if len(set(self.grids)) < len(self.grids):
      raise ValueError(
        f'strides {self.strides} put two levels on one of the grids '
        f'{self.grids}; only the first stride may be 1'
      )
    if self.attention not in ('fused', 'cross'):
      raise ValueError(f"attention is {self.attention!r}; 'fused' or 'cross'")
    if self.heads < 1 or self.attention_width % self.heads:
      raise ValueError(
        f'attention_width {self.attention_width} does not divide among '
        f'heads={self.heads}; change one of them'
      )
    for name in ('keep_mean', 'residual'):
      if getattr(self, name) and not self.low_res:
        raise ValueError(f'{name}=True needs low_res=True: there is no picture')

  @property
  def grids(self):
    """Rows of positions of each level's residual blocks, finest first."""
    grid, grids = self.resolution // self.fold, []
    for stride in self.strides:
      grid //= stride
      grids.append(grid)
    return tuple(grids)

  @property
  def multiple(self):
    """What height and width of a picture must be a multiple of."""
    return self.fold * math.prod(self.strides)


def skip_init(key, shape, dtype=jnp.float32):
  """Start of the 1x1 convolution on a residual skip: sqrt(2) x identity.

  The other branch starts at zero, so without the factor each block would
  halve the variance, 2^-22 in all on the way down, less than the epsilon of
  the norms. Where the width changes: random, with twice the usual variance.
  """
  inputs, outputs = shape[-2:]
  if inputs == outputs:
    return math.sqrt(2.0) * jnp.eye(inputs, dtype=dtype).reshape(shape)
  return nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')(
    key, shape, dtype
  )


def trusted(low_res, aug_logsnr):
  """What the low-resolution picture alone says about x0, [b, h, w, c].

  Not in the paper. Flat art differs from its upsampled low-resolution picture
  by some e^-4 in variance; the best linear estimate from alpha low_res +
  sigma eps then is sigmoid(aug_logsnr - 4) / alpha times that.
  """
  aug_logsnr = aug_logsnr.astype(jnp.float32)
  factor = nn.sigmoid(aug_logsnr - 4.0) / jnp.sqrt(nn.sigmoid(aug_logsnr))
  return factor[:, None, None, None] * low_res.astype(jnp.float32)


def with_mean_of(x, low_res, aug_logsnr):
  """The picture x shifted, channel by channel, to the mean colour of low_res.

  Not in the paper. A box average keeps the mean, so x0 and its low-resolution
  picture have the same one, in crops too; group norms hide it from the
  network. Of alpha low_res + sigma eps the mean over n pixels has n times the
  pixels' SNR, hence its best linear estimate is

    sigmoid(aug_logsnr + log n) / alpha x mean.

  x0 lies in [-1, 1], so it is the mean of the clipped picture that must be
  right: where much is white, a plain shift would be lost to clipping. Newton's
  method finds what is missing then; no gradient passes through that. It does
  pass through the plain shift: the network's own mean changes nothing, so no
  gradient may move it.

  x, low_res [b, h, w, c] at one size. The noise was drawn before the
  upsampling, by 4 in both stages of the paper: n = h w / 16. Where the factor
  is another, n is only the weight of an estimate, and log n is off by little.
  """
  n = low_res.shape[1] * low_res.shape[2] / 16
  aug_logsnr = aug_logsnr.astype(jnp.float32)
  factor = nn.sigmoid(aug_logsnr + math.log(n)) / jnp.sqrt(
    nn.sigmoid(aug_logsnr)
  )
  mean = low_res.astype(jnp.float32).mean(axis=(1, 2), keepdims=True)
  mean = jnp.clip(mean * factor[:, None, None, None], -0.999, 0.999)
  x += mean - x.mean(axis=(1, 2), keepdims=True)
  shift = jnp.zeros_like(mean)
  for _ in range(_NEWTON_STEPS):
    y = x + shift
    missing = mean - jnp.clip(y, -1, 1).mean(axis=(1, 2), keepdims=True)
    inside = (jnp.abs(y) < 1).mean(axis=(1, 2), keepdims=True)
    shift += missing / jnp.maximum(inside, _LEAST_INSIDE)
  return x + jax.lax.stop_gradient(shift)


class ResNetBlock(nn.Module):
  """Fig. A.27 with FiLM: (skip(x) + conv(conv(x))) / sqrt(2).

  [b, h, w, c], emb [b, e] -> [b, h, w, channels].
  """

  channels: int
  wide_skip: bool = True
  groups: int = 32
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, emb):
    h = layers.GroupNorm(self.groups, dtype=self.dtype, name='norm_0')(x)
    h = layers.conv3x3(self.channels, self.dtype, 'conv_0')(nn.swish(h))
    film = nn.Dense(2 * self.channels, dtype=self.dtype, name='film')
    scale, shift = jnp.split(film(nn.swish(emb)), 2, axis=-1)
    norm = layers.GroupNorm(self.groups, dtype=self.dtype, name='norm_1')
    h = nn.swish(norm(h, scale, shift))
    h = layers.conv3x3(self.channels, self.dtype, 'conv_1', zeros=True)(h)
    if self.wide_skip or x.shape[-1] != self.channels:
      x = layers.conv1x1(self.channels, self.dtype, 'skip', skip_init)(x)
    return (x + h) * math.sqrt(0.5)


def _residual(parts, x, _, emb, text, mask):
  """A unit: one residual block. x [b, h, w, c] -> [b, h, w, channels]."""
  return parts['block'](x, emb)


def _attend(parts, x, known, emb, text, mask):
  """A unit: one attention layer. x [b, h, w, c] -> [b, h, w, c].

  `known` are its keys and values, or None.
  """
  keys, values = known or parts['text'](text)
  return parts['attention'](x, keys, values, mask)


class EfficientUNet(nn.Module):
  """Noisy picture, low-resolution picture and text to a prediction."""

  config: EfficientUNetConfig
  execution: execution_lib.Execution = execution_lib.PLAIN

  @nn.compact
  def __call__(self, z, logsnr, text, mask, low_res=None, aug_logsnr=None):
    """`text` is [b, l, d], or what `context` makes of it."""
    c = self.config
    given = low_res is not None and aug_logsnr is not None
    if given != c.low_res:
      raise ValueError(
        f'low_res and aug_logsnr given: {given}, but the configuration says '
        f'low_res={c.low_res}; pass both exactly when it is True'
      )
    layers.check_divides(z, c.multiple)
    emb = layers.LogSNREmbedding(
      c.embedding_width, c.dtype, name='logsnr_embedding'
    )(logsnr)
    if isinstance(text, contexts.TextContext):
      emb += text.pooled
    else:
      text = text.astype(c.dtype)
      emb += self._pool().clone(parent=self)(text, mask)
    x = z.astype(c.dtype)
    if c.low_res:
      emb += layers.LogSNREmbedding(
        c.embedding_width, c.dtype, name='aug_logsnr_embedding'
      )(aug_logsnr)
      x = jnp.concatenate([x, low_res.astype(c.dtype)], axis=-1)

    x = layers.fold(x, c.fold)
    x = layers.conv3x3(c.widths[0], c.dtype, 'input_conv')(x)
    skips = []
    for level in range(len(c.widths)):
      x = self._down(level, x, emb, text, mask)
      skips.append(x)
    x = skips.pop()
    for level in reversed(range(len(c.widths))):
      x = self._up(level, x, emb, text, mask)
      if skips:
        x = x + skips.pop()
    x = layers.GroupNorm(c.groups, dtype=c.dtype, name='output_norm')(x)
    # Fig. A.30 ends in a dense layer; like the base, and most U-Nets since
    # DDPM, this ends in norm, swish and a convolution. The output starts at
    # zero, and is float32 whatever the compute type.
    x = layers.conv3x3(
      z.shape[-1] * c.fold**2, 'float32', 'output_conv', zeros=True
    )(nn.swish(x))
    x = layers.unfold(x, c.fold)
    if c.residual:
      x += trusted(low_res, aug_logsnr)
    if c.keep_mean:
      x = with_mean_of(x, low_res, aug_logsnr)
    return x

  def context(self, text, mask):
    """All that depends on the text alone: [b, l, d], [b, l] -> TextContext."""
    text = text.astype(self.config.dtype)
    grid = self.config.grids[-1]
    units = [self._attention(f'{way}_{grid}') for way in ('down', 'up')]
    return contexts.TextContext(
      pooled=contexts.apply(self, self._pool(), text, mask),
      keys_values=contexts.keys_values(self, units, text),
    )

  def _pool(self):
    c = self.config
    return layers.AttentionPool(
      c.embedding_width, dtype=c.dtype, name='text_pool', parent=None
    )

  def _blocks(self, place, level, x, emb, text, mask):
    """CombineEmbs, residual blocks and attention, common to D- and UBlock."""
    c = self.config
    width = c.widths[level]
    combine = nn.Dense(
      x.shape[-1],
      kernel_init=nn.initializers.zeros,
      dtype=c.dtype,
      name=f'{place}_combine',
    )
    x = x + combine(nn.swish(emb))[:, None, None]
    block = ResNetBlock(width, c.wide_skips, c.groups, c.dtype, parent=None)
    units = [
      execution_lib.Unit(
        compute=_residual, parts={'block': (f'{place}_block_{i}', block)}
      )
      for i in range(c.blocks[level])
    ]
    if level == len(c.widths) - 1:
      units.append(self._attention(place))
    known = contexts.known(units, text)
    return execution_lib.run(self, units, x, (emb, text, mask), known)[0]

  def _attention(self, place):
    """The unit of a level's attention layer."""
    c = self.config
    sizes = c.heads, c.attention_width // c.heads
    kind = {'fused': layers.FusedAttention, 'cross': layers.CrossAttention}
    parts = {
      'text': (
        f'{place}_text',
        layers.TextKeysValues(*sizes, c.dtype, parent=None),
      ),
      'attention': (
        f'{place}_attention',
        kind[c.attention](*sizes, c.groups, c.dtype, parent=None),
      ),
    }
    return execution_lib.Unit(compute=_attend, parts=parts)

  def _down(self, level, x, emb, text, mask):
    """DBlock (Fig. A.28): strided convolution first."""
    c = self.config
    place, stride = f'down_{c.grids[level]}', c.strides[level]
    if stride > 1:
      x = layers.conv3x3(c.widths[level], c.dtype, f'{place}_stride', stride)(x)
    return self._blocks(place, level, x, emb, text, mask)

  def _up(self, level, x, emb, text, mask):
    """UBlock (Fig. A.29): upsampling last, to the width of the level above."""
    c = self.config
    place, width = f'up_{c.grids[level]}', c.widths[max(level - 1, 0)]
    x = self._blocks(place, level, x, emb, text, mask)
    if c.strides[level] > 1:
      x = layers.enlarge(x, c.strides[level])
    if c.strides[level] > 1 or x.shape[-1] != width:
      x = layers.conv3x3(width, c.dtype, f'{place}_upsample')(x)
    return x
