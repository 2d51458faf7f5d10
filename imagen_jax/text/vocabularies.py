"""seqio vocabularies as tokenizers, without importing seqio.

Whatever has `encode`, `decode`, `pad_id`, `eos_id` and `vocab_size` will do.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from imagen_jax.text import tokenizers

_PROBE = 'A red fox, 2 keys & 3 stars; naïve 日本 \N{FOX FACE}!'


def is_one(given) -> bool:
  """Does this look like a seqio vocabulary?"""
  names = ('encode', 'decode', 'pad_id', 'eos_id', 'vocab_size')
  return all(hasattr(given, name) for name in names)


class VocabularyTokenizer:
  """Fixed-length encoder of captions by a seqio vocabulary."""

  def __init__(self, vocabulary, max_length: int = 128):
    tokenizers.check_captions([], max_length)
    self.vocabulary = vocabulary
    self.max_length = max_length
    self.size = int(vocabulary.vocab_size)

  def ids(self, caption: str) -> list[int]:
    """Plain encoding: no end of sequence, no cut."""
    return [int(i) for i in self.vocabulary.encode(caption)]

  def encode(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 [b, max_length] and mask bool; a cut keeps the end."""
    tokenizers.check_captions(captions, self.max_length)
    end = [int(i) for i in [self.vocabulary.eos_id] if i is not None]
    kept = self.max_length - len(end)
    rows = [self.ids(caption)[:kept] + end for caption in captions]
    return tokenizers.pack(rows, self.max_length, int(self.vocabulary.pad_id))

  def truncated(self, captions: Sequence[str]) -> np.ndarray:
    """bool [b]: which captions are longer than max_length tokens."""
    tokenizers.check_captions(captions, self.max_length)
    return np.array([bool(self._tail(c)) for c in captions], bool)

  def cut(self, caption: str) -> str:
    """The tail of the caption that `encode` leaves out, '' if none."""
    tail = self._tail(caption)
    return self.vocabulary.decode(tail) if tail else ''

  def _tail(self, caption):
    kept = self.max_length - (self.vocabulary.eos_id is not None)
    return self.ids(caption)[kept:]

  def sha256(self) -> str:
    """Checksum of the SentencePiece model, or of what a probe becomes."""
    content = getattr(self.vocabulary, 'sp_model', None)
    if not isinstance(content, bytes):
      kind = type(self.vocabulary).__name__
      content = f'{kind} {self.size} {self.ids(_PROBE)}'.encode()
    return hashlib.sha256(content).hexdigest()
