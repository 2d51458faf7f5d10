"""T5's objective: what the decoder is given."""

import jax.numpy as jnp

from imagen_jax.text import tokenizers
from imagen_jax.training.pretraining import spans


def test_the_decoder_is_given_the_targets_one_late():
  """Or it would copy what it is asked."""
  seen = {}

  def apply(variables, inputs, mask, decoder_tokens):
    seen.update(tokens=decoder_tokens, mask=mask)
    return jnp.zeros((1, 4, 200))

  batch = {
    'inputs': jnp.array([[199, 9, 1, 0]]),
    'targets': jnp.array([[199, 50, 1, 0]]),
  }
  spans.loss_and_accuracy(apply, {}, batch)
  assert seen['tokens'].tolist() == [[tokenizers.PAD, 199, 50, 1]]
  assert seen['mask'].tolist() == [[True, True, True, False]]
