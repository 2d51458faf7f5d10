"""The cascade that ships: whole, small enough, and drawing what it drew."""

import pathlib

import numpy as np
import pytest

import imagen_jax
from imagen_jax.files import pictures
from imagen_jax.sampling import presets

SHIPPED = pathlib.Path(imagen_jax.__file__).parent / 'pretrained' / 'scenes'
# Made by: python -m imagen_jax.sample PROMPT... --upto=64 --seed=7
GOLDEN = pathlib.Path(__file__).parent / 'data' / 'golden'


@pytest.fixture(scope='module')
def cascade():
  return imagen_jax.load_cascade()


def test_weights_stay_below_30_megabytes():
  files = [path for path in SHIPPED.rglob('*') if path.is_file()]
  weights = [f for f in files if f.suffix in ('.safetensors', '.model')]
  assert len(weights) == 6
  assert sum(path.stat().st_size for path in files) < 30e6


def test_stages_chain_and_the_readme_lies_in_the_words(cascade):
  assert [stage.resolution for stage in cascade.stages] == [64, 256, 1024]
  for caption in ('a red fox at sunset', 'two pink keys under a night sky'):
    assert cascade.remarks([caption]) == []
  assert cascade.remarks(['a purple zebra'])


def test_presets_as_the_sweep_found_them(cascade):
  """Their base guides by 2 and clips; the rest is as of all cascades."""
  for name, general in presets.PRESETS.items():
    plan = cascade.plan(preset=name)
    assert (plan[0].guidance, plan[0].threshold) == (2.0, 'static')
    # No line along the edges, where the networks learned from crops.
    assert [s.margin for s in plan] == [0, 4, 4]
    assert [s.sampler for s in plan] == [s['sampler'] for s in general]
    steps = [s.steps for s in plan]
    assert steps[1:] == [s['steps'] for s in general[1:]]
    assert steps[0] == {'paper': 256, 'fast': 8, 'draft': 6}[name]


def test_draws_the_stored_pictures(cascade):
  stored = sorted(GOLDEN.glob('*.png'))
  assert len(stored) == 3
  images, recipes = zip(*map(pictures.read_png, stored))
  assert {recipe['cascade'] for recipe in recipes} == {cascade.id}, (
    'other weights ship now: draw tests/data/golden again'
  )
  prompts = [recipe['prompt'] for recipe in recipes]
  drawn = cascade.sample(prompts, seed=int(recipes[0]['seed']), upto=64)
  difference = np.abs(drawn.astype(int) - np.stack(images).astype(int))
  assert difference.max() <= 2
  assert difference.mean() < 0.2
