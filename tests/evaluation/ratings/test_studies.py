"""The definition follows from its inputs alone; sides and orders are fair."""

import collections
import dataclasses

import pytest

from imagen_jax.evaluation.ratings import questionnaires, studies
from tests.support import studio


def _study(tmp_path, name='pairs', count=1, prompts=studio.PROMPTS, **settings):
  own = {k: settings.pop(k) for k in ('num', 'batch') if k in settings}
  protocol = dataclasses.replace(questionnaires.PROTOCOLS[name], **own)
  where = studio.roots(tmp_path, protocol, count, prompts)
  return studies.define(where, protocol, **settings)


def test_the_same_inputs_make_the_same_study(tmp_path):
  first, second = (_study(tmp_path, count=2) for _ in range(2))
  assert first == second and first.id == second.id
  assert first.names == ('model_a', 'model_b')
  others = [
    _study(tmp_path, count=2, seed=1),
    _study(tmp_path, count=2, simulated=True),
    _study(tmp_path, count=2, names=['model_b', 'model_a']),
    _study(tmp_path, count=2, num=7),
  ]
  assert len({first.id, *(other.id for other in others)}) == 5
  studio.pictures(tmp_path / 'model_b', count=2, value=101)  # other pixels
  assert first.id != studies.define(
    {'a': tmp_path / 'model_a', 'b': tmp_path / 'model_b'},
    questionnaires.PROTOCOLS['pairs'],
  ).id  # fmt: skip


@pytest.mark.parametrize('name', questionnaires.PROTOCOLS)
def test_a_definition_comes_back_from_its_text(name, tmp_path):
  study = _study(tmp_path, name)
  assert studies.from_json(study.to_json()) == study


def test_orders_are_whole_and_differ(tmp_path):
  study = _study(tmp_path, count=3)
  orders = [tuple(study.order(rater)) for rater in range(1, 30)]
  assert all(sorted(order) == list(range(12)) for order in orders)
  assert len(set(orders)) == len(orders)
  assert study.order(5) == list(orders[4])
  assert study.borders(1) == [0, 12]
  firsts = collections.Counter(study.order(r)[0] for r in range(1, 1201))
  # 100 each are expected, with a standard deviation of 9.6.
  assert all(60 < firsts[trial] < 140 for trial in range(12))


def test_sides_are_fair(tmp_path):
  """For a rater, for a pair, and beside one another."""
  study = _study(tmp_path, count=3)
  sides = [[study.left(r, t) == 'a' for t in range(12)] for r in range(1, 401)]
  columns = [sum(column) for column in zip(*sides)]
  assert all(150 < n < 250 for n in columns)  # 200, deviation 10
  alike = sum(row[0] == row[1] for row in sides)
  assert 150 < alike < 250
  assert {study.left(7, 3) for _ in range(9)} == {study.left(7, 3)}


def test_some_pairs_are_drawn_at_random(tmp_path):
  drawn = [
    {
      (t.prompt, t.index)
      for t in _study(tmp_path, count=5, num=6, seed=s).trials
    }
    for s in (0, 0, 1)
  ]
  assert drawn[0] == drawn[1] != drawn[2]
  assert len(drawn[0]) == len(drawn[2]) == 6


def test_drawbench_shows_sets_and_a_category_at_a_time(tmp_path):
  sheet = tmp_path / 'sheet.csv'
  rows = zip(studio.PROMPTS, 'xyxy')
  sheet.write_text('prompt,category\n' + '\n'.join(f'{p},{c}' for p, c in rows))
  study = _study(tmp_path, 'drawbench', count=8, sheet=str(sheet))
  assert [len(t.a) for t in study.trials] == [len(t.b) for t in study.trials]
  assert {len(t.a) for t in study.trials} == {8}
  for rater, category in ((1, 'x'), (2, 'y'), (3, 'x')):
    order = [study.trials[t].category for t in study.order(rater)]
    assert order[:2] == [category] * 2 and len(order) == 4
    assert study.borders(rater) == [0, 2, 4]


def test_coco_quality_has_spoilt_photographs_among_its_pairs(tmp_path):
  study = _study(tmp_path, 'coco_quality', batch=2)
  controls = [t for t in study.trials if t.right]
  assert len(study.trials) - len(controls) == 4 and len(study.batches) == 2
  assert [len(batch) for batch in study.batches] == [2 + 5] * 2
  for control in controls:
    (spoilt,), (whole,) = control.a, control.b
    assert spoilt == dataclasses.replace(whole, effect='mosaic')
    assert whole.side == 'b' and control.right == ('b',)
  assert study.size == 8  # of the model's pictures
  assert {t.category for t in study.trials} == {
    'people',
    'no people',
    'control',
  }


def test_coco_alignment_shows_one_picture_with_a_caption(tmp_path):
  study = _study(tmp_path, 'coco_alignment', prompts=('a b', 'a c', 'd e'))
  plain = [t for t in study.trials if not t.right]
  assert [(bool(t.a), bool(t.b)) for t in plain] == [
    (True, False),
    (False, True),
  ] * 3
  own = {t.b: t.prompt for t in plain if t.b}
  for control in study.trials[6:]:
    matches = own[control.b] == control.prompt
    assert control.right == (('yes', 'somewhat') if matches else ('no',))
    if not matches:  # and has no word in common
      words = set(own[control.b].split()) & set(control.prompt.split())
      assert not words
  rights = collections.Counter(t.right for t in study.trials[6:])
  assert set(rights.values()) == {3}  # one answer to all is half right


def test_one_prompt_is_too_few_for_controls(tmp_path):
  with pytest.raises(ValueError, match='one prompt alone'):
    _study(tmp_path, 'coco_alignment', prompts=('only',))
