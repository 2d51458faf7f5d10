"""CLIP's BPE and BERT's WordPiece, on vocabularies small enough to check."""

import json
import pathlib

import numpy as np
import pytest

from imagen_jax.files import remote
from imagen_jax.text import huggingface_tokenizers, tokenizer_files

LENGTH = 8
# The worked example of WordPiece, and what BERT does to accents and signs.
PIECES = (
  '[PAD]', '[UNK]', '[CLS]', '[SEP]', 'un', '##aff', '##able', 'cafe', ',',
  'a', 'fox', '[', ']', 'sep',
)  # fmt: skip


class Sized:
  """A config, as far as tokenizers look at it."""

  def __init__(self, rows):
    self.vocab_size = rows


def _find(directory, rows, length=LENGTH):
  folder = remote.folder(directory)
  return tokenizer_files.find(None, folder, Sized(rows), length)


@pytest.fixture
def bert(tmp_path):
  (tmp_path / 'vocab.txt').write_text('\n'.join(PIECES) + '\n')
  return tmp_path


@pytest.fixture
def clip(tmp_path):
  """Letters, letters that end a word, three merges, the two special ones."""
  letters = 'abcdefghijklmnopqrstuvwxyz1!'
  merges = ['f o', 'fo x</w>', 'r e']
  names = [*letters, *(f'{x}</w>' for x in letters), 'fo', 'fox</w>', 're']
  names += ['<|startoftext|>', '<|endoftext|>']
  ids = {name: i for i, name in enumerate(names)}
  (tmp_path / 'vocab.json').write_text(json.dumps(ids))
  (tmp_path / 'merges.txt').write_text('#version: 0.2\n' + '\n'.join(merges))
  return tmp_path, ids


def _names(tokens, mask, ids):
  inverse = {i: name for name, i in ids.items()}
  return [inverse[int(i)] for i in tokens[mask]]


def test_wordpiece_takes_the_longest_pieces(bert):
  tokenizer = _find(bert, len(PIECES))
  tokens, mask = tokenizer.encode(['Unaffable, Café', 'zebra', ''])
  ids = {name: i for i, name in enumerate(PIECES)}
  assert _names(tokens[0], mask[0], ids) == [
    '[CLS]', 'un', '##aff', '##able', ',', 'cafe', '[SEP]'
  ]  # fmt: skip
  assert _names(tokens[1], mask[1], ids) == ['[CLS]', '[UNK]', '[SEP]']
  assert _names(tokens[2], mask[2], ids) == ['[CLS]', '[SEP]']
  assert tokens.dtype == np.int32 and not tokens[~mask].any()


def test_a_cased_vocabulary_says_so(bert):
  (bert / 'tokenizer_config.json').write_text('{"do_lower_case": false}')
  tokens, _ = _find(bert, len(PIECES)).encode(['Fox fox'])
  assert tokens[0, 1:3].tolist() == [1, PIECES.index('fox')]


def test_clip_merges_words_and_repeats_its_end_as_padding(clip):
  directory, ids = clip
  tokens, mask = _find(directory, len(ids)).encode(['A  FOX!', "rex's 11"])
  end = '<|endoftext|>'
  assert _names(tokens[0], mask[0], ids) == [
    '<|startoftext|>', 'a</w>', 'fox</w>', '!</w>', end
  ]  # fmt: skip
  assert set(tokens[0][~mask[0]]) == {ids[end]}
  # Digits stand alone; "'" is not in this vocabulary; the row is full.
  assert mask[1].all() and tokens[1, -1] == ids[end]
  assert tokens[1, 1] == ids['re'] and tokens[1, 2] == ids['x</w>']


def test_what_is_cut_is_told(clip, bert):
  directory, ids = clip
  tokenizer = _find(directory, len(ids), 4)
  captions = ['a fox', 'a fox a fox', '']
  assert tokenizer.truncated(captions).tolist() == [False, True, False]
  assert tokenizer.cut('a fox a fox').strip() == 'a fox'
  assert tokenizer.cut('a fox') == ''
  tokens, mask = tokenizer.encode(captions)
  assert mask.sum(1).tolist() == [4, 4, 2]
  assert tokens[1, -1] == ids['<|endoftext|>']  # the end is kept


def test_a_caption_cannot_spell_a_special_token(clip, tmp_path):
  directory, ids = clip
  end = ids['<|endoftext|>']
  tokens, mask = _find(directory, len(ids), 40).encode(['a <|endoftext|> fox'])
  assert (tokens[mask] == end).sum() >= 1
  assert tokens[mask][-1] == end
  # '<|' and '|>' are unknown here, which CLIP spells with its end; the word
  # between them is letters.
  letters = [ids[x] for x in 'nd']
  assert set(letters) <= set(tokens[mask].tolist())


def test_bert_reads_a_spelled_separator_as_text(bert):
  tokens, mask = _find(bert, len(PIECES)).encode(['a [SEP] fox'])
  sep = PIECES.index('[SEP]')
  assert (tokens[mask] == sep).sum() == 1 and tokens[mask][-1] == sep


def test_tokenizer_json_gives_the_same_tokens(clip, tmp_path):
  directory, ids = clip
  first = _find(directory, len(ids))
  name, content = tokenizer_files.to_file(first)
  other = tmp_path / 'other'
  other.mkdir()
  (other / name).write_bytes(content)
  again = _find(other, len(ids))
  for a, b in zip(first.encode(['a fox! rex']), again.encode(['a fox! rex'])):
    np.testing.assert_array_equal(a, b)
  assert again.sha256() == _find(other, len(ids)).sha256()


def test_bad_files_are_named(bert, clip):
  directory, ids = clip  # the same directory holds both
  with pytest.raises(ValueError, match='61 tokens, .* 60 rows. Take'):
    _find(directory, len(ids) - 1)
  with pytest.raises(ValueError, match='61 tokens, the embedding has 32128'):
    _find(directory, 32128)
  with pytest.raises(ValueError, match='max_length is 2.*2 special tokens'):
    _find(directory, len(ids), 2)
  (directory / 'vocab.json').write_text('{"a": 0}')
  with pytest.raises(ValueError, match='has no .*not of CLIP'):
    _find(directory, 100)
  (directory / 'tokenizer.json').write_text('{"version')
  with pytest.raises(ValueError, match='tokenizer.json is damaged'):
    _find(directory, 100)
  with pytest.raises(ValueError, match='give a list'):
    huggingface_tokenizers.bert(
      '\n'.join(PIECES).encode(), True, LENGTH, 'here'
    ).encode('a fox')


def test_literal_markers_are_text_for_sentencepiece_too():
  model = pathlib.Path(__file__).parents[1] / 'data/text/spm_captions.model'
  tokenizer = tokenizer_files.find(
    str(model), remote.folder('.'), Sized(512), 64
  )
  tokens, mask = tokenizer.encode(['a </s> fox <extra_id_0>'])
  assert (tokens[mask] == 1).sum() == 1 and tokens[mask][-1] == 1
  assert tokens.max() < 315
