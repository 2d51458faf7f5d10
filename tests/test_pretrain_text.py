"""Pre-training of the tiny text encoder: learns, resumes, writes."""

import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax import cli, pretrain_text
from imagen_jax.data import sentences
from imagen_jax.models import t5
from imagen_jax.text import corruption, encoders, tokenizers
from imagen_jax.training import optimizers

ROOT = pathlib.Path(__file__).parents[1]
LEAF = ROOT / 'gin' / 'scenes_text.gin'
CONFIG = pretrain_text.PretrainConfig(
  model=t5.T5Config(
    vocab_size=700,
    emb_dim=32,
    num_heads=2,
    head_dim=16,
    mlp_dim=64,
    num_encoder_layers=1,
    num_decoder_layers=1,
  ),
  corpus=sentences.Sentences(vocabularies=('lite',), longest=12),
  corruption=corruption.SpanCorruption(
    density=0.3, mean_span=1.5, input_length=16, target_length=10
  ),
  max_length=16,
  optimizer=optimizers.Adam(),
  learning_rate=optimizers.LearningRate(peak=3e-3, warmup=2),
  batch_size=16,
  steps=6,
  log_every=1,
  validate_every=6,
  validation_batches=1,
  checkpoint_every=3,
)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """A work directory with corpus and tokenizer, and nothing else."""
  workdir = tmp_path_factory.mktemp('prepared')
  pretrain_text.prepare(CONFIG, workdir)
  return workdir


def _run(config, prepared, workdir):
  if not workdir.exists():
    shutil.copytree(prepared, workdir)
  return pretrain_text.pretrain(config, workdir)


def _rows(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_a_resumed_run_equals_an_uninterrupted_one(prepared, tmp_path):
  whole = _run(CONFIG, prepared, tmp_path / 'whole')
  _run(dataclasses.replace(CONFIG, steps=3), prepared, tmp_path / 'parts')
  parts = _run(CONFIG, prepared, tmp_path / 'parts')
  for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(parts.params)):
    np.testing.assert_array_equal(a, b)
  losses = [
    [row['loss'] for row in _rows(tmp_path / name) if 'loss' in row]
    for name in ('whole', 'parts')
  ]
  assert len(losses[0]) == 6 and losses[0] == losses[1]
  written = [
    (tmp_path / name / 'text' / 'encoder.safetensors').read_bytes()
    for name in ('whole', 'parts')
  ]
  assert written[0] == written[1]
  other = dataclasses.replace(CONFIG, seed=1)
  with pytest.raises(ValueError, match='another run: seed is 0 there and 1'):
    _run(other, prepared, tmp_path / 'parts')


def test_it_learns_and_writes_the_encoder(prepared, tmp_path):
  config = dataclasses.replace(CONFIG, steps=40, checkpoint_every=40)
  state = _run(config, prepared, tmp_path / 'run')
  rows = _rows(tmp_path / 'run')
  losses = [row['loss'] for row in rows if 'loss' in row]
  assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 1.5
  assert 'validation_accuracy' in rows[-1]
  encoder = encoders.load(tmp_path / 'run' / 'text')
  assert encoder.config.num_decoder_layers == 0
  assert encoder.tokenizer.max_length == 16
  np.testing.assert_array_equal(
    encoder.params['token_embedder']['embedding'],
    np.asarray(state.ema['token_embedder']['embedding'], np.float16),
  )


def test_no_steps_write_the_random_encoder(prepared, tmp_path):
  """The frozen encoder to compare a pre-trained one with."""
  model = prepared / encoders.TOKENIZER_FILE
  config = dataclasses.replace(CONFIG, steps=0, tokenizer=str(model))
  pretrain_text.pretrain(config, tmp_path / 'random')
  encoder = encoders.load(tmp_path / 'random' / 'text')
  expected = jax.jit(lambda key: pretrain_text.init_params(config, key))(
    jax.random.key(config.seed)
  )
  np.testing.assert_allclose(
    encoder.params['token_embedder']['embedding'],
    expected['token_embedder']['embedding'],
    atol=2e-3,  # 16 bits
  )
  assert encoder.tokenizer.model_proto == model.read_bytes()
  assert not (tmp_path / 'random' / 'checkpoints').exists()


def test_loss_and_accuracy_count_what_they_say():
  """Uniform logits: log(vocab); only hidden words count as found."""
  vocab = 200
  targets = jnp.array([[199, 50, 51, 198, 52, 1, 0, 0]])
  batch = {'inputs': jnp.array([[199, 9, 198, 1]]), 'targets': targets}

  def uniform(*_):
    return jnp.zeros((1, 8, vocab))

  loss, accuracy = pretrain_text.loss_and_accuracy(uniform, {}, batch)
  np.testing.assert_allclose(loss, np.log(vocab), rtol=1e-6)
  assert accuracy == 0
  # Two of the three words right, everything else wrong.
  guess = jnp.array([[0, 50, 51, 0, 0, 0, 9, 9]])

  def sure(*_):
    return 50.0 * jax.nn.one_hot(guess, vocab)

  _, accuracy = pretrain_text.loss_and_accuracy(sure, {}, batch)
  np.testing.assert_allclose(accuracy, 2 / 3, rtol=1e-6)


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
  pretrain_text.loss_and_accuracy(apply, {}, batch)
  assert seen['tokens'].tolist() == [[tokenizers.PAD, 199, 50, 1]]
  assert seen['mask'].tolist() == [[True, True, True, False]]


def test_the_leaf_is_the_encoder_of_the_specification():
  config = cli.configure([LEAF], [], pretrain_text.PretrainConfig)
  assert config.max_length == 32
  described = pretrain_text.describe(config)
  assert '8,132,352 parameters, 3,541,376 of them the encoder' in described


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
  config = dataclasses.replace(CONFIG, batch_size=12)
  with pytest.raises(ValueError, match='batch_size 12 does not divide'):
    pretrain_text.pretrain(config, tmp_path)
