"""What is random in a step, and in the validation loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.diffusion import layouts
from imagen_jax.training import objective, validation
from tests.support import tiny_cascade

BATCH = {
  'image': jnp.zeros([64, 8, 8, 3]),
  'low_res': jnp.zeros([64, 2, 2, 3]),
}


@pytest.mark.parametrize('most', [1.0, 0.2])
def test_augmentation_levels_are_uniform_up_to_the_most(most):
  drawn = objective.draw_noise(jax.random.key(0), BATCH, 0.1, most)
  fixed = validation.fixed_noise(BATCH, 0, max_aug_level=most)
  for noise in (drawn, fixed):
    levels = np.asarray(noise.aug_level)
    assert 0 <= levels.min() < 0.1 * most and 0.9 * most < levels.max() <= most
    assert abs(levels.mean() - most / 2) < 0.1 * most
    assert np.ptp(np.asarray(noise.t)) > 0.9


def test_a_layout_is_dropped_with_its_caption_and_alone():
  """And what else is random stays as it is without layouts."""
  layout = layouts.Layout(things=('fox',), colours=('natural',), cells=8)
  stage = dataclasses.replace(tiny_cascade.stage(8), layout=layout)
  b, told = 64, {}
  batch = {
    'image': jnp.zeros([b, 8, 8, 3], jnp.uint8),
    'text': jnp.ones([b, tiny_cascade.LENGTH, tiny_cascade.WIDTH]),
    'mask': jnp.ones([b, tiny_cascade.LENGTH], bool),
    'boxes': jnp.tile(jnp.array([[[0, 0, 0.5, 0.5, 1.0, 1.0]]]), (b, 1, 1)),
  }

  def apply(variables, z, logsnr, text, mask, layout):
    told.update(text=np.asarray(text), layout=np.asarray(layout))
    return z

  key = jax.random.key(3)
  noise = objective.draw_noise(key, batch, 0.3, layout_dropout=0.4)
  objective.example_losses(stage, apply, {}, batch, noise)
  drop, untold = np.asarray(noise.drop), np.asarray(noise.untold)
  assert 0 < (drop & ~untold).sum() and 0 < (untold & ~drop).sum()
  seen = told['layout'].any(axis=(1, 2, 3))
  np.testing.assert_array_equal(seen, ~(drop | untold))
  np.testing.assert_array_equal(told['text'].any(axis=(1, 2)), ~drop)
  plain = objective.draw_noise(key, batch, 0.3)
  assert not np.asarray(plain.untold).any()
  for name in ('t', 'eps', 'drop', 'aug_level', 'aug_eps'):
    np.testing.assert_array_equal(getattr(plain, name), getattr(noise, name))


def test_a_blurred_low_resolution_picture_is_what_the_network_sees():
  """Blurred before it is made noisy; all else random stays as it is."""
  stage = tiny_cascade.stage(16)
  b, seen = 8, []
  rng = np.random.default_rng(5)
  batch = {
    'image': jnp.zeros([b, 16, 16, 3], jnp.uint8),
    'low_res': rng.integers(0, 256, [b, 8, 8, 3]).astype(np.uint8),
    'text': jnp.ones([b, tiny_cascade.LENGTH, tiny_cascade.WIDTH]),
    'mask': jnp.ones([b, tiny_cascade.LENGTH], bool),
  }

  def apply(variables, z, logsnr, text, mask, low_res, aug_logsnr):
    seen.append(np.asarray(low_res))
    return z

  key = jax.random.key(4)
  noise = objective.draw_noise(key, batch, 0.1, max_blur=1.5)
  plain = objective.draw_noise(key, batch, 0.1)
  assert plain.blur is None
  for name in ('t', 'eps', 'drop', 'untold', 'aug_level', 'aug_eps'):
    np.testing.assert_array_equal(getattr(plain, name), getattr(noise, name))
  sigma = np.asarray(noise.blur)
  assert 0 <= sigma.min() < 0.5 and 1 < sigma.max() <= 1.5
  for fixed in (noise, plain):
    still = dataclasses.replace(fixed, aug_level=jnp.zeros([b]))
    objective.example_losses(stage, apply, {}, batch, still)
  blurred, sharp = seen
  far = np.abs(blurred - sharp).mean(axis=(1, 2, 3))
  assert np.corrcoef(far, sigma)[0, 1] > 0.8
