"""The U-Net of DeepFloyd IF, whose published weights draw the world.

IF (2023) follows Imagen's base model (sec. 2.5, appendix F.1) and uses that
same layout for its super-resolution stage, with the low-resolution picture and
its noise level as further inputs. What differs from `unet`: integer diffusion
time in the place of logsnr, erf GELU, biases on all projections, a group norm
on the text over its tokens, a pooled text that attends to itself too, a
residual sum that is divided, and beside eps three channels of variance (Nichol
and Dhariwal 2021, eq. 15). All tokens count, padding as well.

  z [b, h, w, 3], logsnr [b], text [b, l, d], super-resolution: low_res
  [b, h, w, 3] and aug_logsnr [b] -> [b, h, w, 6], eps and variance

Submodules are named as those of `unet`, by the grid they work on when the input
has the nominal resolution: `down_64_block_0`, `up_8_upsample`.
"""

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from imagen_jax.models import contexts, if_layers, layers
from imagen_jax.models import execution as execution_lib

COLOURS = 3  # of pictures; the network's output has as many again


@dataclasses.dataclass(frozen=True, kw_only=True)
class IFUNetConfig:
  """Sizes of an IF U-Net; the defaults are the published stage I, XL."""

  resolution: int = 64  # pixels, nominal: it names submodules
  widths: tuple[int, ...] = (704, 1408, 2112, 2816)  # channels of each level
  blocks: tuple[int, ...] = (3, 3, 3, 3)  # residual blocks down; up has 1 more
  attention: tuple[int, ...] = (32, 16, 8)  # grids with text-and-self attention
  head_width: int = 64  # channels per attention head
  embedding_width: int = 2816  # of time, level and pooled text
  text_width: int = 4096  # of the text encoder
  text_projection: int = 2816  # width shared by all text keys and values
  pool_heads: int = 64  # of the attention that pools the text
  groups: int = 32  # of group norm
  low_res: bool = False  # conditioned on a low-resolution picture and its level
  divisor: float = 1.0  # of residual sums; the published stage II: 1 / 0.7071
  dtype: str = 'float32'  # compute type; parameters are float32

  def __post_init__(self):
    layers.check_sizes(self)
    if unknown := set(self.attention) - set(self.grids):
      raise ValueError(
        f'attention at {sorted(unknown)} cannot be: the grids of '
        f'{self.resolution} px are {self.grids}'
      )
    for grid, width in zip(self.grids, self.widths):
      # The middle, on the last grid, attends whatever `attention` says.
      attends = grid in self.attention or grid == self.grids[-1]
      if attends and width % self.head_width:
        raise ValueError(
          f'width {width} of grid {grid} is no multiple of '
          f'head_width={self.head_width}; change one of them'
        )
    for name, parts in (
      ('text_width', self.pool_heads),
      ('text_projection', if_layers.TEXT_GROUPS),
    ):
      if getattr(self, name) % parts:
        raise ValueError(
          f'{name} is {getattr(self, name)}; it must be a multiple of {parts}'
        )
    if self.widths[0] % 2:
      raise ValueError(
        f'widths begin with {self.widths[0]}; the sinusoids of time are as '
        'many and come in pairs: give an even number'
      )
    if not 0 < self.divisor < math.inf:
      raise ValueError(f'divisor is {self.divisor}; it must be above 0')

  @property
  def grids(self):
    """Rows of positions at each level, finest first."""
    return tuple(self.resolution // 2**i for i in range(len(self.widths)))

  @property
  def multiple(self):
    """What height and width of a picture must be a multiple of."""
    return 2 ** (len(self.widths) - 1)


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


class IFUNet(nn.Module):
  """Noisy picture, diffusion time and text to eps and its variance."""

  config: IFUNetConfig
  execution: execution_lib.Execution = execution_lib.PLAIN
  # logsnr -> diffusion time, 0 (clean) to 999; None = they are times already.
  time: Callable | None = None

  @nn.compact
  def __call__(self, z, logsnr, text, mask=None, low_res=None, aug_logsnr=None):
    """Predicts eps, and how the variance lies between its bounds.

    Args:
      z: [b, h, w, 3].
      logsnr: [b].
      text: [b, l, d], or what `context` makes of it.
      mask: [b, l], which tokens the attention sees; None = all of them, as the
        published weights were trained. Norms and pooling see all of them.
      low_res: [b, h, w, 3], enlarged and noised.
      aug_logsnr: [b], its noise.

    Returns:
      [b, h, w, 6] float32.
    """
    c = self.config
    self._check(z, low_res, aug_logsnr)
    emb = self._time('time_embedding', logsnr)
    if isinstance(text, contexts.TextContext):
      emb += text.pooled
      tokens = next(iter(text.keys_values.values()))[0]
    else:
      tokens = text = text.astype(c.dtype)
      pool, project = (module.clone(parent=self) for module in self._text())
      emb += pool(text)
      text = project(text)
    mask = if_layers.every(tokens) if mask is None else mask
    x = z.astype(c.dtype)
    if c.low_res:
      emb += self._time('level_embedding', aug_logsnr)
      x = jnp.concatenate([x, low_res.astype(c.dtype)], axis=-1)
    context = if_layers.gelu(emb), text, mask

    x = layers.conv3x3(c.widths[0], c.dtype, 'input_conv')(x)
    x, skips = self._down(x, [x], context)
    x, _ = self._run(self._middle_units(), x, context)
    x = self._up(x, skips, context)
    x = if_layers.gelu(
      if_layers.group_norm(c.groups, c.dtype, 'output_norm')(x)
    )
    # The output starts at zero, and is float32 whatever the compute type.
    return layers.conv3x3(2 * COLOURS, 'float32', 'output_conv', zeros=True)(x)

  def context(self, text, mask=None):
    """All that depends on the text alone: [b, l, d] -> TextContext."""
    del mask  # as in the call: neither norms nor pooling know of it
    text = text.astype(self.config.dtype)
    pool, project = self._text()
    levels = range(len(self.config.widths))
    units = [u for level in levels for u in self._down_units(level)]
    units += self._middle_units()
    units += [u for level in levels for u in self._level('up', level)]
    projected = contexts.apply(self, project, text)
    return contexts.TextContext(
      pooled=contexts.apply(self, pool, text),
      keys_values=contexts.keys_values(self, units, projected),
    )

  def _check(self, z, low_res, aug_logsnr):
    c = self.config
    given = low_res is not None, aug_logsnr is not None
    if given != (c.low_res, c.low_res):
      raise ValueError(
        f'low_res and aug_logsnr given: {given}, but the configuration says '
        f'low_res={c.low_res}; pass both exactly when it is True'
      )
    layers.check_divides(z, c.multiple)

  def _time(self, name, logsnr):
    c = self.config
    embed = if_layers.TimeEmbedding(
      c.widths[0], c.embedding_width, c.dtype, name=name
    )
    return embed(logsnr if self.time is None else self.time(logsnr))

  def _text(self):
    """The modules that read the text first: pooling and projection."""
    c = self.config
    return (
      if_layers.TextPool(
        c.embedding_width, c.pool_heads, c.dtype, name='text_pool', parent=None
      ),
      nn.Dense(
        c.text_projection, dtype=c.dtype, name='text_projection', parent=None
      ),
    )

  def _unit(self, block, width, resample='none', attention=None):
    """A block by its name; `{}` in `attention` tells its two modules."""
    c = self.config
    module = if_layers.ResidualBlock(
      width, c.groups, c.divisor, resample, c.dtype, parent=None
    )
    parts = {'block': (block, module)}
    if attention is not None:
      sizes = width // c.head_width, c.head_width
      parts['text'] = (
        attention.format('text'),
        if_layers.TextKeysValues(*sizes, c.dtype, parent=None),
      )
      parts['attention'] = (
        attention.format('attention'),
        if_layers.Attention(*sizes, c.groups, c.dtype, parent=None),
      )
    return execution_lib.Unit(compute=_residual, parts=parts)

  def _level(self, way, level):
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
      for i in range(c.blocks[level] + (way == 'up'))
    ]

  def _down_units(self, level):
    c = self.config
    units = self._level('down', level)
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

  def _down(self, x, skips, context):
    for level in range(len(self.config.widths)):
      x, outputs = self._run(self._down_units(level), x, context)
      skips = skips + outputs
    return x, skips

  def _up(self, x, skips, context):
    c = self.config
    for level in reversed(range(len(c.widths))):
      units = self._level('up', level)
      near, skips = skips[-len(units) :], skips[: -len(units)]
      x, _ = self._run(units, x, context, near[::-1])
      if level > 0:
        name = f'up_{c.grids[level]}_upsample'
        units = [self._unit(name, c.widths[level], 'double')]
        x, _ = self._run(units, x, context)
    return x

  def _run(self, units, x, context, skips=None):
    """Units with their skips, and their keys and values where known."""
    known = contexts.known(units, context[1])
    extras = [*zip(skips or [None] * len(units), known)]
    return execution_lib.run(self, units, x, context, extras)
