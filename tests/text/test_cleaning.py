"""Captions cleaned as IF's pipelines clean them."""

import builtins
import json

import pytest

from imagen_jax.text import cleaning, tokenizers
from tests.support import if_tiny


def _captions():
  path = if_tiny.DATA / 'captions.json'
  return json.loads(path.read_text(encoding='utf-8'))


def test_captions_of_the_web():
  for row in _captions():
    assert cleaning.clean(row['caption']) == row['cleaned'], row['caption']


def test_tokens_of_cleaned_captions():
  model = if_tiny.DATA / 'stage1' / 'tokenizer' / 'spiece.model'
  tokenizer = tokenizers.SentencePieceTokenizer(model, 77, 448)
  for row in _captions():
    tokens, mask = tokenizer.encode([cleaning.clean(row['caption'])])
    assert [*tokens[0][mask[0]]] == row['ids'], row['caption']
    assert not tokens[0][~mask[0]].any()


def test_without_the_libraries_captions_are_put_in_lower_case(monkeypatch):
  real = builtins.__import__

  def no_ftfy(name, *args, **kwargs):
    if name == 'ftfy':
      raise ImportError(name, name='ftfy')
    return real(name, *args, **kwargs)

  monkeypatch.setattr(builtins, '__import__', no_ftfy)
  cleaning._libraries.cache_clear()
  with pytest.warns(UserWarning, match=r'ftfy is missing; pip .*\[captions\]'):
    assert cleaning.clean(' A <b>Fox</b> ') == 'a <b>fox</b>'
  cleaning._libraries.cache_clear()
