"""Splits: what is held out is absent from training, and nothing more is."""

import collections
import dataclasses
import itertools

import pytest

from imagen_jax.data.emoji_scenes import (
  drawing,
  natural,
  scenes,
  source,
  splits,
  sprites,
)

NAMES = tuple(splits.VOCABULARIES)
KIND_SPLITS = ('test_binding', 'test_count', 'test_relation', 'test_place')


def facts_of(data, number):
  facts = collections.defaultdict(set)
  for index in range(number):
    for kind, values in splits.facts(data.scene(index)).items():
      facts[kind] |= set(values)
  return facts


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('split', ['train', 'validation', 'test_iid'])
def test_held_outs_are_absent(name, split):
  number = 8000 if split == 'train' else 1000
  facts = facts_of(source.EmojiScenes(split, name), number)
  for kind in splits.KINDS:
    assert not facts[kind] & splits.HELD_OUT[name][kind]


@pytest.mark.parametrize('name', NAMES)
def test_every_scene_with_a_held_out_fact_is_refused(name):
  # Not by sampling: each fact, in the barest scene that shows it.
  held = splits.HELD_OUT[name]

  def refused(noun, colour=None, count=1, background='white'):
    group = scenes.Group(noun=noun, colour=colour, size=None, count=count)
    scene = scenes.Scene(
      groups=(group,), items=(), relation=None, background=background
    )
    return not splits.belongs(scene, 'train', name)

  for noun, colour in held['binding']:
    assert refused(noun, colour)
  for noun, count in held['count']:
    assert refused(noun, count=count)
  for noun, background in held['place']:
    assert refused(noun, background=background)
  for first, relation, second in held['relation']:
    for told in (relation, None):
      scene = pair(first, relation, second, told)
      assert not splits.belongs(scene, 'train', name)
      mirror = pair(second, scenes.OPPOSITE[relation], first, told)
      assert not splits.belongs(mirror, 'train', name)


def pair(first, lie, second, told):
  groups = tuple(
    scenes.Group(noun=noun, colour=None, size=None, count=1)
    for noun in (first, second)
  )
  along = (0.25, 0.75) if lie in ('left', 'above') else (0.75, 0.25)
  items = []
  for number, noun in enumerate((first, second)):
    x, y = along[number], 0.5
    if lie in ('above', 'below'):
      x, y = y, x
    items.append(
      scenes.Item(noun=noun, colour=None, x=x, y=y, side=0.3, group=number)
    )
  return scenes.Scene(
    groups=groups, items=tuple(items), relation=told, background='white'
  )


def test_held_out_colours_reach_natural_ones(monkeypatch):
  # Were red apples held out, plain apples would have to go as well.
  held = {**splits.HELD_OUT['lite'], 'binding': frozenset({('apple', 'red')})}
  monkeypatch.setitem(splits.HELD_OUT, 'lite', held)
  for index in range(3000):
    for group in source.EmojiScenes('train', 'lite').scene(index).groups:
      assert group.noun != 'apple' or group.colour not in (None, 'red')


@pytest.mark.parametrize('name', NAMES)
def test_no_held_out_colour_is_nearly_natural(name):
  for noun, colour in splits.HELD_OUT[name]['binding']:
    assert colour != natural.NATURAL.get(noun)
    assert colour not in natural.DOUBTFUL.get(noun, ())


@pytest.mark.parametrize('name', NAMES)
def test_parts_of_held_outs_are_seen_with_many_partners(name):
  # Exact, from the tables: what the generator may draw less what is held out.
  words, held = splits.vocabulary(name), splits.HELD_OUT[name]
  colours = {noun: set() for noun in words.nouns}
  for noun, colour in itertools.product(words.nouns, words.colours):
    if noun in words.recolourable and (noun, colour) not in held['binding']:
      colours[noun].add(colour)
  for noun, colour in held['binding']:
    assert len(colours[noun]) >= 5
    assert sum(colour in partners for partners in colours.values()) >= 5
  for noun, count in held['count']:
    # 1 to 5, less those held out.
    numbers = [n for n in range(1, 6) if (noun, n) not in held['count']]
    assert len(numbers) >= 3
    others = [n for n in words.nouns if (n, count) not in held['count']]
    assert len(others) >= 5
  for noun, background in held['place']:
    free = [b for b in words.backgrounds if (noun, b) not in held['place']]
    assert len(free) >= 5
    others = [n for n in words.nouns if (n, background) not in held['place']]
    assert len(others) >= 5
  for first, relation, second in held['relation']:
    free = [
      r for r in scenes.RELATIONS if (first, r, second) not in held['relation']
    ]
    assert free
    partners = [
      other
      for other in words.nouns
      if (first, relation, other) not in held['relation'] and other != first
    ]
    assert len(partners) >= 5


def test_one_colour_of_every_object_is_held_out_in_lite():
  nouns = [noun for noun, _ in splits.HELD_OUT['lite']['binding']]
  assert sorted(nouns) == sorted(splits.LITE.nouns)
  assert set(splits.LITE.nouns) <= sprites.RECOLOURABLE
  assert len(splits.LITE.nouns) == 16


def test_relations_are_held_out_with_their_mirrors():
  for held in splits.HELD_OUT.values():
    for first, relation, second in held['relation']:
      mirror = (second, scenes.OPPOSITE[relation], first)
      assert mirror in held['relation']


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('split', KIND_SPLITS)
def test_each_test_split_holds_out_its_own_kind(name, split):
  data = source.EmojiScenes(split, name)
  kind = split.removeprefix('test_')
  shown = set()
  for index in range(100):
    scene = data.scene(index)
    assert splits.held_out_kinds(scene, name) == (kind,)
    shown |= set(splits.facts(scene)[kind]) & splits.HELD_OUT[name][kind]
    if kind == 'relation':
      assert scene.relation in scenes.RELATIONS
  assert len(shown) >= 8


@pytest.mark.parametrize('name', NAMES)
def test_both_holds_two_kinds(name):
  data = source.EmojiScenes('test_both', name)
  for index in range(60):
    assert len(splits.held_out_kinds(data.scene(index), name)) == 2


def test_vocabularies_are_drawable():
  for words in splits.VOCABULARIES.values():
    assert set(words.nouns) <= set(sprites.OBJECTS)
    assert set(words.colours) <= set(sprites.COLOURS)
    assert set(words.backgrounds) <= set(drawing.BACKGROUNDS)
  assert set(splits.FULL.backgrounds) == set(drawing.BACKGROUNDS)
  assert len(splits.FULL.nouns) == 56
  assert dataclasses.replace(splits.LITE) == splits.LITE


def test_unknown_vocabulary_is_named():
  with pytest.raises(ValueError, match=r"'tiny': choose one of \('lite'"):
    splits.vocabulary('tiny')
