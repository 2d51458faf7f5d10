"""Facts about the alignment score: its intervals, counts and table."""

import dataclasses
import json

import pytest

from imagen_jax.data.emoji_scenes import drawing, source
from imagen_jax.evaluation.scenes import alignment

ALL = dict.fromkeys(alignment.PARTS, True)


# Agresti and Coull 1998, and the limits at nought and all.
@pytest.mark.parametrize(
  ('right', 'asked', 'low', 'high'),
  [
    (0, 10, 0.0, 0.27753),
    (10, 10, 0.72247, 1.0),
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (50, 100, 0.40383, 0.59617),
    (0, 0, 0.0, 1.0),
  ],
)
def test_intervals_are_those_of_wilson(right, asked, low, high):
  found = alignment.wilson(right, asked)
  assert found == pytest.approx((low, high), abs=5e-5)


def test_what_was_not_asked_does_not_count():
  verdicts = [ALL, ALL | {'relation': None}, ALL | {'relation': False}]
  counted = alignment.shares(verdicts)
  assert counted['relation'] == alignment.Share(right=1, asked=2)
  assert counted['objects'] == alignment.Share(right=3, asked=3)


def test_the_data_sets_own_picture_is_right_and_another_is_not():
  data = source.EmojiScenes('validation', 'lite')
  scene = data.scene(0)
  record = alignment.judge(drawing.draw(scene, 256), scene, 'lite')
  assert record['verdict'] == record['ceiling']
  assert record['verdict']['all'] is True
  group = dataclasses.replace(scene.groups[0], count=5)
  asked = dataclasses.replace(scene, groups=(group, *scene.groups[1:]))
  other = alignment.judge(drawing.draw(scene, 64), asked, 'lite')
  assert other['verdict']['all'] is False
  assert other == json.loads(json.dumps(other))


def test_the_table_has_shares_intervals_and_the_ceiling():
  right = {'verdict': ALL | {'relation': None}, 'ceiling': ALL}
  wrong = {
    'verdict': ALL | {'colours': False, 'all': False},
    'ceiling': ALL | {'all': False},
  }
  head, line = alignment.table(
    [('test_iid', [right, wrong, right, right])]
  ).splitlines()
  assert head.split() == ['split', 'n', *alignment.PARTS, 'ceiling']
  assert '75 [30, 95]' in line
  assert '100 [21, 100] of 1' in line
  assert line.split()[:2] == ['test_iid', '4'] and line.endswith(' 75')
  values = alignment.summary([right, wrong])
  assert values['all']['share'] == 0.5 and values['relation']['asked'] == 1
