"""The scene judge: a small network that finds and names the objects of a scene.

Pictures uint8 [b, r, r, 3] -> `Reading`, numbers for each cell of a grid of
r / fold cells a side. Not in the paper. Objects are told by the cell that their
centre lies in (CenterNet, Zhou et al. 2019). `features`, what scene-FID
compares, are how much each channel of the first grid varies over the picture.
Later grids have passed group norm, which divides a picture by its own contrast:
means over the last one hardly feel blur. The judge also learns how blurred and
how noisy a picture is.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from imagen_jax.config import checks
from imagen_jax.models import layers

_RARE = -4.0  # logit of a centre at the start: most cells hold none


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeConfig:
  """Size of a judge."""

  nouns: int  # that it tells apart
  colours: int  # with the natural one, the first
  backgrounds: int
  resolution: int = 64  # pixels of a side
  fold: int = 4  # pixels of a cell's side
  width: int = 64  # channels, and features
  blocks: int = 3
  groups: int = 8  # of group norm

  def __post_init__(self):
    checks.check(self, 'JudgeConfig')
    for name in ('nouns', 'colours', 'backgrounds', 'fold', 'groups'):
      if getattr(self, name) < 1:
        raise ValueError(f'JudgeConfig.{name} must be at least 1')
    if self.resolution % self.fold or self.width % self.groups:
      raise ValueError(
        f'JudgeConfig: fold={self.fold} must divide resolution='
        f'{self.resolution}, and groups={self.groups} width={self.width}'
      )

  @property
  def cells(self) -> int:
    """Of a side of the grid."""
    return self.resolution // self.fold


class Reading(NamedTuple):
  """What the judge says of pictures, float32; g cells a side."""

  features: jax.Array  # [b, width] deviations over the first grid
  centres: jax.Array  # [b, g, g] logits: a centre lies here
  nouns: jax.Array  # [b, g, g, nouns] logits, of what has its centre here
  colours: jax.Array  # [b, g, g, colours] logits
  boxes: jax.Array  # [b, g, g, 3] centre in the cell (x, y), side; cells
  backgrounds: jax.Array  # [b, backgrounds] logits
  harm: jax.Array  # [b, 2] blur, pixels; noise, tenths of all values


class Block(nn.Module):
  """Two 3x3 convolutions around a residual."""

  config: JudgeConfig

  @nn.compact
  def __call__(self, x):
    c = self.config
    h = x
    for name in ('first', 'second'):
      h = nn.swish(nn.GroupNorm(c.groups, name=f'{name}_norm')(h))
      h = nn.Conv(c.width, (3, 3), name=f'{name}_conv')(h)
    return x + h


class Judge(nn.Module):
  """Network of a `JudgeConfig`."""

  config: JudgeConfig

  @nn.compact
  def __call__(self, pictures) -> Reading:
    c = self.config
    x = pictures.astype(jnp.float32) / 127.5 - 1.0
    x = layers.fold(x, c.fold)  # [b, g, g, 3 fold^2]
    x = nn.Conv(c.width, (3, 3), name='input_conv')(x)
    features = x.std(axis=(1, 2))  # [b, width]
    for number in range(c.blocks):
      x = Block(c, name=f'block_{number}')(x)
    x = nn.swish(nn.GroupNorm(c.groups, name='output_norm')(x))
    means = x.mean(axis=(1, 2))  # [b, width]

    def head(name, size, x, bias=0.0):
      init = nn.initializers.constant(bias)
      return nn.Dense(size, bias_init=init, name=f'output_{name}')(x)

    return Reading(
      features=features,
      centres=head('centres', 1, x, _RARE)[..., 0],
      nouns=head('nouns', c.nouns, x),
      colours=head('colours', c.colours, x),
      boxes=head('boxes', 3, x),
      backgrounds=head('backgrounds', c.backgrounds, means),
      harm=head('harm', 2, means),
    )


def init(config: JudgeConfig, key) -> dict:
  """Random parameters."""
  side = config.resolution
  picture = jnp.zeros((1, side, side, 3), jnp.uint8)
  return Judge(config).init(key, picture)['params']
