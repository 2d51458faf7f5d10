"""CLIP's image tower (Radford et al. 2021): a transformer over patches.

Normalised pictures [b, r, r, 3] to vectors [b, p], for scores of pictures. A
token of its own stands before the patches, a norm before and behind all
layers; the layers are those of the text tower without its causal mask.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from imagen_jax.models import clip_text, transformer


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPImageConfig:
  """Size of an image tower."""

  resolution: int = 224  # pixels of a side
  patch: int  # pixels of a patch's side
  emb_dim: int
  num_heads: int
  mlp_dim: int  # hidden units of the feed-forward layer
  num_layers: int
  projection_dim: int  # of the result
  activation: str = 'quick_gelu'
  layer_norm_epsilon: float = 1e-5
  dtype: str = 'float32'  # of matrix products

  def __post_init__(self):
    names = ('patch', 'resolution', 'emb_dim', 'num_heads', 'projection_dim')
    transformer.check_sizes(self, (*names, 'mlp_dim'))
    transformer.check_layers(self)
    if self.resolution % self.patch:
      raise ValueError(
        f'resolution {self.resolution} is no multiple of the patch of '
        f'{self.patch} pixels; change one of them'
      )

  @property
  def tokens(self) -> int:
    """Patches, and the one before them."""
    return (self.resolution // self.patch) ** 2 + 1


# The image tower of CLIP ViT-L/14, with which follow-ups score pictures.
LARGE = CLIPImageConfig(
  patch=14,
  emb_dim=1024,
  num_heads=16,
  mlp_dim=4096,
  num_layers=24,
  projection_dim=768,
)


class Output(NamedTuple):
  """What an image tower knows of its pictures, float32."""

  last: jax.Array  # [b, tokens, d] after the last layer, no norm
  projected: jax.Array  # [b, p] not normalised


class CLIPImage(nn.Module):
  """Normalised pictures [b, r, r, 3] to an `Output`."""

  config: CLIPImageConfig

  @nn.compact
  def __call__(self, x):
    c = self.config
    if x.shape[1:] != (c.resolution, c.resolution, 3):
      raise ValueError(
        f'pictures are {x.shape[1:]}, the tower takes '
        f'{(c.resolution, c.resolution, 3)}; resize them'
      )
    x = nn.Conv(
      c.emb_dim,
      (c.patch, c.patch),
      strides=c.patch,
      padding='VALID',
      use_bias=False,
      dtype=c.dtype,
      name='patch_embedding',
    )(x)
    x = x.reshape(len(x), -1, c.emb_dim).astype(jnp.float32)  # [b, n, d]
    first = self.param(
      'class_embedding', nn.initializers.normal(0.02), (c.emb_dim,)
    )
    first = jnp.broadcast_to(first, (len(x), 1, c.emb_dim))
    x = jnp.concatenate([first, x], axis=1)
    places = jnp.arange(c.tokens)
    x += transformer.lookup(c.tokens, c.emb_dim, 'position_embedding', places)
    x = transformer.layer_norm(c.layer_norm_epsilon, 'pre_norm')(x)
    for i in range(c.num_layers):
      x = clip_text.Layer(c, name=f'layers_{i}')(x, 0.0)
    pooled = transformer.layer_norm(c.layer_norm_epsilon, 'final_norm')(x[:, 0])
    projected = nn.Dense(
      c.projection_dim, use_bias=False, dtype=c.dtype, name='projection'
    )(pooled)
    return Output(x, projected.astype(jnp.float32))


def param_shapes(config: CLIPImageConfig) -> dict:
  """A tree of the shape of every parameter."""
  side = config.resolution
  pictures = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  variables = jax.eval_shape(
    CLIPImage(config).init, jax.random.key(0), pictures
  )
  return jax.tree.map(lambda x: x.shape, variables['params'])
