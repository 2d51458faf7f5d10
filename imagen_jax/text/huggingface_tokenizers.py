"""CLIP's BPE and BERT's WordPiece, by the `tokenizers` library.

From a tokenizer.json, or from the vocabulary files of before it. The library
knows the special tokens and where they go; a caption that spells one, such as
"</s>" or "[SEP]", is text like any other.
"""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from imagen_jax.files import json_files
from imagen_jax.text import tokenizer_json
from imagen_jax.text import tokenizers as base

# CLIP splits contractions, runs of letters, single digits, other signs.
_CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_CLIP_START, _CLIP_END = '<|startoftext|>', '<|endoftext|>'
_PADS = ('[PAD]', '<pad>')


class HuggingFaceTokenizer:
  """Fixed-length encoder of captions by a `tokenizers.Tokenizer`."""

  def __init__(self, tokenizer, max_length: int, content: bytes):
    """Takes a tokenizer.

    Args:
      tokenizer: a `tokenizers.Tokenizer` that adds the special tokens.
      max_length: tokens per caption, special ones included.
      content: the files it was made from, for the checksum.
    """
    base.check_captions([], max_length)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a caption cannot spell them
    special = tokenizer.encode('').ids
    if len(special) >= max_length:
      raise ValueError(
        f'max_length is {max_length}, the tokenizer adds {len(special)} '
        'special tokens; give more'
      )
    self.json = tokenizer.to_str()  # without the limit, which varies
    self.max_length = max_length
    self.size = tokenizer.get_vocab_size(with_added_tokens=True)
    pads = [tokenizer.token_to_id(name) for name in _PADS]
    tokenizer = _deaf_to_specials(tokenizer, self.json)
    tokenizer.enable_truncation(max_length)
    # CLIP has no token of its own for padding: it repeats the end.
    ends = special[-1:] or [0]
    self.pad = next((i for i in pads if i is not None), ends[0])
    self._tokenizer = tokenizer
    self._content = content

  def sha256(self) -> str:
    """Checksum of the files that decide the tokens."""
    return hashlib.sha256(self._content).hexdigest()

  def encode(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 [b, max_length] and mask bool; a cut keeps the end."""
    rows = [encoding.ids for encoding in self._encodings(captions)]
    return base.pack(rows, self.max_length, self.pad)

  def truncated(self, captions: Sequence[str]) -> np.ndarray:
    """bool [b]: which captions are longer than max_length tokens."""
    rows = self._encodings(captions)
    return np.array([bool(row.overflowing) for row in rows], bool)

  def cut(self, caption: str) -> str:
    """The tail of the caption that `encode` leaves out, '' if none."""
    (encoding,) = self._encodings([caption])
    if not encoding.overflowing:
      return ''
    start = max(end for _, end in encoding.offsets)
    return caption[start:]

  def _encodings(self, captions):
    base.check_captions(captions, self.max_length)
    try:
      return self._tokenizer.encode_batch(list(captions))
    except BaseException as error:
      raise _told(error, 'a caption cannot be cut into tokens') from error


def _deaf_to_specials(tokenizer, text):
  """The same, but that captions cannot spell pieces that are special."""
  fields = tokenizer_json.without_specials(json.loads(text))
  if fields is None:
    return tokenizer
  deaf = type(tokenizer).from_str(json.dumps(fields))
  deaf.encode_special_tokens = True
  return deaf


def _told(error, what, remedy='take another tokenizer'):
  """What the library raised as a ValueError; what is not of it as it is.

  It raises bare Exceptions, and panics, which are none.
  """
  panic = type(error).__name__ == 'PanicException'
  if not panic and not isinstance(error, Exception):
    return error
  text = ' '.join(str(error).split())[:200]
  return ValueError(f'{what} ({text}); {remedy}')


def from_json(content: bytes, max_length: int, where: str):
  """The tokenizer of a tokenizer.json."""
  library = _library(where)
  fields = json_files.parse(content, where)
  remedy = 'copy it again, or pip install -U tokenizers'
  if not isinstance(fields, dict):
    raise ValueError(f'{where} holds no object; {remedy}')
  tokenizer_json.check_growth(fields, where)
  try:
    tokenizer = library.Tokenizer.from_buffer(content)
    tokenizer.encode('a')  # what is not there is often missed here alone
  except BaseException as error:
    raise _told(error, f'{where} is damaged or too new', remedy) from error
  return HuggingFaceTokenizer(tokenizer, max_length, content)


def clip(vocab: bytes, merges: bytes, max_length: int, where: str):
  """CLIP's byte-level BPE from vocab.json and merges.txt."""
  library = _library(where)
  ids = json_files.parse(vocab, f'{where}/vocab.json')
  lines = merges.decode('utf-8').splitlines()
  pairs = [tuple(line.split()) for line in lines if line[:8] != '#version']
  missing = [name for name in (_CLIP_START, _CLIP_END) if name not in ids]
  if missing:
    raise ValueError(f'{where}/vocab.json has no {missing}: not of CLIP')
  try:
    model = library.models.BPE(
      vocab=ids,
      merges=[pair for pair in pairs if pair],
      unk_token=_CLIP_END,
      end_of_word_suffix='</w>',
    )
  except Exception as error:  # the library raises bare Exceptions
    raise ValueError(
      f'{where}: vocab.json and merges.txt do not fit together ({error}); copy '
      'both from one model'
    ) from error
  tokenizer = library.Tokenizer(model)
  tokenizer.normalizer = library.normalizers.Sequence(
    [
      library.normalizers.NFC(),
      library.normalizers.Replace(library.Regex(r'\s+'), ' '),
      library.normalizers.Lowercase(),
    ]
  )
  tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(
    [
      library.pre_tokenizers.Split(
        library.Regex(_CLIP_WORDS), behavior='removed', invert=True
      ),
      library.pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
  )
  _surround(library, tokenizer, _CLIP_START, _CLIP_END, ids)
  return HuggingFaceTokenizer(tokenizer, max_length, vocab + b'\n' + merges)


def bert(vocab: bytes, lower_case: bool, max_length: int, where: str):
  """BERT's WordPiece from vocab.txt."""
  library = _library(where)
  pieces = vocab.decode('utf-8').splitlines()
  ids = {piece: i for i, piece in enumerate(pieces)}
  missing = [n for n in ('[UNK]', '[CLS]', '[SEP]') if n not in ids]
  if missing:
    raise ValueError(f'{where}/vocab.txt has no {missing}: not of BERT')
  tokenizer = library.Tokenizer(
    library.models.WordPiece(vocab=ids, unk_token='[UNK]')
  )
  tokenizer.normalizer = library.normalizers.BertNormalizer(
    lowercase=lower_case
  )
  tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
  _surround(library, tokenizer, '[CLS]', '[SEP]', ids)
  content = vocab + (b'lower' if lower_case else b'cased')
  return HuggingFaceTokenizer(tokenizer, max_length, content)


def _surround(library, tokenizer, start, end, ids):
  tokenizer.add_special_tokens(
    [name for name in (start, end, *_PADS) if name in ids]
  )
  tokenizer.post_processor = library.processors.TemplateProcessing(
    single=f'{start} $A {end}',
    special_tokens=[(start, ids[start]), (end, ids[end])],
  )


def _library(where):
  try:
    import tokenizers  # in an extra: T5 does without
  except ImportError as error:
    raise ValueError(
      f"{where} needs the tokenizers library: pip install 'imagen-jax[text]'"
    ) from error
  return tokenizers
