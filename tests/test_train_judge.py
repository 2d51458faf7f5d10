"""Training of the judge: the loss falls, a resumed run is the same run."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from imagen_jax import train_judge
from imagen_jax.data.emoji_scenes import splits
from imagen_jax.evaluation.scenes import judge, judge_examples
from imagen_jax.models import judge as network
from imagen_jax.parallel import partitioning
from imagen_jax.training import optimizers
from tests.evaluation.scenes import test_judge

CONFIG = train_judge.JudgeTraining(
  model=network.JudgeConfig(
    nouns=16, colours=7, backgrounds=8, width=8, blocks=1, groups=2
  ),
  learning_rate=optimizers.LearningRate(peak=1e-2, warmup=1),
  batch_size=4,
  steps=6,
  log_every=1,
  validate_every=6,
  validation_batches=1,
  checkpoint_every=3,
)


@pytest.fixture
def one_device(monkeypatch):
  make_mesh = partitioning.make_mesh

  def mesh(config):
    return make_mesh(config, jax.devices()[:1])

  monkeypatch.setattr(partitioning, 'make_mesh', mesh)


@pytest.mark.usefixtures('one_device')
def test_it_learns_resumes_and_writes_a_judge(tmp_path):
  whole = train_judge.train(CONFIG, tmp_path / 'whole')
  train_judge.train(dataclasses.replace(CONFIG, steps=3), tmp_path / 'parts')
  parts = train_judge.train(CONFIG, tmp_path / 'parts')
  for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(parts.params)):
    np.testing.assert_array_equal(a, b)
  lines = (tmp_path / 'whole' / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  losses = [row['loss'] for row in rows if 'loss' in row]
  assert len(losses) == 6 and losses[-1] < losses[0]
  assert rows[-1]['validation_loss'] > 0
  found = judge.load(tmp_path / 'whole' / 'judge')
  assert found.config == CONFIG.model and found.vocabulary == 'lite'
  with pytest.raises(ValueError, match='another run: seed is 0 there and 1'):
    train_judge.train(dataclasses.replace(CONFIG, seed=1), tmp_path / 'parts')


def test_the_loss_is_least_where_the_answers_are_right():
  """A judge that sees everything has next to none; each error adds to it."""
  words = splits.vocabulary('lite')
  (scene,) = test_judge._scenes(1)
  answers = test_judge.perfect(scene, words)
  sharp = answers._replace(
    centres=4 * answers.centres,
    **{n: 30 * getattr(answers, n) for n in ('nouns', 'colours')},
    backgrounds=30 * answers.backgrounds,
  )
  sharp = jax.tree.map(lambda x: np.float32(x)[None], sharp)
  batch = {
    'backgrounds': np.int32(words.backgrounds.index(scene.background)),
    'harm': np.zeros(2, np.float32),
    **judge_examples.targets(scene.items, words, 16),
  }
  batch = {k: v[None] for k, v in batch.items()}
  best = train_judge.losses(sharp, batch)
  assert all(float(value) < 1e-5 for value in best.values())
  for name in ('centres', 'nouns', 'colours', 'boxes', 'backgrounds', 'harm'):
    other = sharp._replace(**{name: 1 - getattr(sharp, name)})
    worse = train_judge.losses(other, batch)
    assert float(worse[name]) > 0.05, name
    assert float(train_judge.total(worse)) > float(train_judge.total(best))
