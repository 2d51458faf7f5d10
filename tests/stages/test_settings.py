"""The table of the sampling settings: whole, checked, read as it is spelled."""

import dataclasses
import pathlib

import pytest

from imagen_jax import stages
from imagen_jax.stages import settings as settings_lib


def test_every_field_has_its_entry():
  fields = [field.name for field in dataclasses.fields(stages.Sampling)]
  assert sorted(stages.SETTINGS) == sorted(fields)
  for setting in stages.SETTINGS.values():
    assert setting.label and setting.help
    assert setting.choices or setting.wanted
    setting.check(getattr(stages.Sampling(), setting.name))


def test_every_setting_of_a_picture_is_in_the_docs():
  docs = pathlib.Path(__file__).parents[2] / 'docs' / 'sampling.md'
  text = docs.read_text(encoding='utf-8')
  for name in settings_lib.offered():
    assert f'`--{name}`' in text, name


@pytest.mark.parametrize(
  ('name', 'value', 'text'),
  [
    ('guidance', 2.3456789, '2.3456789'),
    ('guidance', 3, '3'),
    ('guidance_range', (-5.5, 3.0), '-5.5:3'),
    ('guidance_range', None, 'off'),
    ('oscillate_from', 4, '4'),
    ('cap', None, 'off'),
    ('cap', 1e-7, '1e-07'),
    ('steps', 7, '7'),
    ('sampler', 'heun', 'heun'),
  ],
)
def test_a_value_is_read_as_it_is_spelled(name, value, text):
  setting = stages.SETTINGS[name]
  assert setting.spell(value) == text
  assert setting.taken(setting.parse(text)) == value
  (read,) = setting.parse_list(text)
  assert setting.taken(read) == value


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'steps': 0}, 'steps is 0; it must be a whole number from 1 to 4096'),
    ({'steps': 'x'}, "steps is 'x'; it must be a whole number from 1"),
    ({'guidance': float('nan')}, 'guidance is nan; it must be 0 or more'),
    ({'guidance': True}, 'guidance is True; it must be 0 or more'),
    ({'cap': 0.5}, 'cap is 0.5; it must be at least 1, or be off'),
    ({'cap': 'off'}, "cap is 'off'"),
    ({'guidance_range': (5.0, -5.0)}, 'it must rise, from the noisier'),
    ({'guidance_range': (1.0,)}, r'guidance_range is \(1.0,\); it must rise'),
    ({'oscillate_from': -1}, 'it must be a step, 0 or more, or be off'),
    ({'margin': 65}, 'margin is 65; it must be a whole number from 0 to 64'),
    ({'in_turn': 1}, 'in_turn is 1; it must be True or False'),
    ({'sampler': None}, 'sampler None is not one of'),
  ],
)
def test_what_a_stage_cannot_be_sampled_with(changes, message):
  with pytest.raises(ValueError, match=message):
    stages.Sampling(**changes)


@pytest.mark.parametrize(
  ('name', 'value', 'expected'),
  [
    ('steps', None, [None] * 3),
    ('steps', 9, [9] * 3),
    ('steps', [9], [9] * 3),
    ('steps', (9, 8, None), [9, 8, None]),
    ('margin', [2, 4], [None, 2, 4]),
    ('cap', ['off', 2.0, None], ['off', 2.0, None]),
    # Two numbers are one range, whatever holds them.
    ('guidance_range', (-5.0, 5.0), [(-5.0, 5.0)] * 3),
    ('guidance_range', [-5, 5], [[-5, 5]] * 3),
    ('guidance_range', 'off', ['off'] * 3),
    ('guidance_range', [(-5.0, 5.0)], [(-5.0, 5.0)] * 3),
    ('guidance_range', [(-5, 5), None, 'off'], [(-5, 5), None, 'off']),
  ],
)
def test_one_value_or_one_per_stage(name, value, expected):
  assert settings_lib.per_stage(name, value, [8, 16, 32]) == expected


@pytest.mark.parametrize(
  ('name', 'value', 'message'),
  [
    (
      'brightness',
      3,
      "there is no setting 'brightness'; there are guidance, g",
    ),
    ('steps', [1, 2], r'steps has 2 values, 3 stages are drawn \(8, 16, 32\)'),
    ('guidance_range', [(-5, 5), (1, 2)], 'guidance_range has 2 values, 3 st'),
    ('cap', object(), 'it must be at least 1, or be off'),
  ],
)
def test_what_is_of_no_stage(name, value, message):
  with pytest.raises(ValueError, match=message):
    settings_lib.per_stage(name, value, [8, 16, 32])


def test_off_is_none_where_there_may_be_none():
  own = stages.Sampling(cap=2.0, guidance_range=(0.0, 1.0))
  off = settings_lib.replaced(own, cap='off', guidance_range='off', steps=None)
  assert off == stages.Sampling()
  with pytest.raises(ValueError, match="eta is 'off'; it must lie in"):
    settings_lib.replaced(own, eta='off')
