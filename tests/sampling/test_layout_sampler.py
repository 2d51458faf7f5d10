"""Layouts that are drawn, and cascades whose base is told of them."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from imagen_jax import bind, sample, stages
from imagen_jax.diffusion import layouts
from imagen_jax.files import pictures
from imagen_jax.models import layout_transformer
from imagen_jax.sampling import (
  bundles,
  edits,
  interpolation,
  layout_files,
  layout_sampler,
)
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
def directory(tmp_path_factory):
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
  return root / 'cascade'


@pytest.fixture(scope='module')
def cascade(directory):
  return cascade_lib.load_cascade(directory)


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


def test_a_layout_goes_by_file_into_a_picture_and_back(
  cascade, directory, tmp_path
):
  """`--layout`, what the picture carries, `--reproduce`, what is refused."""
  file = tmp_path / 'fox.json'
  file.write_text(layout_files.to_text([BOX]))
  run = ['--cascade', str(directory), '--upto', '8', '--seed', '7', '--out']
  assert (
    sample.main([FOX, *run, str(tmp_path / 'a'), '--layout', str(file)]) == 0
  )
  assert sample.main([FOX, *run, str(tmp_path / 'b')]) == 0
  told, placed = (
    next((tmp_path / name).glob('*_0.png')) for name in ('a', 'b')
  )
  assert layout_files.read(told) == (BOX,)
  boxes = layout_files.read(placed)
  assert boxes == cascade.layouts([cascade_lib.Request(caption=FOX)], seed=7)[0]
  again = ['--cascade', str(directory), '--out', str(tmp_path / 'c')]
  for path in (told, placed):
    assert sample.main(['--reproduce', str(path), *again]) == 0
  # What a picture carries places the same things again.
  assert (
    sample.main([FOX, *run, str(tmp_path / 'd'), '--layout', str(placed)]) == 0
  )
  first, second = (
    pictures.read_png(next((tmp_path / d).glob('*_0.png')))[0] for d in 'bd'
  )
  np.testing.assert_array_equal(first, second)


def test_a_layout_that_makes_no_sense_is_told(directory, tmp_path, capsys):
  run = [FOX, '--cascade', str(directory), '--upto', '8']
  run += ['--out', str(tmp_path / 'a'), '--layout']
  dragon = tmp_path / 'dragon.json'
  dragon.write_text(
    layout_files.to_text([dataclasses.replace(BOX, thing='dragon')])
  )
  assert sample.main([*run, str(dragon)]) == 2
  assert "the thing 'dragon' is none that" in capsys.readouterr().err
  assert sample.main([*run, str(tmp_path / 'none.json')]) == 2
  assert 'does not exist; give a JSON file' in capsys.readouterr().err
  assert sample.main([*run, str(dragon), '--image', 'x.png']) == 2
  assert '--image has its things in their places' in capsys.readouterr().err
  other = ['--cascade', str(tiny_cascade.directory())]
  file = tmp_path / 'fox.json'
  file.write_text(layout_files.to_text([BOX]))
  assert sample.main([*run, str(file), *other]) == 2
  assert 'is not told of layouts; leave the flag out' in capsys.readouterr().err


def test_between_sentences_nothing_is_placed(cascade, monkeypatch):
  def none(*unused):
    raise AssertionError('a layout was drawn')

  monkeypatch.setattr(layout_sampler, 'draw', none)
  plan = cascade.plan(upto=8)
  images = interpolation.draw(cascade, [FOX, KEYS], 3, plan)
  assert images.shape == (1, 3, 8, 8, 3)


def test_weights_of_another_layout_stage_are_told(cascade):
  model = dataclasses.replace(STAGE.model, width=8)
  other = dataclasses.replace(STAGE, model=model)
  mixed = dataclasses.replace(cascade, layout=(other, _params()))
  with pytest.raises(ValueError, match='the layout stage: its weights are not'):
    mixed.sample([FOX], upto=8)


def test_a_stage_that_cannot_be_told_is_refused():
  with pytest.raises(ValueError, match='kind UNetConfig alone is told'):
    dataclasses.replace(tiny_cascade.stage(16), layout=LAYOUT)
  coarse = dataclasses.replace(LAYOUT, cells=4)
  with pytest.raises(ValueError, match='has 4 cells .* finest grid 8'):
    dataclasses.replace(BASE, layout=coarse)
