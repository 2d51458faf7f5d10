"""Layouts that are drawn, and cascades whose base is told of them."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from imagen_jax import bind, stages
from imagen_jax.diffusion import layouts
from imagen_jax.models import layout_transformer
from imagen_jax.sampling import bundles, layout_files, layout_sampler
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.stages import layout_stage
from tests.support import tiny_cascade

LAYOUT = layouts.Layout(
  things=('fox', 'key', 'car', 'star'),
  colours=('natural', 'red', 'pink', 'blue'),
  boxes=3,
  cells=8,
)
STAGE = layout_stage.LayoutStage(
  layout=LAYOUT,
  model=layout_transformer.LayoutTransformerConfig(
    width=16,
    blocks=1,
    head_width=8,
    text_width=tiny_cascade.WIDTH,
    max_length=tiny_cascade.LENGTH,
  ),
  steps=3,
)
BASE = dataclasses.replace(tiny_cascade.stage(8), layout=LAYOUT)
FOX, KEYS, _ = tiny_cascade.CAPTIONS
BOX = layout_files.Box(thing='fox', x=0.3, y=0.5, width=0.5, height=0.5)
pytestmark = pytest.mark.filterwarnings('ignore:the prompt')


@functools.cache
def _params():
  shapes = jax.eval_shape(
    functools.partial(layout_stage.init_params, STAGE), jax.random.key(0)
  )
  return tiny_cascade.random_arrays(shapes, 5)


@pytest.fixture(scope='module')
def cascade(tmp_path_factory):
  """Of a layout stage, a base that is told, and one super-resolution stage."""
  root = tmp_path_factory.mktemp('told')
  layout_stage.write(root / 'run' / 'layout', STAGE, _params())
  stages.write(root / '8', BASE, tiny_cascade.random_params(BASE))
  shipped = tiny_cascade.directory()
  bind.bind(
    [root / '8', shipped / 'stage_16'],
    shipped / 'text',
    root / 'cascade',
    words=None,
    settings={},
    layout=root / 'run',
  )
  return cascade_lib.load_cascade(root / 'cascade')


def _draw(rows, index, seed=3):
  rng = np.random.default_rng(0)
  shape = 20, tiny_cascade.LENGTH, tiny_cascade.WIDTH
  text = rng.normal(size=shape).astype(np.float32)[rows]
  mask = np.ones(text.shape[:2], bool)
  return layout_sampler.draw(
    STAGE,
    _params(),
    bundles.Conditions(text=text, mask=mask),
    bundles.Seeds(seed=seed, index=np.asarray(index)),
  )


def test_a_layout_depends_on_caption_seed_and_index_alone():
  n = 11  # more than a batch, and not two
  together = _draw(np.arange(n), np.arange(n) % 3)
  assert together.shape == (n, 3, 6) and np.isfinite(together).all()
  for i in (0, 8, 10):
    np.testing.assert_array_equal(_draw([i], [i % 3])[0], together[i])
  assert np.any(_draw([0], [1])[0] != together[0])
  assert np.any(_draw([0], [0], seed=4)[0] != together[0])
  assert np.any(_draw([1], [0])[0] != together[0])


def test_guidance_leads_away_from_another_text():
  plain = _draw([0], [0])
  text = np.ones([1, tiny_cascade.LENGTH, tiny_cascade.WIDTH], np.float32)
  mask = np.ones(text.shape[:2], bool)
  conditions = bundles.Conditions(text=text, mask=mask, negative=(text, mask))
  seeds = bundles.Seeds(seed=3, index=[0])
  guided = dataclasses.replace(STAGE, guidance=4.0)
  same, other = (
    layout_sampler.draw(stage, _params(), conditions, seeds)
    for stage in (STAGE, guided)
  )
  # Away from the caption itself there is nowhere to go.
  np.testing.assert_allclose(same, other, atol=1e-4)
  assert plain.shape == other.shape


def test_a_cascade_draws_what_its_layout_stage_places(cascade):
  requests = [cascade_lib.Request(caption=c) for c in (FOX, KEYS)]
  placed = cascade.layouts(requests, seed=7)
  plan = cascade.plan(upto=8)
  drawn = cascade.draw(requests, plan, seed=7)
  for i, boxes in enumerate(placed):
    told = cascade.draw(requests, plan, seed=7, layout=boxes)
    np.testing.assert_array_equal(told[i], drawn[i])
  other = cascade.sample([FOX, KEYS], seed=7, upto=8, layout=[BOX])
  assert np.any(other != drawn)


def test_one_layout_goes_through_all_stages(cascade):
  whole = cascade.sample([FOX], seed=7, layout=[BOX])
  assert whole.shape == (1, 16, 16, 3)
  base = cascade.sample([FOX], seed=7, upto=8, layout=[BOX])
  again = cascade.draw(
    [cascade_lib.Request(caption=FOX)], cascade.plan(), seed=7, given=base
  )
  np.testing.assert_array_equal(again, whole)


def test_a_picture_that_is_changed_keeps_its_places(cascade, monkeypatch):
  def none(*unused):
    raise AssertionError('a layout was drawn')

  monkeypatch.setattr(layout_sampler, 'draw', none)
  picture = np.zeros([8, 8, 3], np.uint8)
  from imagen_jax.sampling import edits

  source = edits.Source(picture=picture, strength=0.5)
  assert cascade.sample([FOX], upto=8, source=source).shape == (1, 8, 8, 3)


def test_a_base_that_is_not_told_takes_no_layout():
  with pytest.raises(ValueError, match='base of this cascade is not told'):
    tiny_cascade.load().sample([FOX], upto=8, layout=[BOX])


def test_a_layout_stage_of_other_words_is_refused(cascade):
  other = dataclasses.replace(LAYOUT, things=('dragon',))
  with pytest.raises(ValueError, match="tiny_8 is told of .*places .'dragon'"):
    dataclasses.replace(
      cascade, layout=(dataclasses.replace(STAGE, layout=other), _params())
    )
  untold = dataclasses.replace(BASE, layout=None)
  with pytest.raises(ValueError, match='tiny_8 is told of None'):
    dataclasses.replace(cascade, stages=(untold, *cascade.stages[1:]))
