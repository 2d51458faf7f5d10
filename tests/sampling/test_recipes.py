"""Recipes: written, read back, and never trusted."""

import pytest

from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import recipes
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
    ({'steps': '5,many'}, "steps in its recipe is 'many'"),
    ({'guidance': '2,,3'}, "guidance in its recipe is ''"),
    ({'prompt': 'a' * 20_000}, 'prompt in its recipe is too long'),
    ({'size': '64'}, "size in its recipe is ''; the file was altered"),
    ({'size': '0x64'}, "size in its recipe is '0x64'; the file was altered"),
    ({'size': '64x99999'}, "size in its recipe is '64x99999'"),
  ],
)
def test_forged_recipes_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    recipes.read(_text(**changes), 'x.png')


@pytest.mark.parametrize('name', ['prompt', 'seed', 'steps', 'cascade'])
def test_a_picture_without_a_recipe(name):
  text = _text()
  del text[name]
  with pytest.raises(ValueError, match=f'x.png has no recipe .{name} is mis'):
    recipes.read(text, 'x.png')
