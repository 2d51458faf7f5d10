"""The fixed prompts: 200, each what its category says."""

import pytest

from imagen_jax.data.emoji_scenes import grammar, prompts, scenes, splits


@pytest.fixture(scope='module', params=['lite', 'full'])
def drawn(request):
  return request.param, prompts.load(request.param)


def test_forty_of_each_category_half_of_them_easy(drawn):
  _, values = drawn
  kinds = [(p.category, p.difficulty) for p in values]
  assert len(values) == 200
  for category in prompts.CATEGORIES:
    for difficulty in prompts.DIFFICULTIES:
      assert kinds.count((category, difficulty)) == 20
  assert len({p.caption for p in values}) == 200


def test_captions_say_the_scenes(drawn):
  name, values = drawn
  known = set(grammar.vocabulary_words(splits.vocabulary(name)))
  for prompt in values:
    assert prompt.caption == grammar.plain(prompt.scene)
    assert set(prompt.caption.split()) <= known


def test_no_prompt_holds_a_held_out_fact(drawn):
  name, values = drawn
  for prompt in values:
    assert splits.held_out_kinds(prompt.scene, name) == ()


def test_easy_prompts_are_easy(drawn):
  for prompt in drawn[1]:
    if prompt.difficulty != 'easy':
      continue
    groups = prompt.scene.groups
    if prompt.category in ('positional', 'conflicting'):
      assert [(g.colour, g.count) for g in groups] == [(None, 1)] * 2
      assert prompt.scene.relation in scenes.RELATIONS
    else:
      assert len(groups) == 1
      assert (groups[0].count > 1) <= (prompt.category != 'colour')


def test_hard_prompts_are_hard(drawn):
  for prompt in drawn[1]:
    if prompt.difficulty == 'hard':
      assert all(group.colour for group in prompt.scene.groups)
      assert len(prompt.scene.groups) == 2 or prompt.scene.groups[0].count > 1


def test_counting_and_positional_are_balanced(drawn):
  counts = [
    p.scene.groups[0].count
    for p in drawn[1]
    if (p.category, p.difficulty) == ('counting', 'easy')
  ]
  assert sorted(counts) == [2] * 5 + [3] * 5 + [4] * 5 + [5] * 5
  told = [p.scene.relation for p in drawn[1] if p.category == 'positional']
  assert all(told.count(relation) == 10 for relation in scenes.RELATIONS)
