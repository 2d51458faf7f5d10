"""Training of a layout stage on the embedded scenes."""

import dataclasses

import jax
import numpy as np
import pytest

from imagen_jax import train_layout
from imagen_jax.data import boxes, pipeline
from imagen_jax.data.emoji_scenes import source, splits
from imagen_jax.diffusion import layouts
from imagen_jax.files import weights
from imagen_jax.models import layout_transformer
from imagen_jax.stages import layout_stage
from imagen_jax.text import checkpoints as text_checkpoints
from imagen_jax.training import inputs, layout_examples, optimizers

WORDS = splits.VOCABULARIES['lite']
STAGE = layout_stage.LayoutStage(
  layout=layouts.Layout(
    things=WORDS.nouns, colours=('natural', *WORDS.colours), boxes=5
  ),
  model=layout_transformer.LayoutTransformerConfig(
    width=16, blocks=1, head_width=8
  ),
)
CONFIG = train_layout.LayoutTraining(
  stage=STAGE,
  learning_rate=optimizers.LearningRate(peak=1e-2, warmup=1),
  batch_size=8,
  examples=20,
  steps=4,
  log_every=1,
  validate_every=4,
  validation_batches=1,
  checkpoint_every=2,
)


def test_a_resumed_training_is_the_uninterrupted_one(tmp_path):
  whole = train_layout.train(CONFIG, tmp_path / 'whole')
  half = dataclasses.replace(CONFIG, steps=2)
  train_layout.train(half, tmp_path / 'parts')
  resumed = train_layout.train(CONFIG, tmp_path / 'parts')
  for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed)):
    np.testing.assert_array_equal(a, b)
  stage, params = layout_stage.read(tmp_path / 'parts' / 'layout')
  assert stage == STAGE
  for name, value in weights.flatten(params).items():
    np.testing.assert_array_equal(value, weights.flatten(whole.ema)[name])
  other = dataclasses.replace(CONFIG, noises=3, steps=6)
  with pytest.raises(ValueError, match='noises is 2 there and 3 here'):
    train_layout.train(other, tmp_path / 'parts')


def test_batches_say_what_scenes_show():
  encoder = text_checkpoints.load_encoder(inputs.SHIPPED_TEXT)
  data = source.EmojiScenes(split='train', vocabulary='lite')
  examples = layout_examples.LayoutExamples(
    source=data,
    stage=STAGE,
    embedded=layout_examples.Embedded(encoder),
    batch_size=4,
    noises=3,
    examples=6,
    seed=0,
    caption_dropout=0.5,
  )
  batch, again = examples.batch(1), examples.batch(1)
  for name, value in batch.items():
    np.testing.assert_array_equal(value, again[name])
  # Numbers 4, 5, then the first ones again.
  captions = [data.caption(i) for i in (4, 5, 0, 1)]
  text, mask = encoder.encode(captions)
  length = batch['text'].shape[1]
  np.testing.assert_array_equal(batch['mask'], mask[:, :length])
  np.testing.assert_allclose(
    batch['text'][batch['mask']], text[mask], atol=2e-3
  )
  rows = np.asarray(layouts.from_vectors(STAGE.layout, batch['vectors']))
  for row, i in zip(rows, (4, 5, 0, 1)):
    items = data.scene(i).items
    assert [WORDS.nouns[int(r[0])] for r in row if r[0] >= 0] == [
      item.noun for item in items
    ]
    np.testing.assert_allclose(
      row[: len(items), 2:5],
      [(item.x, item.y, item.side) for item in items],
      atol=1e-5,
    )
  t = np.sort(batch['t'].ravel())
  np.testing.assert_allclose(np.diff(t), 1 / 12, atol=1e-6)


def test_the_loss_of_the_truth_is_nothing(monkeypatch):
  vectors = np.asarray(
    layouts.to_vectors(
      STAGE.layout,
      [[[3, 2, 0.2, 0.3, 0.4, 0.4]] + [[-1, 0, 0, 0, 0, 0]] * 4],
    )
  )

  class Truth:
    """Says the truth, sure of the names."""

    def apply(self, variables, z, logsnr, text, mask):
      names, numbers = np.split(vectors, [-4], axis=-1)
      return np.concatenate([50 * names, numbers + variables['params']], -1)

  monkeypatch.setattr(layout_stage, 'network', lambda stage: Truth())
  batch = {
    'text': np.zeros([1, 8, 256], np.float32),
    'mask': np.ones([1, 8], bool),
    'drop': np.zeros(1, bool),
    'vectors': vectors,
    't': np.float32([[0.5]]),
    'eps': np.zeros([1, 1, *vectors.shape[1:]], np.float32),
  }
  value, parts = layout_examples.loss(STAGE, 0.0, batch)
  assert float(value) < 1e-6 and float(parts['things']) == 1.0
  off, _ = layout_examples.loss(STAGE, 0.1, batch)
  logsnr = float(STAGE.schedule(np.float32(0.5)))
  expected = 4.0 * 0.1**2 * min(1 + np.exp(logsnr), 10.0)
  np.testing.assert_allclose(float(off), expected, rtol=1e-5)


def test_what_does_not_fit_is_told(tmp_path):
  model = dataclasses.replace(STAGE.model, text_width=8)
  config = dataclasses.replace(
    CONFIG, stage=dataclasses.replace(STAGE, model=model)
  )
  with pytest.raises(ValueError, match='gives 32 tokens of width 256'):
    train_layout.train(config, tmp_path)
  few = dataclasses.replace(STAGE.layout, boxes=1)
  scene = {'scene': {'items': [{'noun': 'fox'}] * 2}}
  with pytest.raises(ValueError, match='2 boxes in an example, 1 at most'):
    boxes.of_example(few, scene)
  with pytest.raises(ValueError, match='the source gives no boxes'):
    boxes.of_example(few, {'image': 0})
  assert '4 steps of 8' in train_layout.describe(CONFIG)
  assert isinstance(CONFIG.data, pipeline.EmojiScenes)
