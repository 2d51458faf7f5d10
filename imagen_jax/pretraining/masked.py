"""BERT's objective: hidden tokens of a line are guessed from both sides.

inputs int32 [l], targets int32 [l]   one line, by `text.masking`
"""

import dataclasses

import jax.numpy as jnp

from imagen_jax.models import bert
from imagen_jax.pretraining import words
from imagen_jax.text import masking as masking_lib
from imagen_jax.text import tokenizers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masked:
  """Masked tokens (Devlin et al. 2019, 3.1); the head is thrown away.

  Lines are single: nothing is asked about the order of two sentences.
  """

  model: bert.BERTConfig
  masking: masking_lib.TokenMasking = masking_lib.TokenMasking()

  def __post_init__(self):
    if self.masking.length > self.model.max_positions:
      raise ValueError(
        f'lines of {self.masking.length} tokens, BERT has '
        f'{self.model.max_positions} positions; change masking.length or '
        'model.max_positions'
      )
    if self.model.pooler:
      raise ValueError('model.pooler is True, but nothing here trains it')

  @property
  def encoder(self) -> bert.BERTConfig:
    """The config of what is kept."""
    return self.model

  def init(self, key):
    """Random parameters of the encoder and its head."""
    row = jnp.zeros((1, 2), jnp.int32)
    return bert.MaskedLM(self.model).init(key, row, row)['params']

  def kept(self, params):
    """The parameters of the encoder."""
    return params['encoder']

  def example(self, corpus, index, documents, tokenizer, rng):
    """One line with tokens hidden."""
    ids = tokenizer.ids(corpus.line(index, documents))
    inputs, targets = self.masking(ids, tokenizer, rng)
    return {'inputs': inputs, 'targets': targets}

  def loss_and_accuracy(self, params, batch):
    """Of the hidden tokens alone."""
    mask = batch['inputs'] != tokenizers.PAD
    network = bert.MaskedLM(self.model)
    logits = network.apply({'params': params}, batch['inputs'], mask)
    return words.loss_and_accuracy(logits, batch['targets'])
