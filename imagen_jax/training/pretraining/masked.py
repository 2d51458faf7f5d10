"""BERT's objective: hidden tokens of a line are guessed from both sides.

inputs int32 [l], targets int32 [l]   one line

Masked tokens (Devlin et al. 2019, 3.1):

  a red fox at sunset   ->   a <0> fox at sunset   asked: red

The first sentinel stands for what is hidden: it is a token of its own, and
nothing else needs it.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from imagen_jax.models import bert
from imagen_jax.text import tokenizers
from imagen_jax.training.pretraining import words


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenMasking:
  """How much is asked, and the length that lines are padded to.

  Of the tokens asked 80% are hidden, 10% give way to a random one and 10%
  stay, so that the encoder cannot rely on seeing the mask.
  """

  share: float = 0.15  # of the tokens, asked
  length: int = 128  # tokens, the end of sequence included

  def __call__(self, ids, tokenizer, rng: np.random.Generator):
    """Token ids -> (inputs [length], targets [length], 0 = not asked)."""
    ids = np.array(ids[: self.length - 1], np.int32)
    inputs = np.full(self.length, tokenizers.PAD, np.int32)
    inputs[: len(ids)] = ids
    inputs[len(ids)] = tokenizers.EOS
    targets = np.full(self.length, tokenizers.PAD, np.int32)
    if not len(ids):
      return inputs, targets
    count = int(np.clip(round(len(ids) * self.share), 1, len(ids)))
    asked = rng.permutation(len(ids))[:count]
    targets[asked] = ids[asked]
    fate = rng.random(count)
    inputs[asked[fate < 0.8]] = tokenizer.sentinel(0)
    random = asked[(0.8 <= fate) & (fate < 0.9)]
    inputs[random] = rng.integers(
      tokenizers.UNKNOWN + 1, tokenizer.pieces, len(random)
    )
    return inputs, targets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masked:
  """Masked tokens (Devlin et al. 2019, 3.1); the head is thrown away.

  Lines are single: nothing is asked about the order of two sentences.
  """

  model: bert.BERTConfig
  masking: TokenMasking = TokenMasking()

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
