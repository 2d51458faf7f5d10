"""Recipes: written, read back, and never trusted."""

import dataclasses

import numpy as np
import pytest

from imagen_jax import stages
from imagen_jax.files import pictures
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import gallery, recipes
from tests.support import tiny_cascade


def _text(**changes):
  cascade = tiny_cascade.load()
  plan = cascade.plan(
    upto=16, guidance=[2.3456789, 1.0], sampler='heun', grid='karras'
  )
  request = cascade_lib.Request(caption='a fox', index=2)
  return recipes.write(cascade, plan, request, 7) | changes


def test_what_is_written_is_read_back():
  cascade = tiny_cascade.load()
  recipe = recipes.read(_text(), 'x.png')
  assert (recipe.prompt, recipe.seed, recipe.index) == ('a fox', 7, 2)
  assert (recipe.cascade, recipe.negative, recipe.edit) == (
    cascade.id,
    None,
    None,
  )
  plan = cascade.plan(upto=recipe.resolution, **recipe.settings)
  assert [s.guidance for s in plan] == [2.3456789, 1.0]
  assert [(s.sampler, s.grid) for s in plan] == [('heun', 'karras')] * 2


def test_another_shape_is_written_as_its_size():
  cascade = tiny_cascade.load()
  request = cascade_lib.Request(caption='a fox')
  text = recipes.write(cascade, cascade.plan(), request, 7, size=(16, 48))
  assert text['size'] == '48x16'
  assert recipes.read(text, 'x.png').size == (16, 48)
  assert recipes.read(_text(), 'x.png').size is None


def test_margins_are_written_where_there_are_any():
  cascade = tiny_cascade.load()
  request = cascade_lib.Request(caption='a fox')
  text = recipes.write(cascade, cascade.plan(margin=[0, 3]), request, 7)
  assert text['margin'] == '0,3'
  settings = recipes.read(text, 'x.png').settings
  assert [s.margin for s in cascade.plan(**settings)] == [0, 0, 3]
  assert 'margin' not in _text()


def test_a_file_of_an_older_release_lacks_the_grid():
  text = _text()
  del text['grid']
  assert 'grid' not in recipes.read(text, 'x.png').settings


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'seed': 'seven'}, "x.png: seed in its recipe is 'seven'; the file was"),
    ({'seed': '4294967296'}, 'seed in its recipe is 4294967296, which is not'),
    ({'seed': '-1'}, 'from 0 to 4294967295; the file was altered'),
    ({'index': '-1'}, 'index in its recipe is -1, which is not from 0 to'),
    ({'steps': '5,many'}, "steps in its recipe is 'many'"),
    ({'guidance': '2,,3'}, "guidance in its recipe is ''"),
    ({'prompt': 'a' * 20_000}, 'prompt in its recipe is too long'),
    ({'size': '64'}, "size in its recipe is ''; the file was altered"),
    ({'size': '0x64'}, "size in its recipe is '0x64'; the file was altered"),
    ({'size': '64x99999'}, "size in its recipe is '64x99999'"),
    ({'eta': '1,much'}, "x.png: eta in its recipe is 'much'; the file was"),
    ({'cap': 'on'}, "x.png: cap in its recipe is 'on'; the file was altered"),
    ({'guidance_range': '-5'}, "guidance_range in its recipe is '-5'; the f"),
    (
      {'brightness': '1,1'},
      "x.png: its recipe has a setting 'brightness', which this release .* "
      'does not know; update imagen_jax',
    ),
  ],
)
def test_forged_recipes_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    recipes.read(_text(**changes), 'x.png')


def test_what_other_programs_write_is_no_setting():
  more = {'date:create': '2026', 'Comment': 'fine', 'category': 'Colors'}
  assert recipes.read(_text(**more), 'x.png') == recipes.read(_text(), 'x.png')


@pytest.mark.parametrize('name', ['prompt', 'seed', 'steps', 'cascade'])
def test_a_picture_without_a_recipe(name):
  text = _text()
  del text[name]
  with pytest.raises(ValueError, match=f'x.png has no recipe .{name} is mis'):
    recipes.read(text, 'x.png')


# Of every setting that decides a picture, a value that is not the default.
OTHER = {
  'guidance': 2.3456789,
  'guidance_range': (-5.5, 3.0),
  'oscillate_from': 2,
  'rescale': 0.7,
  'threshold': 'static',
  'percentile': 97.5,
  'cap': 1.5,
  'steps': 7,
  'grid': 'karras',
  'aug_level': 0.25,
  'margin': 2,
  'sampler': 'heun',
  'gamma': 0.125,
  'eta': 1.0,
}


def _drawn_again(cascade, path, monkeypatch):
  """The plan by which `--reproduce` draws the picture in a file again."""
  plans = []

  def draw(self, requests, plan, **unused):
    plans.append(plan)
    return np.zeros([len(requests), 8, 8, 3], np.uint8)

  monkeypatch.setattr(cascade_lib.Cascade, 'draw', draw)
  _, text = pictures.read_png(path)
  recipe = recipes.read(text, path)
  _, _ = gallery.draw_again(cascade, recipe, path, path.parent)
  return plans[-1]


def _values(cascade, plan, name):
  """Of the stages that have the setting."""
  return [
    getattr(sampling, name)
    for stage, sampling in zip(cascade.stages, plan)
    if stages.SETTINGS[name].base or stage.low_res is not None
  ]


@pytest.mark.parametrize(
  'name', [s.name for s in stages.SETTINGS.values() if s.decides]
)
def test_every_setting_survives_its_recipe(name, tmp_path, monkeypatch):
  cascade, path = tiny_cascade.load(), tmp_path / 'a.png'
  request = cascade_lib.Request(caption='a fox')
  plain = recipes.write(cascade, cascade.plan(), request, 7)
  plan = cascade.plan(**{name: OTHER[name]})
  assert OTHER[name] in _values(cascade, plan, name)
  assert OTHER[name] != getattr(stages.Sampling(), name)
  text = recipes.write(cascade, plan, request, 7)
  pictures.write_png(path, np.zeros([8, 8, 3], np.uint8), text)
  again = _drawn_again(cascade, path, monkeypatch)
  assert _values(cascade, again, name) == _values(cascade, plan, name)
  assert recipes.write(cascade, again, request, 7) == text
  assert name in recipes.difference(plain, text).split(' ')[0]


def test_all_settings_at_once_survive_their_recipe(tmp_path, monkeypatch):
  cascade, path = tiny_cascade.load(), tmp_path / 'a.png'
  plan = cascade.plan(**OTHER)
  request = cascade_lib.Request(caption='a fox')
  text = recipes.write(cascade, plan, request, 7)
  pictures.write_png(path, np.zeros([8, 8, 3], np.uint8), text)
  again = _drawn_again(cascade, path, monkeypatch)
  for name in OTHER:
    assert _values(cascade, again, name) == _values(cascade, plan, name)


@pytest.mark.parametrize(
  'name', ['guidance_range', 'oscillate_from', 'cap', 'eta', 'gamma']
)
def test_what_a_stage_has_is_written_where_the_plan_has_not(name):
  """And only there: recipes of before did not tell, and meant the stage's."""
  cascade = _with_own(tiny_cascade.load(), **{name: OTHER[name]})
  request = cascade_lib.Request(caption='a fox')
  own = recipes.write(cascade, cascade.plan(), request, 7)
  assert name not in own
  default = getattr(stages.Sampling(), name)
  plan = cascade.plan(**{name: 'off' if default is None else default})
  assert _values(cascade, plan, name) == [default] * 3
  text = recipes.write(cascade, plan, request, 7)
  again = cascade.plan(**recipes.read(text, 'x.png').settings)
  assert again == plan and recipes.difference(own, text).startswith(name)


def _with_own(cascade, **own):
  """The cascade, its stages sampled in another way."""
  changed = tuple(
    dataclasses.replace(
      stage, sampling=dataclasses.replace(stage.sampling, **own)
    )
    for stage in cascade.stages
  )
  return dataclasses.replace(cascade, stages=changed)


def test_a_recipe_of_the_release_before_asks_for_the_same():
  """As 0.1 wrote it, of stages with and without a margin of their own."""
  request = cascade_lib.Request(caption='a fox', index=2)
  plain, wide = tiny_cascade.load(), _with_own(tiny_cascade.load(), margin=2)
  for cascade, more in ((plain, {}), (wide, {'margin': '2,2'})):
    before = {
      'prompt': 'a fox',
      'seed': '7',
      'index': '2',
      'cascade': cascade.id,
      'resolution': '32',
      'sampler': 'ddpm,ddim,dpmpp_2m',
      'grid': 'time,time,time',
      'steps': '5,3,2',
      'guidance': '3,3,3',
      'threshold': 'dynamic,dynamic,dynamic',
      'percentile': '99.5,99.5,99.5',
      'aug_level': '0.1,0.1',
      'software': 'imagen_jax 0.0.1',
      **more,
    }
    now = recipes.write(cascade, cascade.plan(), request, 7)
    assert recipes.difference(before, now) == ''
    plan = cascade.plan(**recipes.read(before, 'x.png').settings)
    assert plan == cascade.plan()
