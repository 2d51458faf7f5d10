"""The average of the weights remembers more, the longer a run is."""

import jax.numpy as jnp
import numpy as np

from imagen_jax.training import state


def test_the_decay_of_the_average_is_ramped_up_to_its_end():
  steps = jnp.array([0, 8, 90, 89_990, 10**6])
  found = [state.ema_decay(step, 0.9999) for step in steps]
  expected = [0.1, 0.5, 0.91, 0.9999, 0.9999]
  np.testing.assert_allclose(found, expected, rtol=1e-6)
