"""Captions: every scene is said rightly, in few words of a known list."""

import pytest

from imagen_jax.data.emoji_scenes import grammar, scenes, source, splits


def scene_of(*groups, relation=None, background='white'):
  made = tuple(
    scenes.Group(noun=noun, colour=colour, size=size, count=count)
    for count, size, colour, noun in groups
  )
  return scenes.Scene(
    groups=made, items=(), relation=relation, background=background
  )


def captions(scene, words=grammar.TRAIN, number=300):
  return {
    grammar.caption(scene, scenes.Draws('caption', index), words)
    for index in range(number)
  }


def test_sentences_of_the_readme():
  fox = scene_of((1, None, 'red', 'fox'), background='sunset')
  assert 'a red fox at sunset' in captions(fox)
  assert grammar.plain(fox) == 'a red fox at sunset'
  keys = scene_of((2, None, 'pink', 'key'), background='night sky')
  assert 'two pink keys under a night sky' in captions(keys)
  for scene in (fox, keys):
    assert splits.held_out_kinds(scene, 'lite') == ()
    assert splits.held_out_kinds(scene, 'full') == ()


def test_all_wordings_of_a_scene():
  scene = scene_of(
    (2, None, None, 'fox'),
    (1, 'small', 'orange', 'heart'),
    relation='left',
    background='pale blue',
  )
  said = captions(scene, number=2000)
  place = 'on a pale blue background'
  for relation in ('to the left of', 'left of'):
    for size in ('small', 'little'):
      heart = f'a {size} orange heart'
      what = f'two foxes {relation} {heart}'
      expected = {
        f'{what} {place}',
        f'{place} {what}',
        f'a picture of {what} {place}',
        f'{relation} {heart} are two foxes {place}',
      }
      assert expected <= said
      said -= expected
  assert not said


def test_only_white_goes_unsaid():
  for background in splits.FULL.backgrounds:
    scene = scene_of((1, None, None, 'key'), background=background)
    silent = {'a key', 'a picture of a key'}
    assert bool(silent & captions(scene)) == (background == 'white')


def test_articles_and_plurals():
  assert grammar.article('orange car') == 'an orange car'
  assert grammar.article('umbrella') == 'an umbrella'
  assert grammar.article('car') == 'a car'
  plurals = {
    'fox': 'foxes',
    'fish': 'fish',
    'mouse': 'mice',
    'bunch of grapes': 'bunches of grapes',
    'bunny': 'bunnies',
    'top hat': 'top hats',
    'tree': 'trees',
  }
  assert {noun: grammar.plural(noun) for noun in plurals} == plurals


@pytest.mark.parametrize(('name', 'most'), [('lite', 100), ('full', 200)])
def test_words_are_few_and_complete(name, most):
  known = set(grammar.vocabulary_words(splits.vocabulary(name)))
  assert len(known) <= most
  seen = set()
  data = source.EmojiScenes('train', name)
  for index in range(4000):
    words = data.caption(index).split()
    assert len(words) <= 24
    seen |= set(words)
  assert seen <= known
  if name == 'lite':
    assert seen == known  # and none is claimed in vain


def test_captions_vary():
  data = source.EmojiScenes('train', 'full')
  assert len({data.caption(index) for index in range(3000)}) > 2400


def test_held_out_wordings_are_new():
  train = source.EmojiScenes('test_iid', 'full')
  other = source.EmojiScenes('test_iid', 'full', paraphrase=True)
  known = set(grammar.vocabulary_words(splits.FULL))
  for index in range(300):
    assert train.scene(index) == other.scene(index)
    assert not set(other.caption(index).split()) <= known


def test_held_out_words_are_in_no_training_word():
  for table in ('relations', 'sizes', 'places'):
    train, held = (
      getattr(grammar.TRAIN, table),
      getattr(grammar.HELD_OUT, table),
    )
    assert train.keys() == held.keys()
    for key in train:
      assert not set(train[key]) & set(held[key])
