"""The text corpus: what it pairs, and what it must not tell."""

import re

import pytest

from imagen_jax.data.emoji_scenes import grammar, scenes, splits
from imagen_jax.training.pretraining import sentences

CAPTIONS = sentences.Sentences(pairs=0, synonyms=0, meanings=0)
PAIRS = sentences.Sentences(pairs=1, synonyms=0, meanings=0)
SYNONYMS = sentences.Sentences(pairs=0, synonyms=1, meanings=0)
HELD_OUT_NOUNS = [n for ways in grammar.HELD_OUT.nouns.values() for n in ways]


def _lines(corpus, count):
  return [corpus.line(i) for i in range(count)]


def test_a_line_depends_on_its_address_alone():
  corpus = sentences.Sentences()
  forward = _lines(corpus, 50)
  assert [corpus.line(i) for i in reversed(range(50))] == forward[::-1]
  other = sentences.Sentences(split='validation')
  assert len(set(_lines(other, 50)) & set(forward)) < 10


def test_held_out_wordings_stay_out_of_captions():
  pattern = re.compile(r'\b(' + '|'.join(HELD_OUT_NOUNS) + r')s?\b')
  # 'a brown bear' is also a bear in brown.
  hits = {
    match.group(1)
    for line in _lines(CAPTIONS, 400) + _lines(PAIRS, 400)
    for match in pattern.finditer(line.replace('t-shirt', ''))
  }
  assert hits <= {'brown bear'}
  met = ' '.join(_lines(SYNONYMS, 600))
  assert all(noun in met for noun in ('spaceship', 'toadstool', 'kitty'))


def test_no_caption_binds_what_a_split_holds_out():
  """Neither vocabulary's (noun, colour): the networks have not seen them."""
  lines = ' . '.join(_lines(CAPTIONS, 800) + _lines(PAIRS, 400)) + ' '
  for held in splits.HELD_OUT.values():
    for noun, colour in held['binding']:
      if splits.canonical(noun, None) != colour:
        assert f' {colour} {noun} ' not in lines


def test_both_halves_of_a_pair_tell_one_scene():
  """Retold from the other side, each colour stays with its noun."""
  colours = '|'.join(splits.FULL.colours)
  checked = 0
  for line in _lines(PAIRS, 200):
    if ' means ' not in line:
      continue  # too long: a caption
    first, second = line.split(' means ')
    found = [sorted(re.findall(f'{colours}', half)) for half in (first, second)]
    plain = [
      [c for c in names if c not in ('yellow', 'blue', 'green', 'pink')]
      for names in found
    ]  # pale backgrounds may go unsaid never, but are told in any order
    assert plain[0] == plain[1], line
    checked += 1
  assert checked > 80


def test_retelling_turns_the_relation_around():
  def group(noun):
    return scenes.Group(noun=noun, colour=None, size=None, count=1)

  scene = scenes.Scene(
    groups=(group('fox'), group('key')),
    items=(),
    relation='left',
    background='white',
  )
  told = {
    (retold.groups[0].noun, retold.relation)
    for i in range(20)
    for retold in [sentences._retold(scene, scenes.Draws('test', i))]
  }
  assert told == {('fox', 'left'), ('key', 'right')}


def test_one_word_is_exchanged_at_a_time():
  group = scenes.Group(noun='cat', colour='red', size='small', count=1)
  scene = scenes.Scene(
    groups=(group,), items=(), relation=None, background='beach'
  )
  said = {
    grammar.caption(scene, scenes.Draws('test', 0), words)
    for words in sentences.exchanges(scene)
  }
  assert {
    'a small red kitten on a beach',
    'a small red kitty on a beach',
    'a tiny red cat on a beach',
    'a little red cat on a beach',
    'a small red cat by the seaside',
    'a small red cat at the beach',
  } <= said


@pytest.mark.parametrize('corpus', [PAIRS, SYNONYMS])
def test_no_line_is_longer_than_asked(corpus):
  for line in _lines(corpus, 300):
    assert len(line.split()) <= corpus.longest


def test_documentation_is_sentences_of_the_package():
  found = sentences.documentation()
  assert len(found) > 100
  assert all(len(sentence.split()) >= 4 for sentence in found)
  assert any('section 2.1' in sentence for sentence in found)
  lines = [
    sentences.Sentences(documentation=1.0).line(i, found) for i in range(5)
  ]
  assert set(lines) <= set(found)
