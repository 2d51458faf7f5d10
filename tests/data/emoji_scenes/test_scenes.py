"""Scenes: the layout keeps its promises, and an address is a scene."""

import itertools
import json

import numpy as np
import pytest

from imagen_jax.data.emoji_scenes import scenes, splits


@pytest.fixture(scope='module', params=['lite', 'full'])
def drawn(request):
  words = splits.vocabulary(request.param)
  return [
    scenes.generate(words, scenes.Draws('a test', index))
    for index in range(4000)
  ]


def test_uniforms_are_the_published_philox_words():
  # Words of Philox4x64-10; the stream must never change with numpy.
  draws = scenes.Draws('a test', 7, 3)
  words = np.random.Philox(
    key=(scenes.VERSION << 32) + 1251013448,
    counter=np.array([0, 3, 7, 0], np.uint64),
  ).random_raw(3)
  expected = [int(word) / 2**64 for word in words]
  np.testing.assert_allclose(
    [draws.uniform() for _ in range(3)], expected, atol=1e-15
  )


def test_an_address_is_a_scene():
  words = splits.vocabulary('lite')
  first = scenes.generate(words, scenes.Draws('s', 5))
  scenes.generate(words, scenes.Draws('s', 6))
  assert scenes.generate(words, scenes.Draws('s', 5)) == first
  others = [('s', 6, 0), ('s', 5, 1), ('t', 5, 0)]
  uniforms = {scenes.Draws(*other).uniform() for other in [*others, ('s', 5)]}
  assert len(uniforms) == 4


def test_mix_is_the_specified_one(drawn):
  shares = dict.fromkeys(((1,), (1, 1), (1, 2)), 0.0)
  for scene in drawn:
    counts = tuple(sorted(group.count for group in scene.groups))
    if counts in shares:
      shares[counts] += 1 / len(drawn)
  assert shares[1,] == pytest.approx(0.30, abs=0.03)
  assert shares[1, 1] == pytest.approx(0.35, abs=0.03)
  assert shares[1, 2] == pytest.approx(0.10, abs=0.02)
  counted = [s.groups[0].count for s in drawn if len(s.groups) == 1]
  for number in (2, 3, 4, 5):
    share = counted.count(number) / len(drawn)
    assert share == pytest.approx(0.25 / 4, abs=0.02)


def test_objects_keep_clear_of_each_other_and_of_the_border(drawn):
  cell = 1 / scenes.GRID
  for scene in drawn:
    for item in scene.items:
      for middle in (item.x, item.y):
        assert middle - item.side / 2 >= 2 * cell
        assert middle + item.side / 2 <= 1 - 2 * cell
    for a, b in itertools.combinations(scene.items, 2):
      apart = max(abs(a.x - b.x), abs(a.y - b.y))
      assert apart - (a.side + b.side) / 2 >= cell


def test_squares_are_whole_pixels_at_every_size(drawn):
  for item in drawn[0].items + drawn[1].items + drawn[2].items:
    for edge in (item.x - item.side / 2, item.y - item.side / 2, item.side):
      assert edge * scenes.GRID == int(edge * scenes.GRID)


def test_told_relation_is_the_drawn_one(drawn):
  pairs = [scene for scene in drawn if len(scene.groups) == 2]
  for scene in pairs:
    lie = scenes.arrangement(scene)
    if scene.relation in scenes.RELATIONS:
      assert lie == scene.relation
    if scene.relation == 'next':
      assert lie in ('left', 'right')
    assert scene.groups[0].noun != scene.groups[1].noun
  told = {scene.relation for scene in pairs}
  assert told == {*scenes.RELATIONS, 'next', None}


def test_items_are_those_of_the_groups(drawn):
  for scene in drawn:
    for number, group in enumerate(scene.groups):
      members = [item for item in scene.items if item.group == number]
      assert len(members) == group.count
      assert {(m.noun, m.colour) for m in members} == {
        (group.noun, group.colour)
      }


def test_stated_sizes_are_visible(drawn):
  ranges = {None: [], 'small': [], 'big': []}
  for scene in drawn:
    if len(scene.items) == 1:
      ranges[scene.groups[0].size].append(scene.items[0].side)
  assert max(ranges['small']) < min(ranges[None])
  assert max(ranges[None]) < min(ranges['big'])


def test_only_recolourable_objects_take_a_colour(drawn):
  words = splits.vocabulary('full')
  for scene in drawn:
    for group in scene.groups:
      assert group.colour is None or group.noun in words.recolourable


def test_json_round_trip(drawn):
  for scene in drawn[:50]:
    record = json.loads(json.dumps(scenes.to_json(scene)))
    assert scenes.from_json(record) == scene
