"""T5's objective: hidden spans of a line are written by a decoder.

inputs int32 [l], targets int32 [t]   one line

Span corruption (Raffel et al. 2020, 3.1.4): random spans of the input give way
to one sentinel each; the target names each sentinel and what it stands for:

  a red fox to the left of a key   ->   a <0> fox to <1> of a key
                                        <0> red <1> the left
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from imagen_jax.models import t5
from imagen_jax.text import tokenizers
from imagen_jax.training.pretraining import words


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanCorruption:
  """How much is hidden, and the lengths that lines are padded to."""

  density: float = 0.15  # share of tokens hidden
  mean_span: float = 3.0  # tokens
  input_length: int = 512  # tokens, the end of sequence included
  target_length: int = 114  # likewise

  def __call__(self, ids, tokenizer, rng: np.random.Generator):
    """Token ids -> (inputs [input_length], targets [target_length])."""
    ids = ids[: self.input_length - 1]
    inputs, targets, previous, spans = [], [], False, 0
    for token, hidden in zip(ids, self.mask(len(ids), rng)):
      if hidden and not previous:
        inputs.append(tokenizer.sentinel(spans))
        targets.append(tokenizer.sentinel(spans))
        spans += 1
      (targets if hidden else inputs).append(token)
      previous = hidden
    return (
      _pad(inputs, self.input_length),
      _pad(targets, self.target_length),
    )

  def mask(self, length: int, rng: np.random.Generator) -> np.ndarray:
    """Random mask bool [length], True = hidden.

    As in T5, hidden and shown spans alternate and have exact totals, and
    the first is shown; unlike there, half of the masks are reversed, for the
    first word of a caption tells how many objects there are.
    """
    if length < 2:
      return np.zeros(length, bool)
    hidden = int(np.clip(round(length * self.density), 1, length - 1))
    spans = int(np.clip(round(hidden / self.mean_span), 1, length - hidden))
    spans = min(spans, hidden)
    lengths = np.stack(
      [_partition(length - hidden, spans, rng), _partition(hidden, spans, rng)],
      axis=1,
    ).ravel()
    mask = np.repeat(np.arange(2 * spans) % 2 == 1, lengths)
    return mask[::-1] if rng.random() < 0.5 else mask


def _partition(total, parts, rng):
  """`parts` random positive integers whose sum is `total`."""
  cuts = rng.permutation(total - 1)[: parts - 1] + 1
  return np.diff(np.concatenate([[0], np.sort(cuts), [total]]))


def _pad(ids, length):
  row = np.full(length, tokenizers.PAD, np.int32)
  ids = ids[: length - 1] + [tokenizers.EOS]
  row[: len(ids)] = ids
  return row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spans:
  """Span corruption (Raffel et al. 2020, 3.1.4); the decoder is thrown away."""

  model: t5.T5Config
  corruption: SpanCorruption = SpanCorruption()

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
