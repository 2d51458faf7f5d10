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

from imagen_jax.models import contexts, layers
from imagen_jax.models import execution as execution_lib


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
  # Whether the output is read from before its norm too. Group norm hides how
  # large features are, and with them what of a nearly clean picture is to be
  # copied as it is: folded networks of small width need it. Not in the paper.
  linear_output: bool = False
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

  @property
  def multiple(self):
    """What height and width of a picture must be a multiple of."""
    return self.fold * 2 ** (len(self.widths) - 1)


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
      x = layers.conv1x1(self.channels, self.dtype, 'skip')(x)
    return x + h


def _residual(parts, x, extra, emb, text, mask):
  """A unit: a residual block on x and its skip, then attention if it has one.

  x [b, h, w, c], extra: a skip [b, h, w, c'] or None, and keys and values where
  they are known -> [b, h', w', channels].
  """
  skip, known = extra
  if skip is not None:
    x = jnp.concatenate([x, skip], axis=-1)
  x = parts['block'](x, emb)
  if 'attention' in parts:
    keys, values = known or parts['text'](text)
    x = parts['attention'](x, keys, values, mask)
  return x


class UNet(nn.Module):
  """Noisy picture, noise level and text to a prediction of the same shape."""

  config: UNetConfig
  execution: execution_lib.Execution = execution_lib.PLAIN

  @nn.compact
  def __call__(
    self,
    z,
    logsnr,
    text,
    mask,
    low_res=None,
    aug_logsnr=None,
    layout=None,
  ):
    """`text` is [b, l, d], or what `context` makes of it.

    `layout` is the map of `layouts.to_map` on the finest grid, or None.
    """
    c = self.config
    if low_res is not None or aug_logsnr is not None:
      raise ValueError(
        'the base U-Net takes no low_res or aug_logsnr, got '
        f'low_res={low_res is not None}, aug_logsnr={aug_logsnr is not None}; '
        'use EfficientUNet for super-resolution'
      )
    layers.check_divides(z, c.multiple)
    z = z.astype(c.dtype)
    emb = layers.LogSNREmbedding(
      c.embedding_width, c.dtype, name='logsnr_embedding'
    )(logsnr)
    if isinstance(text, contexts.TextContext):
      emb += text.pooled
    else:
      text = text.astype(c.dtype)
      pool, project = (module.clone(parent=self) for module in self._text())
      emb += pool(text, mask)
      text = project(text)

    x = layers.fold(z, c.fold)
    channels = x.shape[-1]
    x = layers.conv3x3(c.widths[0], c.dtype, 'input_conv')(x)
    if layout is not None:
      layout = layout.astype(c.dtype)
      x += layers.conv3x3(c.widths[0], c.dtype, 'layout_conv', zeros=True)(
        layout
      )
    skips = [x]
    x, skips = self._down(x, skips, emb, text, mask)
    x = self._run(self._middle_units(), x, (emb, text, mask))[0]
    x = self._up(x, skips, emb, text, mask)
    h = layers.GroupNorm(c.groups, dtype=c.dtype, name='output_norm')(x)
    # The output starts at zero, and is float32 whatever the compute type.
    h = layers.conv3x3(channels, 'float32', 'output_conv', zeros=True)(
      nn.swish(h)
    )
    if c.linear_output:
      h += self._linear_output(x, emb, channels)
    return layers.unfold(h, c.fold)

  def _linear_output(self, x, emb, channels):
    """What of the features is shown as it is, by noise level; zero at first."""
    zeros = nn.initializers.zeros
    gate = nn.Dense(x.shape[-1], kernel_init=zeros, name='output_gate')
    x = x.astype('float32') * (1 + gate(nn.swish(emb))[:, None, None])
    return layers.conv1x1(channels, 'float32', 'output_linear', zeros)(x)

  def context(self, text, mask):
    """All that depends on the text alone: [b, l, d], [b, l] -> TextContext."""
    text = text.astype(self.config.dtype)
    pool, project = self._text()
    levels = range(len(self.config.widths))
    units = [u for level in levels for u in self._down_units(level)]
    units += self._middle_units()
    units += [u for level in levels for u in self._up_units(level)]
    projected = contexts.apply(self, project, text)
    return contexts.TextContext(
      pooled=contexts.apply(self, pool, text, mask),
      keys_values=contexts.keys_values(self, units, projected),
    )

  def _text(self):
    """The modules that read the text first: pooling and projection."""
    c = self.config
    # A projection before the keys and values of the layers keeps the
    # parameters of these in proportion: the text is wider than the picture.
    return (
      layers.AttentionPool(
        c.embedding_width, c.head_width, c.dtype, name='text_pool', parent=None
      ),
      nn.Dense(
        c.text_projection, dtype=c.dtype, name='text_projection', parent=None
      ),
    )

  def _unit(self, block, width, resample='none', attention=None):
    """A block by its name; `{}` in `attention` tells its two modules."""
    c = self.config
    parts = {
      'block': (
        block,
        ResidualBlock(width, c.groups, resample, c.dtype, parent=None),
      )
    }
    if attention is not None:
      sizes = width // c.head_width, c.head_width
      parts['text'] = (
        attention.format('text'),
        layers.TextKeysValues(*sizes, c.dtype, parent=None),
      )
      parts['attention'] = (
        attention.format('attention'),
        layers.FusedAttention(*sizes, c.groups, c.dtype, parent=None),
      )
    return execution_lib.Unit(compute=_residual, parts=parts)

  def _level(self, way, level, blocks):
    """The units of a level on the way down or up, without resampling."""
    c = self.config
    place = f'{way}_{c.grids[level]}'
    attends = c.grids[level] in c.attention
    return [
      self._unit(
        f'{place}_block_{i}',
        c.widths[level],
        attention=f'{place}_{{}}_{i}' if attends else None,
      )
      for i in range(blocks)
    ]

  def _down_units(self, level):
    c = self.config
    units = self._level('down', level, c.blocks[level])
    if level < len(c.widths) - 1:
      name = f'down_{c.grids[level]}_downsample'
      units.append(self._unit(name, c.widths[level], 'halve'))
    return units

  def _middle_units(self):
    width = self.config.widths[-1]
    return [
      self._unit('middle_block_0', width, attention='middle_{}'),
      self._unit('middle_block_1', width),
    ]

  def _up_units(self, level):
    return self._level('up', level, self.config.blocks[level] + 1)

  def _down(self, x, skips, *context):
    for level in range(len(self.config.widths)):
      x, outputs = self._run(self._down_units(level), x, context)
      skips = skips + outputs
    return x, skips

  def _up(self, x, skips, *context):
    c = self.config
    for level in reversed(range(len(c.widths))):
      units = self._up_units(level)
      near, skips = skips[-len(units) :], skips[: -len(units)]
      x, _ = self._run(units, x, context, near[::-1])
      if level > 0:
        name = f'up_{c.grids[level]}_upsample'
        units = [self._unit(name, c.widths[level], 'double')]
        x, _ = self._run(units, x, context)
    return x

  def _run(self, units, x, context, skips=None):
    """Units with their skips, and their keys and values where known."""
    emb, text, mask = context
    known = contexts.known(units, text)
    extras = [*zip(skips or [None] * len(units), known)]
    return execution_lib.run(self, units, x, (emb, text, mask), extras)
