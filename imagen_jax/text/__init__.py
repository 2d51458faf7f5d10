"""Captions to text embeddings: tokenizers, encoders and their checkpoints.

from imagen_jax import text
encoder = text.load_encoder('t5-v1_1-xxl', dtype='bfloat16')
embeddings, mask = encoder.encode(['a red fox at sunset'])
"""


def load_encoder(source, **settings):
  """The text encoder in a directory, see `checkpoints.load_encoder`."""
  from imagen_jax.text import checkpoints  # heavy: flax, the networks

  return checkpoints.load_encoder(source, **settings)
