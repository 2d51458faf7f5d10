"""A text tower and a tower of pictures, to pre-train the former by contrast.

Captions [b, l] and pictures [b, r, r, 3] to vectors [b, p] of unit length,
alike where both show one scene (Radford et al. 2021). The tower of pictures
is small: it helps the captions and is then thrown away (Imagen, D.1, freezes
the text alone).
"""

import dataclasses
import math

import flax.linen as nn
import jax.numpy as jnp

from imagen_jax.models import clip_text, layers, transformer

_LARGEST_SCALE = 100.0  # of the logits; CLIP's own bound


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureConfig:
  """Size of the tower of pictures: two convolutions, then attention."""

  resolution: int = 64  # pixels
  fold: int = 4  # pixels of a side that become channels first
  emb_dim: int = 128
  num_heads: int = 4
  mlp_dim: int = 256  # hidden units of the feed-forward layer
  num_layers: int = 2
  activation: str = 'gelu'
  layer_norm_epsilon: float = 1e-5
  dtype: str = 'float32'  # of matrix products

  def __post_init__(self):
    names = ('resolution', 'fold', 'emb_dim', 'num_heads', 'mlp_dim')
    transformer.check_sizes(self, names)
    if self.resolution % (2 * self.fold):
      raise ValueError(
        f'resolution {self.resolution} is no multiple of 2 x fold = '
        f'{2 * self.fold}; change one of them'
      )


class PictureTower(nn.Module):
  """Pictures uint8 [b, r, r, 3] to vectors [b, features]."""

  config: PictureConfig
  features: int

  @nn.compact
  def __call__(self, pictures):
    c = self.config
    x = pictures.astype(jnp.float32) / 127.5 - 1.0
    x = layers.fold(x, c.fold)
    x = nn.gelu(layers.conv3x3(c.emb_dim // 2, c.dtype, 'conv_0')(x))
    x = nn.gelu(layers.conv3x3(c.emb_dim, c.dtype, 'conv_1', stride=2)(x))
    x = x.reshape(len(x), -1, c.emb_dim)  # [b, n, d]
    places = jnp.arange(x.shape[1])
    x += transformer.lookup(
      len(places), c.emb_dim, 'position_embedding', places
    )
    for i in range(c.num_layers):
      x = clip_text.Layer(c, name=f'layers_{i}')(x, 0.0)
    x = transformer.layer_norm(c.layer_norm_epsilon, 'final_norm')(x.mean(1))
    return nn.Dense(
      self.features, use_bias=False, dtype=c.dtype, name='projection'
    )(x)


class Contrastive(nn.Module):
  """Both towers: (text [b, p], pictures [b, p], scale of their product)."""

  text_config: clip_text.CLIPTextConfig
  picture_config: PictureConfig

  @nn.compact
  def __call__(self, tokens, mask, pictures):
    features = self.text_config.projection_dim
    text = clip_text.CLIPText(self.text_config, name='text')(tokens, mask)
    tower = PictureTower(self.picture_config, features, name='picture')
    scale = self.param(
      'logit_scale', nn.initializers.constant(math.log(1 / 0.07)), ()
    )
    scale = jnp.minimum(jnp.exp(scale), _LARGEST_SCALE)
    return _unit(text.projected), _unit(tower(pictures)), scale


def _unit(x):
  x = x.astype(jnp.float32)
  return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
