"""Which tokenizer goes with an encoder: found in its directory, or given.

  tokenizer.model, spiece.model, ...   SentencePiece, of T5
  tokenizer.json                       any other, for the `tokenizers` library
  vocab.json and merges.txt            CLIP's BPE
  vocab.txt                            BERT's WordPiece

A tokenizer that does not belong to the weights would index rows that are not
there, or mean others: sizes are compared.
"""

import pathlib
import re

from imagen_jax.config import checks
from imagen_jax.files import impostors, json_files, remote
from imagen_jax.text import (
  huggingface_tokenizers,
  tokenizer_json,
  tokenizers,
  vocabularies,
)

SENTENCEPIECE_FILE = 'tokenizer.model'
JSON_FILE = 'tokenizer.json'
_SENTENCEPIECE_FILES = (
  SENTENCEPIECE_FILE,
  'spiece.model',
  'sentencepiece.model',
)
_SPARE = 4  # rows of an embedding for each token, at most, and 1024 more


def find(given, folder: remote.Folder, config, max_length: int):
  """The tokenizer of an encoder.

  Args:
    given: a tokenizer, a seqio vocabulary, a path or URL of a tokenizer's file
      or directory; None = look in `folder`, above it too for a T5X step.
    folder: where the encoder lies.
    config: the encoder's, whose `vocab_size` must fit.
    max_length: tokens per caption.
  """
  rows = config.vocab_size
  if given is None:
    for place in _places(folder):
      tokenizer = _in_folder(place, max_length, rows)
      if tokenizer is not None:
        return tokenizer
    raise ValueError(
      f'{folder} has no tokenizer: give tokenizer=FILE. T5 needs its '
      'SentencePiece model (sentencepiece.model, or spiece.model of any '
      'Hugging Face T5), CLIP and BERT a tokenizer.json'
    )
  if isinstance(given, str | pathlib.Path):
    return _at(str(given), max_length, rows)
  if vocabularies.is_one(given):
    tokenizer = vocabularies.VocabularyTokenizer(given, max_length)
    return _checked(tokenizer, rows, type(given).__name__)
  if hasattr(given, 'encode') and hasattr(given, 'max_length'):
    return given
  raise ValueError(
    f'tokenizer is a {type(given).__name__}; give one of '
    'imagen_jax.text.tokenizers, a seqio vocabulary or a path'
  )


def _places(folder):
  """Where the tokenizer of an encoder may lie."""
  yield folder
  if re.search(r'checkpoint_\d+$', folder.place):  # T5X keeps it above
    yield folder.parent()
  found = re.search(r'(?:^|/)text_encoder(_\d+)?$', folder.place)
  if found:  # diffusers keeps it beside
    above, name = folder.parent(), f'tokenizer{found[1] or ""}'
    if name in above.names():
      yield above.child(name)


def to_file(tokenizer) -> tuple[str, bytes]:
  """Name and content of the file that stores a tokenizer."""
  if isinstance(tokenizer, tokenizers.SentencePieceTokenizer):
    return SENTENCEPIECE_FILE, tokenizer.model_proto
  if isinstance(tokenizer, huggingface_tokenizers.HuggingFaceTokenizer):
    return JSON_FILE, tokenizer.json.encode()
  raise ValueError(
    f'a {type(tokenizer).__name__} has no file to store: make the encoder '
    "with the tokenizer's own file"
  )


def _at(path, max_length, rows):
  """The tokenizer of a file or directory that the user named."""
  folder = remote.folder(path)
  parent, name = folder.parent(), folder.place.rpartition('/')[2]
  if name.endswith('.model'):
    return _sentencepiece(parent, name, max_length, rows)
  if name.endswith('.json'):
    return _json(parent, name, max_length, rows)
  tokenizer = _in_folder(folder, max_length, rows)
  if tokenizer is None:
    raise ValueError(f'{folder} has no tokenizer: {", ".join(folder.names())}')
  return tokenizer


def _in_folder(folder, max_length, rows):
  names = folder.names()
  for name in _SENTENCEPIECE_FILES:
    if name in names:
      if _adds_tokens(folder, names):
        return _json(folder, JSON_FILE, max_length, rows)
      return _sentencepiece(folder, name, max_length, rows)
  if JSON_FILE in names:
    return _json(folder, JSON_FILE, max_length, rows)
  if {'vocab.json', 'merges.txt'} <= set(names):
    vocab, merges = _read(folder, 'vocab.json'), _read(folder, 'merges.txt')
    tokenizer = huggingface_tokenizers.clip(
      vocab, merges, max_length, str(folder)
    )
    return _checked(tokenizer, rows, f'{folder}/vocab.json')
  if 'vocab.txt' in names:
    lower = True
    if 'tokenizer_config.json' in names:
      settings = json_files.read_in(folder, 'tokenizer_config.json')
      lower = settings.get('do_lower_case', True)
      where = f'{folder}/tokenizer_config.json'
      checks.require(lower, bool, f'{where}: do_lower_case')
    tokenizer = huggingface_tokenizers.bert(
      _read(folder, 'vocab.txt'), lower, max_length, str(folder)
    )
    return _checked(tokenizer, rows, f'{folder}/vocab.txt')
  return None


def _adds_tokens(folder, names):
  """Whether tokens were added that a SentencePiece model does not know.

  Then tokenizer.json has them all. Raises ValueError where it is not there.
  """
  if JSON_FILE in names:
    fields = _fields(folder, JSON_FILE)
    return bool(_own(fields.get('added_tokens') or ()))
  own = []
  if 'added_tokens.json' in names:
    tokens = _fields(folder, 'added_tokens.json')
    own += _own({'content': name} for name in tokens)
  if 'tokenizer_config.json' in names:
    settings = _fields(folder, 'tokenizer_config.json')
    own += _own((settings.get('added_tokens_decoder') or {}).values())
  if own:
    raise ValueError(
      f'{folder} adds the token {own[0]!r}, which its SentencePiece model does '
      f'not know; put the {JSON_FILE} of the model beside it, as '
      'AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) writes it'
    )
  return False


def _own(added):
  """Names of added tokens that are words: neither special nor sentinels."""
  return [
    token['content']
    for token in added
    if not token.get('special') and '<extra_id_' not in token['content']
  ]


def _fields(folder, name):
  return json_files.read_in(folder, name, most=tokenizer_json.MAX_BYTES)


def _read(folder, name):
  """The bytes of a tokenizer's file; ValueError where they are none."""
  where = f'{folder}/{name}'
  try:
    size = folder.size(name)
    if size > tokenizer_json.MAX_BYTES:
      raise ValueError(f'{where} has {size:,} bytes, too many for a tokenizer')
    content = folder.read(name)
  except FileNotFoundError as error:
    raise ValueError(f'{where} does not exist') from error
  except OSError as error:
    raise ValueError(f'{where} cannot be read: {error}') from error
  impostors.refuse(content[: impostors.HEAD], where)
  return content


def _sentencepiece(folder, name, max_length, rows):
  content = _read(folder, name)
  if not folder.remote:  # errors then name the file
    content = pathlib.Path(folder.place) / name
  tokenizer = tokenizers.SentencePieceTokenizer(content, max_length, rows)
  return _checked(tokenizer, rows, f'{folder}/{name}')


def _json(folder, name, max_length, rows):
  content, where = _read(folder, name), f'{folder}/{name}'
  tokenizer = huggingface_tokenizers.from_json(content, max_length, where)
  return _checked(tokenizer, rows, where)


def _checked(tokenizer, rows, where):
  """Raises ValueError unless the embedding has rows for all tokens.

  And not very many more: a quarter of them is another model's tokenizer.
  """
  if not tokenizer.size <= rows <= _SPARE * tokenizer.size + 1024:
    raise ValueError(
      f'{where} has {tokenizer.size} tokens, the embedding has {rows} rows. '
      'Take the tokenizer that the encoder was trained with'
    )
  return tokenizer
