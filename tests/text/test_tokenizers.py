"""T5's tokens, against those of seqio and Transformers."""

import json
import pathlib

import numpy as np
import pytest

from imagen_jax.text import tokenizers

DATA = pathlib.Path(__file__).parents[1] / 'data' / 'text'
MODEL = DATA / 'spm_captions.model'
CAPTIONS = json.loads((DATA / 'tokens.json').read_text())[MODEL.name][
  'captions'
]


@pytest.fixture(scope='module')
def tokenizer():
  return tokenizers.SentencePieceTokenizer(MODEL, 128)


def test_tokens_are_those_of_t5(tokenizer):
  """Empty, accented, full-width, emoji, controls, too long: all rows."""
  tokens, mask = tokenizer.encode([row['text'] for row in CAPTIONS])
  assert tokens.dtype == np.int32 and mask.dtype == bool
  for row, ids, real in zip(CAPTIONS, tokens, mask):
    assert ids[: row['length']].tolist() == row['t5_ids'], row['text']
    assert not ids[row['length'] :].any()
    assert real.sum() == row['length']
    assert tokenizer.ids(row['text']) == row['ids']


def test_a_long_caption_keeps_its_end_and_names_what_is_cut():
  short = tokenizers.SentencePieceTokenizer(MODEL, 4)
  tokens, mask = short.encode(['a red fox at sunset'])
  assert tokens[0, -1] == tokenizers.EOS and mask.all()
  kept = short.decode(tokens[0])
  assert f'{kept} {short.cut("a red fox at sunset")}' == 'a red fox at sunset'


def test_what_fits_exactly_is_not_cut(tokenizer):
  length = len(tokenizer.ids('a red fox'))
  exact = tokenizers.SentencePieceTokenizer(MODEL, length + 1)
  assert exact.cut('a red fox') == '' != exact.cut('a red fox at sunset')
  assert exact.cut('') == ''


def test_sentinels_take_the_last_rows():
  """T5: <extra_id_0> is 32099 of 32100."""
  tokenizer = tokenizers.SentencePieceTokenizer(MODEL, 128, vocab_size=2048)
  assert tokenizer.sentinel(0) == 2047
  assert tokenizer.sentinel(99) == 1948
  with pytest.raises(ValueError, match='sentinel 100 asked for, there are 100'):
    tokenizer.sentinel(100)


def test_bad_input_is_refused(tmp_path):
  with pytest.raises(ValueError, match='does not exist'):
    tokenizers.SentencePieceTokenizer(tmp_path / 'none.model')
  damaged = tmp_path / 'damaged.model'
  damaged.write_bytes(MODEL.read_bytes()[:1000])
  with pytest.raises(ValueError, match='no SentencePiece model'):
    tokenizers.SentencePieceTokenizer(damaged)
  with pytest.raises(ValueError, match='315 pieces.*415.*has 400 rows'):
    tokenizers.SentencePieceTokenizer(MODEL, vocab_size=400)
  with pytest.raises(ValueError, match='give a list'):
    tokenizers.SentencePieceTokenizer(MODEL).encode('a fox')


def test_training_folds_capitals_and_knows_every_byte(tmp_path):
  words = 'a red blue fox key at sunset left of the'.split()
  path = tmp_path / 'tokenizer.model'
  tokenizers.train(words * 40 + ['a red fox left of the blue key'], path, 600)
  tokenizer = tokenizers.SentencePieceTokenizer(path, 32, 2048)
  assert tokenizer.pieces <= 600
  assert tokenizer.ids('A Red FOX') == tokenizer.ids('a red fox')
  for text in ('zürich', '🦊', '日本'):
    assert tokenizers.UNKNOWN not in tokenizer.ids(text)
    assert tokenizer.decode(tokenizer.ids(text)) == text
  # A cut through the bytes of a character names the whole of it.
  length, tails = len(tokenizer.ids('a 日本')), []
  for kept in range(1, length + 2):
    short = tokenizers.SentencePieceTokenizer(path, kept, 2048)
    tails.append(short.cut('a 日本'))
    assert bool(tails[-1]) == short.truncated(['a 日本'])[0]
  assert tails[0] == 'a 日本' and tails[-1] == ''
  assert [t for t in tails if t][-3:] == ['本'] * 3
  assert set(tails) == {'a 日本', '日本', '本', ''}
