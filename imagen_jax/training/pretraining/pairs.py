"""CLIP's objective: which caption of the batch belongs to which picture.

tokens int32 [l], mask bool [l], picture uint8 [r, r, 3]   one scene
"""

import dataclasses

import jax
import jax.numpy as jnp

from imagen_jax.data.emoji_scenes import drawing
from imagen_jax.models import clip_text, contrastive
from imagen_jax.text import tokenizers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs:
  """Contrast within a batch (Radford et al. 2021, 2.3).

  The tower of pictures and both projections are thrown away.
  """

  model: clip_text.CLIPTextConfig
  pictures: contrastive.PictureConfig = contrastive.PictureConfig()
  length: int = 32  # tokens of a caption, the end of sequence included

  def __post_init__(self):
    if self.length > self.model.max_positions:
      raise ValueError(
        f'captions of {self.length} tokens, CLIP has '
        f'{self.model.max_positions} positions; change length or '
        'model.max_positions'
      )
    if self.model.eos_id != tokenizers.EOS:
      raise ValueError(
        f'model.eos_id is {self.model.eos_id}; captions end with '
        f'{tokenizers.EOS} here'
      )
    if self.model.projection_dim is None:
      raise ValueError(
        'model.projection_dim is None; give the features in which captions '
        'and pictures are compared'
      )

  @property
  def encoder(self) -> clip_text.CLIPTextConfig:
    """The config of what is kept."""
    return dataclasses.replace(self.model, projection_dim=None)

  def init(self, key):
    """Random parameters of both towers."""
    row = jnp.zeros((1, 2), jnp.int32)
    side = self.pictures.resolution
    picture = jnp.zeros((1, side, side, 3), jnp.uint8)
    return self._network().init(key, row, row, picture)['params']

  def kept(self, params):
    """The parameters of the text tower, without its projection."""
    return {k: v for k, v in params['text'].items() if k != 'projection'}

  def example(self, corpus, index, documents, tokenizer, rng):
    """One scene's caption and picture."""
    del documents, rng  # a scene needs neither
    scene, caption = corpus.pair(index)
    ids = tokenizer.ids(caption)[: self.length - 1] + [tokenizers.EOS]
    tokens, mask = tokenizers.pack([ids], self.length, tokenizers.PAD)
    picture = drawing.draw(scene, self.pictures.resolution)
    return {'tokens': tokens[0], 'mask': mask[0], 'picture': picture}

  def loss_and_accuracy(self, params, batch):
    """See `contrast`."""
    return contrast(
      *self._network().apply(
        {'params': params}, batch['tokens'], batch['mask'], batch['picture']
      )
    )

  def _network(self):
    return contrastive.Contrastive(self.model, self.pictures)


def contrast(text, picture, scale):
  """Mean cross-entropy of both choices, and share of captions found.

  text and picture are [b, p] of unit length, row i of each of one scene; the
  caption for each picture is chosen, and the picture for each caption (figure
  3 of Radford et al. 2021).
  """
  logits = scale * picture @ text.T  # [b pictures, b captions]
  captions = jnp.diagonal(jax.nn.log_softmax(logits, axis=1))
  pictures = jnp.diagonal(jax.nn.log_softmax(logits, axis=0))
  found = jnp.argmax(logits, axis=1) == jnp.arange(len(logits))
  return -jnp.mean(captions + pictures) / 2, jnp.mean(found)
