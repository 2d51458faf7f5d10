"""Loss and accuracy of hidden words."""

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax.training.pretraining import words


def test_loss_and_accuracy_count_what_they_say():
  """Uniform logits: log(vocab); only hidden words count as found."""
  vocab = 200
  targets = jnp.array([[199, 50, 51, 198, 52, 1, 0, 0]])
  loss, accuracy = words.loss_and_accuracy(jnp.zeros((1, 8, vocab)), targets)
  np.testing.assert_allclose(loss, np.log(vocab), rtol=1e-6)
  assert accuracy == 0
  # Two of the three words right, everything else wrong.
  guess = jnp.array([[0, 50, 51, 0, 0, 0, 9, 9]])
  sure = 50.0 * jax.nn.one_hot(guess, vocab)
  _, accuracy = words.loss_and_accuracy(sure, targets)
  np.testing.assert_allclose(accuracy, 2 / 3, rtol=1e-6)
  # Wrong by 50 at four of six tokens; at padding nothing is asked.
  loss, _ = words.loss_and_accuracy(sure, targets)
  np.testing.assert_allclose(loss, 50 * 4 / 6, rtol=1e-5)
