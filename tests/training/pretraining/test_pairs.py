"""CLIP's objective: the contrast, and what a batch holds."""

import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.data.emoji_scenes import drawing, splits
from imagen_jax.models import clip_text, contrastive
from imagen_jax.text import tokenizers
from imagen_jax.training.pretraining import pairs, sentences

SIZES = {
  'vocab_size': 700,
  'emb_dim': 16,
  'num_heads': 2,
  'mlp_dim': 24,
  'num_layers': 1,
  'max_positions': 16,
  'eos_id': tokenizers.EOS,
  'projection_dim': 8,
}


class _Words:
  """A tokenizer: the length of each word."""

  @staticmethod
  def ids(caption):
    return [3 + len(word) for word in caption.split()]


def test_contrast_of_matching_and_of_equal_vectors():
  """Orthogonal pairs: log(1 + (b - 1) e^-scale); all equal: log b."""
  found = pairs.contrast(jnp.eye(4), jnp.eye(4), 5.0)
  np.testing.assert_allclose(found[0], np.log(1 + 3 * np.exp(-5)), rtol=1e-5)
  assert found[1] == 1
  same = jnp.ones((4, 4)) / 2
  np.testing.assert_allclose(
    pairs.contrast(same, same, 5.0)[0], np.log(4), rtol=1e-6
  )
  # Captions that belong to the next picture: none is found.
  turned = jnp.roll(jnp.eye(4), 1, axis=0)
  loss, accuracy = pairs.contrast(turned, jnp.eye(4), 5.0)
  assert accuracy == 0
  np.testing.assert_allclose(loss, 5 + np.log(1 + 3 * np.exp(-5)), rtol=1e-5)

  # One caption twice: each picture leaves the choice of two, and each caption
  # chooses the first picture.
  loss, accuracy = pairs.contrast(jnp.eye(2)[jnp.zeros(2, int)], jnp.eye(2), 5)
  of_captions, near = np.log(2), np.log(1 + np.exp(-5))
  of_pictures = (near + near + 5) / 2
  np.testing.assert_allclose(loss, (of_captions + of_pictures) / 2, rtol=1e-5)
  assert accuracy == 0.5


def test_an_example_is_a_scene_and_its_caption():
  corpus = sentences.Sentences()
  objective = pairs.Pairs(
    model=clip_text.CLIPTextConfig(**SIZES),
    pictures=contrastive.PictureConfig(resolution=32),
    length=6,
  )
  for index in range(20):
    scene, caption = corpus.pair(index)
    row = objective.example(corpus, index, (), _Words, None)
    np.testing.assert_array_equal(row['picture'], drawing.draw(scene, 32))
    words = [*_Words.ids(caption)[:5], tokenizers.EOS]
    assert row['tokens'][row['mask']].tolist() == words
    assert row['tokens'].shape == row['mask'].shape == (6,)
    for vocabulary in splits.VOCABULARIES:
      assert not splits.held_out_kinds(scene, vocabulary)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'projection_dim': None}, 'projection_dim is None; give'),
    ({'max_positions': 8}, 'captions of 16 tokens, CLIP has 8 positions'),
    ({'eos_id': 2}, 'eos_id is 2; captions end with 1'),
  ],
)
def test_models_that_cannot_be_trained_are_refused(changes, message):
  model = clip_text.CLIPTextConfig(**{**SIZES, **changes})
  with pytest.raises(ValueError, match=message):
    pairs.Pairs(model=model, length=16)


def test_pictures_that_do_not_fold_are_refused():
  with pytest.raises(ValueError, match='60 is no multiple of 2 x fold = 8'):
    contrastive.PictureConfig(resolution=60)
