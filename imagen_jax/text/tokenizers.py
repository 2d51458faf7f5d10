"""SentencePiece tokenizers with T5's conventions.

Captions -> tokens int32 [b, l] and mask bool [b, l]: pad 0, end of sequence
1, unknown 2, no beginning of sequence. The sentinels of span corruption take
the last rows of the embedding, the first sentinel the very last (T5).
"""

import hashlib
import io
import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import sentencepiece

PAD = 0
EOS = 1
UNKNOWN = 2
SENTINELS = 100  # rows kept for them above the pieces


class Tokenizer(Protocol):
  """What an encoder asks of a tokenizer."""

  max_length: int  # tokens per caption, special ones included

  def encode(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 [b, l] and mask bool [b, l], true at tokens."""

  def truncated(self, captions: Sequence[str]) -> np.ndarray:
    """bool [b]: which captions are longer than max_length tokens."""

  def cut(self, caption: str) -> str:
    """The tail that `encode` leaves out, as the tokens spell it."""

  def sha256(self) -> str:
    """Checksum of the files that decide the tokens."""


def check_captions(captions: Sequence[str], max_length: int) -> None:
  """Raises ValueError where no list of captions can be encoded."""
  if isinstance(captions, str):
    raise ValueError(f'captions is the string {captions!r}; give a list')
  if max_length < 1:
    raise ValueError(f'max_length is {max_length}; it must be at least 1')


def pack(
  rows: Sequence[Sequence[int]], max_length: int, pad: int
) -> tuple[np.ndarray, np.ndarray]:
  """Rows of at most max_length ids -> tokens int32 [b, l], mask bool."""
  tokens = np.full((len(rows), max_length), pad, np.int32)
  mask = np.zeros(tokens.shape, bool)
  for i, ids in enumerate(rows):
    tokens[i, : len(ids)] = ids
    mask[i, : len(ids)] = True
  return tokens, mask


class SentencePieceTokenizer:
  """Fixed-length encoder of captions by a SentencePiece model file."""

  def __init__(
    self,
    model: str | pathlib.Path | bytes,
    max_length: int = 128,
    vocab_size: int | None = None,
  ):
    """Reads the model.

    Args:
      model: SentencePiece model (unigram or BPE): path or content.
      max_length: tokens per caption, the end of sequence included.
      vocab_size: rows of the embedding that the tokens index; None = pieces
        and sentinels, rounded up to 128 rows as T5 does.
    """
    check_captions([], max_length)
    path = 'the SentencePiece model'
    if not isinstance(model, bytes):
      path = pathlib.Path(model)
      if not path.is_file():
        raise ValueError(f'{path} does not exist: give a SentencePiece model')
      model = path.read_bytes()
    self.max_length = max_length
    self.model_proto = model
    try:
      self._model = sentencepiece.SentencePieceProcessor(
        model_proto=self.model_proto
      )
    except RuntimeError as error:
      raise ValueError(f'{path} is no SentencePiece model: {error}') from error
    # Some models (mT5's) hold the sentinels among their pieces.
    inside = self._model.piece_to_id('\u2581<extra_id_0>') != UNKNOWN
    needed = self.size = self.pieces + (0 if inside else SENTINELS)
    self.vocab_size = vocab_size or -(-needed // 128) * 128
    if self.vocab_size < needed:
      raise ValueError(
        f'{path} has {self.pieces} pieces, with {SENTINELS} sentinels '
        f'{needed}; the embedding has {self.vocab_size} rows. Take the '
        'tokenizer that the encoder was trained with'
      )

  @property
  def pieces(self) -> int:
    return self._model.get_piece_size()

  def sha256(self) -> str:
    """Checksum of the file that decides the tokens."""
    return hashlib.sha256(self.model_proto).hexdigest()

  def ids(self, caption: str) -> list[int]:
    """Plain encoding: no end of sequence, no cut."""
    return self._model.encode(caption)

  def encode(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 [b, max_length] and mask bool; a cut keeps the end."""
    check_captions(captions, self.max_length)
    rows = self._model.encode(list(captions))
    rows = [ids[: self.max_length - 1] + [EOS] for ids in rows]
    return pack(rows, self.max_length, PAD)

  def truncated(self, captions: Sequence[str]) -> np.ndarray:
    """bool [b]: which captions are longer than max_length tokens."""
    check_captions(captions, self.max_length)
    rows = self._model.encode(list(captions))
    return np.array([len(ids) >= self.max_length for ids in rows], bool)

  def decode(self, tokens: Sequence[int]) -> str:
    """Text of the tokens up to the end of sequence, sentinels left out."""
    ids = []
    for token in map(int, tokens):
      if token == EOS:
        break
      if token != PAD and token < self.pieces:
        ids.append(token)
    return self._model.decode(ids)

  def cut(self, caption: str) -> str:
    """The tail of the caption that `encode` leaves out, '' if none.

    As the tokens spell it (normalised): the offsets into the caption have
    another interface in every version of the library. A character whose bytes
    are tokens, and that `encode` cuts through, belongs to the tail.
    """
    ids = self.ids(caption)
    start = self.max_length - 1
    while 0 < start < len(ids) and self._continues(ids[start]):
      start -= 1
    return self._model.decode(ids[start:])

  def _continues(self, token):
    """Whether a token is a byte of a character that began before it."""
    if not self._model.is_byte(token):
      return False
    byte = int(self._model.id_to_piece(token)[1:-1], 16)  # '<0x9F>'
    return byte & 0xC0 == 0x80  # UTF-8's mark

  def sentinel(self, index: int) -> int:
    """Row of the sentinel `<extra_id_index>`."""
    if not 0 <= index < SENTINELS:
      raise ValueError(f'sentinel {index} asked for, there are {SENTINELS}')
    return self.vocab_size - 1 - index


def train(lines: Sequence[str], model_path: str, pieces: int) -> None:
  """Trains a unigram model of at most `pieces` pieces on the lines.

  T5's conventions, but for two that suit a tiny corpus: bytes stand in for
  characters it lacks, and capitals are folded. The limit is soft, since a
  small corpus has fewer pieces to offer.
  """
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(lines),
    model_writer=model,
    model_type='unigram',
    vocab_size=pieces,
    hard_vocab_limit=False,
    byte_fallback=True,
    character_coverage=1.0,
    normalization_rule_name='nmt_nfkc_cf',
    pad_id=PAD,
    eos_id=EOS,
    unk_id=UNKNOWN,
    bos_id=-1,
    num_threads=1,  # the same model every time
    minloglevel=1,
  )
  pathlib.Path(model_path).write_bytes(model.getvalue())
