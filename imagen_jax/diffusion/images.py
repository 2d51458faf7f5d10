"""Pictures as the process sees them: float32 in [-1, 1], [..., 3]."""

import jax.numpy as jnp


def to_float(image):
  """uint8 [..., 3] -> float32 in [-1, 1]."""
  return image.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(x):
  """float in [-1, 1], clipped -> uint8, rounded to nearest."""
  return jnp.clip(jnp.round((x + 1.0) * 127.5), 0, 255).astype(jnp.uint8)
