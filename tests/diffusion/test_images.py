"""Pictures to float and back."""

import jax.numpy as jnp
import numpy as np

from imagen_jax.diffusion import images


def test_pictures_survive_the_way_to_float_and_back():
  every = np.arange(256, dtype=np.uint8)
  as_float = images.to_float(every)
  assert as_float[0] == -1 and as_float[255] == 1
  np.testing.assert_array_equal(images.to_uint8(as_float), every)
  outside = images.to_uint8(jnp.array([-7.0, 7.0]))
  np.testing.assert_array_equal(outside, [0, 255])
