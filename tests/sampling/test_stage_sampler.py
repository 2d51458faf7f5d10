"""A stage draws beyond the borders of its pictures where it is told to."""

import dataclasses
import functools

import numpy as np
import pytest

from imagen_jax import stages
from imagen_jax.sampling import bundles, edits, stage_sampler
from tests.support import tiny_cascade

RNG = np.random.default_rng(0)
LOW = RNG.integers(0, 256, (1, 8, 12, 3), np.uint8)  # wider than high


@functools.cache
def _tiny():
  stage = tiny_cascade.stage(16)
  return stage, tiny_cascade.random_params(stage, 1)


def _draw(low_res, margin, edit=None, watch=None):
  stage, params = _tiny()
  text = np.ones([1, tiny_cascade.LENGTH, tiny_cascade.WIDTH], np.float32)
  return stage_sampler.draw(
    stage,
    params,
    dataclasses.replace(stage.sampling, margin=margin),
    bundles.Conditions(
      text=text, mask=np.ones(text.shape[:2], bool), low_res=low_res
    ),
    bundles.Seeds(seed=3, index=[0]),
    canvas=bundles.Canvas(
      size=tuple(2 * n for n in low_res.shape[1:3]), edit=edit
    ),
    observer=bundles.Observer(watch=watch),
  )


def test_a_margin_is_the_border_drawn_and_cut_off():
  wide = np.pad(LOW, ((0, 0), (2, 2), (2, 2), (0, 0)), 'edge')
  drawn = _draw(LOW, 2)
  assert drawn.shape == (1, 16, 24, 3)
  np.testing.assert_array_equal(drawn, _draw(wide, 0)[:, 4:-4, 4:-4])


def test_what_is_kept_and_what_is_watched_is_inside_the_margin():
  picture = RNG.integers(0, 256, (1, 16, 24, 3), np.uint8)
  mask = np.zeros(picture.shape[:3], bool)
  mask[:, 3:9, 20:] = True
  seen = []
  drawn = _draw(
    LOW,
    2,
    edit=bundles.Edit(picture=picture, mask=mask),
    watch=lambda rows, step, x0: seen.append(x0.shape),
  )
  np.testing.assert_array_equal(drawn[~mask], picture[~mask])
  assert np.any(drawn[mask] != picture[mask])
  assert set(seen) == {(1, 16, 24, 3)}


def test_margins_reach_the_stages_of_a_plan():
  cascade = tiny_cascade.load()
  assert [s.margin for s in cascade.plan(margin=[2, 0])] == [0, 2, 0]
  assert [s.margin for s in cascade.plan(margin=3)] == [3, 3, 3]
  enlarged = edits.upscale(cascade, LOW[0], cascade.plan(upto=16, margin=2))
  assert enlarged.shape == (16, 24, 3)


def test_margins_that_cannot_be():
  cascade = tiny_cascade.load()
  with pytest.raises(ValueError, match='margin is -1; it must be a whole numb'):
    cascade.plan(margin=-1)
  with pytest.raises(ValueError, match='margin has 4 values, 3 stages'):
    cascade.plan(margin=[1] * 4)
  stage, _ = _tiny()
  coarse = dataclasses.replace(
    stage, model=dataclasses.replace(stage.model, fold=4)
  )
  with pytest.raises(ValueError, match='margin is 3; its network takes multip'):
    stages.edge(coarse, dataclasses.replace(stage.sampling, margin=3))
  assert stages.edge(coarse, dataclasses.replace(stage.sampling, margin=4)) == 8
