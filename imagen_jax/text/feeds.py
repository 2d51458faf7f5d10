"""Where a training job's text comes from: encoded inline, or from a cache.

Both turn captions into the text columns of a batch, and into embeddings:

  Inline   tokens int32 [b, l], mask    the train step encodes them
  Cached   text bfloat16 [b, l, d], mask; or codes, scales, divisors, mask of
           an int8 cache, which the train step decodes
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from imagen_jax.text import cache, cache_reader, encoders


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inline:
  """The encoder runs within the train step."""

  encoder: encoders.TextEncoder

  def columns(self, captions: Sequence[str]) -> dict[str, np.ndarray]:
    """What a batch carries of its captions."""
    tokens, mask = self.encoder.tokenizer.encode(captions)
    return {'tokens': tokens, 'mask': mask}

  def encode(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """text float32 [b, l, d] and mask bool [b, l]."""
    return self.encoder.encode(captions)

  def fingerprint(self) -> dict:
    """All that decides an embedding, see `TextEncoder.fingerprint`."""
    return self.encoder.fingerprint()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cached:
  """Embeddings are read from disk; no encoder is in memory."""

  reader: cache_reader.Reader

  def columns(self, captions: Sequence[str]) -> dict[str, np.ndarray]:
    """What a batch carries of its captions."""
    return self.reader.columns(captions)

  def encode(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """text float32 [b, l, d] and mask bool [b, l]."""
    text, mask = self.reader.batch(captions)
    return text.astype(np.float32), mask

  def fingerprint(self) -> dict:
    """That of the encoder that made the cache."""
    return self.reader.manifest.encoder


def check_fits(
  stage: str, expected: tuple[int, int], found: tuple[int, int], where: str
) -> None:
  """Raises ValueError where (width, length) are not what the stage expects."""
  if expected != found:
    raise ValueError(
      f'stage {stage} expects text of width {expected[0]} and length '
      f'{expected[1]}, {where} gives {found[0]} and {found[1]}; change the '
      'stage or the text'
    )


def check_made_by(
  reader: cache_reader.Reader, encoder: encoders.TextEncoder, where: str
) -> None:
  """Raises ValueError where another encoder than that of `where` made it."""
  found = cache.difference(reader.manifest.encoder, encoder.fingerprint())
  if found:
    raise ValueError(
      f'cache {reader.directory} was made by another encoder than {where}: '
      f'{found}; make the cache again with --encoder={where}, or set text to '
      'the encoder that made it'
    )


def check_id(reader: cache_reader.Reader, encoder_id: str) -> None:
  """Raises ValueError where the id of the cache's encoder is another."""
  found = cache.encoder_id(reader.manifest.encoder)
  if found != encoder_id:
    raise ValueError(
      f'cache {reader.directory} was made by encoder {found}, encoder_id asks '
      f'for {encoder_id}; take the id that python -m imagen_jax.embed '
      '--inspect=DIR prints'
    )
