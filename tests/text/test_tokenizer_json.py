"""tokenizer.json from elsewhere: what it may ask for, what captions spell."""

import json

import numpy as np
import pytest

from imagen_jax.files import remote
from imagen_jax.text import huggingface_tokenizers, tokenizer_files
from imagen_jax.text import tokenizer_json as data

tokenizers = pytest.importorskip('tokenizers')


class Config:
  """As far as tokenizers look at one."""

  vocab_size = 100


SPECIAL = ['<pad>', '</s>', '<unk>']
PIECES = [*SPECIAL, '▁', '▁a', '▁fox', '<', '>', '/', 's', 'p', 'a', 'd', 'u']
SENTINELS = [f'<extra_id_{i}>' for i in range(3)]


def _unigram(added=()):
  t = tokenizers.Tokenizer(
    tokenizers.models.Unigram([(p, -1.0) for p in PIECES], unk_id=2)
  )
  t.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
  t.post_processor = tokenizers.processors.TemplateProcessing(
    single='$A </s>', special_tokens=[('</s>', 1)]
  )
  t.add_special_tokens([*SPECIAL, *SENTINELS])
  t.add_tokens(list(added))
  return t.to_str()


def _made(text, length=32):
  return huggingface_tokenizers.from_json(text.encode(), length, 'x.json')


def _ids(tokenizer, caption):
  tokens, mask = tokenizer.encode([caption])
  assert mask[0].sum() == np.flatnonzero(mask[0])[-1] + 1
  return tokens[0][mask[0]].tolist()


@pytest.mark.parametrize(
  'caption', ['a</s>', '</s> a', '<pad>', '<unk> fox', '<extra_id_0>', '</s>']
)
def test_a_caption_spells_no_special_token(caption):
  tokenizer = _made(_unigram())
  ids = _ids(tokenizer, caption)
  assert ids[-1] == 1 and not {0, 1} & set(ids[:-1])
  assert max(ids) < len(PIECES)
  # Letter by letter, as if the token were none.
  letters = [c for c in caption if c in '<>/spau']
  assert len(ids) > len(letters)


def test_what_is_no_special_token_stays():
  plain = _made(_unigram())
  assert _ids(plain, 'a fox') == [4, 5, 1]
  assert plain.size == len(PIECES) + len(SENTINELS)
  assert plain.pad == 0
  own = _made(_unigram(added=['<fox>']))
  assert own.size == plain.size + 1
  assert own.size - 1 in _ids(own, 'a <fox>')  # an added token is honoured
  assert json.loads(own.json)['model']['vocab'][1][0] == '</s>'  # kept as is


def test_a_wordpiece_that_would_be_matched_whole():
  pieces = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'fox', '[', ']']
  t = tokenizers.Tokenizer(
    tokenizers.models.WordPiece(
      vocab={p: i for i, p in enumerate(pieces)}, unk_token='[UNK]'
    )
  )
  t.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  t.add_special_tokens(pieces[:4])
  t.post_processor = tokenizers.processors.TemplateProcessing(
    single='[CLS] $A [SEP]', special_tokens=[('[CLS]', 2), ('[SEP]', 3)]
  )
  tokenizer = _made(t.to_str())
  assert _ids(tokenizer, 'fox [SEP] fox') == [2, 4, 1, 4, 3]
  assert _ids(tokenizer, 'zebra') == [2, 1, 3]


def _with(normalizer):
  return json.dumps({**json.loads(_unigram()), 'normalizer': normalizer})


def _replace(text, content, kind='String'):
  return {'type': 'Replace', 'pattern': {kind: text}, 'content': content}


def _sequence(*inner):
  return {'type': 'Sequence', 'normalizers': [*inner]}


@pytest.mark.parametrize(
  'normalizer',
  [
    _sequence(*[_replace('a', 'aa')] * 40),
    _sequence(_sequence(*[_replace('a', 'aa')] * 7), _replace('b', 'b' * 99)),
    _replace('a', 'a' * 20_000),
    _replace('', 'a' * 20_000, 'Regex'),
    _sequence(*[_replace('x*', 'ab', 'Regex')] * 20),
    {'type': 'Prepend', 'prepend': 'a' * 20_000},
    _sequence(*[{'type': 'NFKD'}] * 9),
  ],
)  # fmt: skip
def test_a_normalizer_that_lengthens_without_end(normalizer):
  with pytest.raises(ValueError, match='x.json: its normalizer may make'):
    _made(_with(normalizer))


@pytest.mark.parametrize(
  'normalizer',
  [
    None,
    _sequence(
      {'type': 'NFKC'}, _replace(' {2,}', '▁', 'Regex'), {'type': 'Lowercase'}
    ),
    _sequence({'type': 'Prepend', 'prepend': '▁'}, _replace(' ', '▁')),
    _sequence(_replace('``', '"'), _replace("''", '"'), {'type': 'NFKD'}),
    _sequence(*[_replace(' ', '▁')] * 40),
  ],
)
def test_normalizers_of_models_that_are_used(normalizer):
  assert _ids(_made(_with(normalizer)), 'a fox')


@pytest.mark.parametrize(
  'content, message',
  [
    (b'[' * 100_000, 'tokenizer.json is nested too deep'),
    (b'[]', 'tokenizer.json holds no object'),
    (b'{"model": 3}', 'tokenizer.json is damaged or too new'),
    (b'', 'tokenizer.json is empty'),
    (b'<html>', 'tokenizer.json is a web page'),
    (b'version https://git-lfs\noid sha256:0\nsize 5', 'git lfs pull'),
  ],
)
def test_files_that_are_none(content, message, tmp_path):
  (tmp_path / 'tokenizer.json').write_bytes(content)

  with pytest.raises(ValueError, match=message) as caught:
    tokenizer_files.find(None, remote.folder(tmp_path), Config, 16)
  assert len(str(caught.value).splitlines()) == 1


def test_a_panic_is_told(monkeypatch):
  """What Rust's libraries raise is no Exception."""
  panic = type('PanicException', (BaseException,), {})('index out of bounds')
  tokenizer = _made(_unigram())

  class Panicking:
    def encode_batch(self, captions):
      raise panic

  monkeypatch.setattr(tokenizer, '_tokenizer', Panicking())
  with pytest.raises(ValueError, match='cannot be cut into tokens .index out'):
    tokenizer.encode(['a fox'])


def test_the_bounds_are_of_the_file(monkeypatch, tmp_path):
  monkeypatch.setattr(data, 'MAX_BYTES', 10)
  (tmp_path / 'tokenizer.json').write_text(_unigram())
  with pytest.raises(ValueError, match='too many for a tokenizer'):
    tokenizer_files.find(None, remote.folder(tmp_path), Config, 16)


def _beside_spiece(directory, name, content):
  """A directory with a SentencePiece model, of the shipped encoder."""
  from imagen_jax.training import inputs

  model = (inputs.SHIPPED_TEXT / 'tokenizer.model').read_bytes()
  (directory / 'spiece.model').write_bytes(model)
  (directory / name).write_text(content)

  class Shipped:
    vocab_size = 4096

  return tokenizer_files.find(None, remote.folder(directory), Shipped, 16)


def test_added_tokens_beside_a_sentencepiece_model(tmp_path):
  """The model alone does not know them; tokenizer.json does."""
  Sized = huggingface_tokenizers.HuggingFaceTokenizer
  (tmp_path / 'a').mkdir()
  plain = _beside_spiece(tmp_path / 'a', 'tokenizer.json', _unigram())
  assert not isinstance(plain, Sized)
  with pytest.raises(ValueError, match='17 tokens|18 tokens'):
    # It is read, and is not the tokenizer of this embedding.
    _beside_spiece(tmp_path / 'a', 'tokenizer.json', _unigram(['<fox>']))


@pytest.mark.parametrize(
  'name, content, told',
  [
    ('added_tokens.json', {'<fox>': 9000}, True),
    ('added_tokens.json', {'<extra_id_0>': 9000}, False),
    (
      'tokenizer_config.json',
      {'added_tokens_decoder': {'9': {'content': '<fox>', 'special': False}}},
      True,
    ),
    (
      'tokenizer_config.json',
      {'added_tokens_decoder': {'1': {'content': '</s>', 'special': True}}},
      False,
    ),
    ('tokenizer_config.json', {}, False),
  ],
)
def test_added_tokens_without_tokenizer_json(name, content, told, tmp_path):
  if told:
    with pytest.raises(ValueError, match="adds the token '<fox>'.*put the"):
      _beside_spiece(tmp_path, name, json.dumps(content))
  else:
    _beside_spiece(tmp_path, name, json.dumps(content))
