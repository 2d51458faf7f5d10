"""T5's objective: hidden spans of a line are written by a decoder.

inputs int32 [l], targets int32 [t]   one line, by `text.corruption`
"""

import dataclasses

import jax.numpy as jnp

from imagen_jax.models import t5
from imagen_jax.pretraining import words
from imagen_jax.text import corruption as corruption_lib
from imagen_jax.text import tokenizers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spans:
  """Span corruption (Raffel et al. 2020, 3.1.4); the decoder is thrown away."""

  model: t5.T5Config
  corruption: corruption_lib.SpanCorruption = corruption_lib.SpanCorruption()

  @property
  def encoder(self) -> t5.T5Config:
    """The config of what is kept."""
    return dataclasses.replace(self.model, num_decoder_layers=0)

  def init(self, key):
    """Random parameters of the encoder and decoder."""
    row = jnp.zeros((1, 2), jnp.int32)
    return t5.T5(self.model).init(key, row, row, row)['params']

  def kept(self, params):
    """The parameters of the encoder."""
    return {name: params[name] for name in ('token_embedder', 'encoder')}

  def example(self, corpus, index, documents, tokenizer, rng):
    """One corrupted line."""
    ids = tokenizer.ids(corpus.line(index, documents))
    inputs, targets = self.corruption(ids, tokenizer, rng)
    return {'inputs': inputs, 'targets': targets}

  def loss_and_accuracy(self, params, batch):
    """Of the targets, read along with their own beginning."""
    return loss_and_accuracy(t5.T5(self.model).apply, params, batch)


def loss_and_accuracy(apply, params, batch):
  """The decoder is given the targets one late (teacher forcing)."""
  targets = batch['targets']  # [b, t]
  shifted = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
  mask = batch['inputs'] != tokenizers.PAD
  logits = apply({'params': params}, batch['inputs'], mask, shifted)
  return words.loss_and_accuracy(logits, targets)
