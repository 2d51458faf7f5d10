"""The base model's U-Net, ADM-style (Imagen, sec. 2.5, appendix F.1).

BigGAN residual blocks with FiLM, attention fused with the text at the lower
levels, concatenated skips, a residual-attention-residual middle. The layout is
ADM's (Dhariwal and Nichol), which the paper cites without repeating it.

  z [b, h, w, 3], logsnr [b], text [b, l, d], mask [b, l] -> [b, h, w, 3]

Submodules are named by the grid they work on when the input has the nominal
resolution, pixel folding included: `down_64_block_0`, `down_32_attention_0`,
`up_8_upsample`; with fold = 4 a 64 pixel model begins at `down_16_block_0`.
"""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn

from imagen_jax.models import layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNetConfig:
  """Sizes of the base U-Net; the defaults are the paper's 2B (F.1)."""

  resolution: int = 64  # pixels, height and width it is trained on
  widths: tuple[int, ...] = (512, 1024, 1536, 2048)  # channels of each level
  blocks: tuple[int, ...] = (3, 3, 3, 3)  # residual blocks down; up has 1 more
  attention: tuple[int, ...] = (32, 16, 8)  # grids with text-and-self attention
  head_width: int = 64  # channels per attention head
  embedding_width: int = 2048  # of noise level plus pooled text
  text_width: int = 4096  # of the text encoder
  text_projection: int = 2048  # width shared by all text keys and values
  groups: int = 32  # of group norm
  fold: int = 1  # pixels folded into channels, each way (1: none)
  dtype: str = 'float32'  # compute type; parameters are float32

  def __post_init__(self):
    layers.check_sizes(self)
    if unknown := set(self.attention) - set(self.grids):
      raise ValueError(
        f'attention at {sorted(unknown)} cannot be: the grids of '
        f'{self.resolution} px folded by {self.fold} are {self.grids}'
      )
    for grid, width in zip(self.grids, self.widths):
      # The middle, on the last grid, attends whatever `attention` says.
      attends = grid in self.attention or grid == self.grids[-1]
      if attends and width % self.head_width:
        raise ValueError(
          f'width {width} of grid {grid} is no multiple of '
          f'head_width={self.head_width}; change one of them'
        )

  @property
  def grids(self):
    """Rows of positions at each level, finest first."""
    return tuple(
      self.resolution // self.fold // 2**i for i in range(len(self.widths))
    )


class ResidualBlock(nn.Module):
  """BigGAN residual block with FiLM; may halve or double the grid inside.

  [b, h, w, c], emb [b, e] -> [b, h', w', channels]. The last convolution
  starts at zero, so a block starts as its skip path.
  """

  channels: int
  groups: int = 32
  resample: str = 'none'  # 'none', 'halve' or 'double'
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, emb):
    resample = {
      'none': lambda y: y,
      'halve': layers.halve,
      'double': lambda y: layers.enlarge(y, 2),
    }[self.resample]
    h = layers.GroupNorm(self.groups, dtype=self.dtype, name='norm_0')(x)
    h = resample(nn.swish(h))
    h = layers.conv3x3(self.channels, self.dtype, 'conv_0')(h)
    film = nn.Dense(2 * self.channels, dtype=self.dtype, name='film')
    scale, shift = jnp.split(film(nn.swish(emb)), 2, axis=-1)
    norm = layers.GroupNorm(self.groups, dtype=self.dtype, name='norm_1')
    h = nn.swish(norm(h, scale, shift))
    h = layers.conv3x3(self.channels, self.dtype, 'conv_1', zeros=True)(h)
    x = resample(x)
    if x.shape[-1] != self.channels:
      x = nn.Conv(self.channels, (1, 1), dtype=self.dtype, name='skip')(x)
    return x + h


class UNet(nn.Module):
  """Noisy picture, noise level and text to a prediction of the same shape."""

  config: UNetConfig

  @nn.compact
  def __call__(self, z, logsnr, text, mask, low_res=None, aug_logsnr=None):
    c = self.config
    if low_res is not None or aug_logsnr is not None:
      raise ValueError(
        'the base U-Net takes no low_res or aug_logsnr, got '
        f'low_res={low_res is not None}, aug_logsnr={aug_logsnr is not None}; '
        'use EfficientUNet for super-resolution'
      )
    layers.check_divides(z, c.fold * 2 ** (len(c.widths) - 1))
    z, text = z.astype(c.dtype), text.astype(c.dtype)
    emb = layers.LogSNREmbedding(
      c.embedding_width, c.dtype, name='logsnr_embedding'
    )(logsnr)
    emb += layers.AttentionPool(
      c.embedding_width, c.head_width, c.dtype, name='text_pool'
    )(text, mask)
    # A projection before the keys and values of the layers keeps the
    # parameters of these in proportion: the text is wider than the picture.
    text = nn.Dense(c.text_projection, dtype=c.dtype, name='text_projection')(
      text
    )

    x = layers.fold(z, c.fold)
    channels = x.shape[-1]
    x = layers.conv3x3(c.widths[0], c.dtype, 'input_conv')(x)
    skips = [x]
    x, skips = self._down(x, skips, emb, text, mask)
    x = self._middle(x, emb, text, mask)
    x = self._up(x, skips, emb, text, mask)
    x = layers.GroupNorm(c.groups, dtype=c.dtype, name='output_norm')(x)
    # The output starts at zero, and is float32 whatever the compute type.
    x = layers.conv3x3(channels, 'float32', 'output_conv', zeros=True)(
      nn.swish(x)
    )
    return layers.unfold(x, c.fold)

  def _block(self, name, channels, resample='none'):
    c = self.config
    return ResidualBlock(channels, c.groups, resample, c.dtype, name=name)

  def _attention(self, name, x, text, mask):
    """`name` has the place of the layer where `{}` tells its two modules."""
    c = self.config
    heads = x.shape[-1] // c.head_width
    keys, values = layers.TextKeysValues(
      heads, c.head_width, c.dtype, name=name.format('text')
    )(text)
    return layers.FusedAttention(
      heads, c.head_width, c.groups, c.dtype, name=name.format('attention')
    )(x, keys, values, mask)

  def _down(self, x, skips, emb, text, mask):
    c = self.config
    for level, (grid, width, blocks) in enumerate(
      zip(c.grids, c.widths, c.blocks)
    ):
      for i in range(blocks):
        x = self._block(f'down_{grid}_block_{i}', width)(x, emb)
        if grid in c.attention:
          x = self._attention(f'down_{grid}_{{}}_{i}', x, text, mask)
        skips.append(x)
      if level < len(c.widths) - 1:
        x = self._block(f'down_{grid}_downsample', width, 'halve')(x, emb)
        skips.append(x)
    return x, skips

  def _middle(self, x, emb, text, mask):
    width = self.config.widths[-1]
    x = self._block('middle_block_0', width)(x, emb)
    x = self._attention('middle_{}', x, text, mask)
    return self._block('middle_block_1', width)(x, emb)

  def _up(self, x, skips, emb, text, mask):
    c = self.config
    for level in reversed(range(len(c.widths))):
      grid, width = c.grids[level], c.widths[level]
      for i in range(c.blocks[level] + 1):
        x = jnp.concatenate([x, skips.pop()], axis=-1)
        x = self._block(f'up_{grid}_block_{i}', width)(x, emb)
        if grid in c.attention:
          x = self._attention(f'up_{grid}_{{}}_{i}', x, text, mask)
      if level > 0:
        x = self._block(f'up_{grid}_upsample', width, 'double')(x, emb)
    return x
