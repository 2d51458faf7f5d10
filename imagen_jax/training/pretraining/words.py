"""How well hidden words are found: loss and accuracy of logits [b, l, vocab].

Targets [b, l] are tokens, padding where nothing is asked.
"""

import jax
import jax.numpy as jnp

from imagen_jax.text import tokenizers


def loss_and_accuracy(logits, targets):
  """Cross-entropy per target token, and the share of hidden words found.

  Sentinels and the end of sequence count in the loss, not in the accuracy.
  """
  scores = jax.nn.log_softmax(logits.astype(jnp.float32))
  score = jnp.take_along_axis(scores, targets[..., None], axis=-1)[..., 0]
  real = targets != tokenizers.PAD
  vocab_size = logits.shape[-1]
  words = (targets > tokenizers.UNKNOWN) & (
    targets < vocab_size - tokenizers.SENTINELS
  )
  right = words & (jnp.argmax(logits, axis=-1) == targets)
  loss = -jnp.sum(score * real) / jnp.maximum(1, jnp.sum(real))
  return loss, jnp.sum(right) / jnp.maximum(1, jnp.sum(words))
