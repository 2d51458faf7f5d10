"""Presets: named settings, and those of a cascade's own file."""

import json

import pytest

from imagen_jax import stages
from imagen_jax.sampling import presets


@pytest.mark.parametrize('name', presets.PRESETS)
def test_every_preset_can_be_drawn(name):
  for settings in presets.settings(name, 3, {}):
    assert set(settings) <= set(presets.KINDS)
    stages.Sampling(**settings)


def test_presets_differ_in_the_time_they_take():
  steps = [
    sum(s['steps'] for s in presets.settings(name, 3, {}))
    for name in ('paper', 'fast', 'draft')
  ]
  assert steps == sorted(steps, reverse=True) and len(set(steps)) == 3


def test_those_of_the_cascade_go_before(tmp_path):
  own = {'fast': [{'steps': 7}, {}], 'night': [{'guidance': 4.0}, {'steps': 3}]}
  (tmp_path / presets.FILE).write_text(json.dumps(own))
  found = presets.read(tmp_path, 2)
  assert presets.settings('fast', 2, found) == ({'steps': 7}, {})
  assert presets.settings('night', 2, found)[1] == {'steps': 3}
  assert presets.settings('draft', 2, found) == presets.PRESETS['draft'][:2]
  assert presets.read(tmp_path / 'none', 2) == {}
  with pytest.raises(ValueError, match='paper, fast, draft, night; take one'):
    presets.settings('day', 2, found)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{', 'is damaged'),
    ('[]', 'holds no table of presets'),
    ('{"fast": [{}]}', 'fast is no list with one table for each of the 2'),
    ('{"fast": 5}', 'fast is no list with one table'),
    ('{"fast": [{"gamma": 1}, {}]}', "holds {'gamma': 1}, not a table of some"),
    ('{"fast": [{"steps": "8"}, {}]}', "fast: steps is '8'; it must be int"),
  ],
)
def test_a_bad_file_is_one_line(tmp_path, text, message):
  (tmp_path / presets.FILE).write_text(text)
  with pytest.raises(ValueError, match=message) as caught:
    presets.read(tmp_path, 2)
  assert '\n' not in str(caught.value)
