"""Presets: named settings, and those of a cascade's own file."""

import json

import pytest

from imagen_jax import stages
from imagen_jax.sampling import presets
from imagen_jax.stages import settings as settings_lib


@pytest.mark.parametrize('name', presets.PRESETS)
def test_every_preset_can_be_drawn(name):
  for settings in presets.settings(name, 3, {}):
    assert set(settings) <= set(stages.SETTINGS)
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


def test_every_setting_of_a_picture_may_stand_there(tmp_path):
  text = '{"a": [{"eta": 1, "guidance_range": [-5, 5], "cap": null}, {}]}'
  (tmp_path / presets.FILE).write_text(text)
  found, _ = presets.settings('a', 2, presets.read(tmp_path, 2))
  own = stages.Sampling(cap=3.0)
  assert settings_lib.replaced(own, **found) == stages.Sampling(
    eta=1, guidance_range=(-5, 5), cap=None
  )


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{', 'is damaged'),
    ('[]', 'holds no table of presets'),
    ('{"fast": [{}]}', 'fast is no list with one table for each of the 2'),
    ('{"fast": 5}', 'fast is no list with one table'),
    ('{"fast": [{"hue": 1}, {}]}', "holds {'hue': 1}, not a table of some of"),
    ('{"fast": [{"batch": 1}, {}]}', "holds {'batch': 1}, not a table of some"),
    ('{"fast": [{"eta": "off"}, {}]}', "fast: eta is 'off'; it must be float"),
    ('{"fast": [{"steps": null}, {}]}', 'fast: steps is None; it must be int'),
    ('{"fast": [{"steps": "8"}, {}]}', "fast: steps is '8'; it must be int"),
  ],
)
def test_a_bad_file_is_one_line(tmp_path, text, message):
  (tmp_path / presets.FILE).write_text(text)
  with pytest.raises(ValueError, match=message) as caught:
    presets.read(tmp_path, 2)
  assert '\n' not in str(caught.value)
