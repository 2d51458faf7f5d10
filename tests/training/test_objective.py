"""What is random in a step, and in the validation loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.training import objective, validation

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
