"""Pre-training of the tiny text encoders: they learn, resume, are written."""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

import gin
from imagen_jax import pretrain_text
from imagen_jax.files import weights
from imagen_jax.models import bert, clip_text, contrastive, t5
from imagen_jax.parallel import partitioning
from imagen_jax.text import checkpoints, encoders
from imagen_jax.training import checkpoints as training_checkpoints
from imagen_jax.training import gin_jobs, optimizers
from imagen_jax.training.pretraining import masked, pairs, sentences, spans

ROOT = pathlib.Path(__file__).parents[1]
SIZES = {'vocab_size': 700, 'emb_dim': 32, 'num_heads': 2, 'mlp_dim': 64}
TOWER = {**SIZES, 'num_layers': 1, 'max_positions': 16}
SPANS = spans.Spans(
  model=t5.T5Config(
    **SIZES, head_dim=16, num_encoder_layers=1, num_decoder_layers=1
  ),
  corruption=spans.SpanCorruption(
    density=0.3, mean_span=1.5, input_length=16, target_length=10
  ),
)
MASKED = masked.Masked(
  model=bert.BERTConfig(**TOWER, pooler=False),
  masking=masked.TokenMasking(share=0.3, length=16),
)
PAIRS = pairs.Pairs(
  model=clip_text.CLIPTextConfig(**TOWER, eos_id=1, projection_dim=16),
  pictures=contrastive.PictureConfig(
    resolution=32, emb_dim=32, num_heads=2, mlp_dim=64, num_layers=1
  ),
  length=16,
)
CONFIG = pretrain_text.PretrainConfig(
  objective=SPANS,
  corpus=sentences.Sentences(vocabularies=('lite',), longest=12),
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


@pytest.fixture
def one_device(monkeypatch):
  """As on a laptop; eight take longer to compile for and to save."""
  make_mesh = partitioning.make_mesh

  def mesh(config):
    return make_mesh(config, jax.devices()[:1])

  monkeypatch.setattr(partitioning, 'make_mesh', mesh)


def _run(config, prepared, workdir):
  if not workdir.exists():
    shutil.copytree(prepared, workdir)
  return pretrain_text.pretrain(config, workdir)


def _rows(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.mark.usefixtures('one_device')
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


@pytest.mark.parametrize(
  ('objective', 'falls', 'table'),
  [
    (SPANS, 1.5, ('token_embedder', 'embedding')),
    (MASKED, 1.0, ('encoder', 'word_embedding', 'embedding')),
    (PAIRS, 0.2, ('text', 'token_embedding', 'embedding')),
  ],
  ids=('t5', 'bert', 'clip'),
)
@pytest.mark.usefixtures('one_device')
def test_it_learns_and_writes_the_encoder(
  prepared, tmp_path, objective, falls, table
):
  """The encoder is the average's; what only trained it is not there."""
  config = dataclasses.replace(
    CONFIG, objective=objective, steps=40, checkpoint_every=40
  )
  state = _run(config, prepared, tmp_path / 'run')
  rows = _rows(tmp_path / 'run')
  losses = [row['loss'] for row in rows if 'loss' in row]
  assert np.mean(losses[-5:]) < np.mean(losses[:5]) - falls
  assert 'validation_accuracy' in rows[-1]
  encoder = encoders.load(tmp_path / 'run' / 'text')
  assert encoder.config == objective.encoder
  taken = checkpoints.load_encoder(tmp_path / 'run' / 'text')  # as `train` does
  assert taken.fingerprint() == encoder.fingerprint()
  assert encoder.tokenizer.max_length == 16
  here = weights.flatten(encoder.params)
  assert set(here) == set(encoders.param_shapes(objective.encoder))
  there = state.ema
  for name in table:
    there = there[name]
  np.testing.assert_array_equal(
    here['.'.join(table[-2:])], np.asarray(there, np.float16)
  )
  text, mask = encoder.encode(['a red fox', ''])
  assert text.shape == (2, 16, 32) and np.isfinite(text).all()
  assert mask.sum(1).min() == 1 and text[mask].std() > 0.01


@pytest.mark.usefixtures('one_device')
def test_the_encoder_is_never_older_than_the_checkpoint(
  prepared, tmp_path, monkeypatch
):
  """A run killed at its last save is not taken for finished without it."""

  def killed(self, step, state, identity):
    encoder = encoders.load(tmp_path / 'run' / 'text')
    kept = SPANS.kept(state.ema)['token_embedder']['embedding']
    np.testing.assert_array_equal(
      encoder.params['token_embedder']['embedding'],
      np.asarray(kept, np.float16),
    )
    raise KeyboardInterrupt

  monkeypatch.setattr(training_checkpoints.Checkpoints, 'save', killed)
  config = dataclasses.replace(CONFIG, steps=1, validate_every=9)
  with pytest.raises(KeyboardInterrupt):
    _run(config, prepared, tmp_path / 'run')


@pytest.mark.usefixtures('one_device')
def test_no_steps_write_the_random_encoder(prepared, tmp_path):
  """The frozen encoder to compare a pre-trained one with."""
  model = prepared / encoders.TOKENIZER_FILE
  config = dataclasses.replace(CONFIG, steps=0, tokenizer=str(model))
  pretrain_text.pretrain(config, tmp_path / 'random')
  encoder = encoders.load(tmp_path / 'random' / 'text')
  expected = jax.jit(SPANS.init)(jax.random.key(config.seed))
  np.testing.assert_allclose(
    encoder.params['token_embedder']['embedding'],
    expected['token_embedder']['embedding'],
    atol=2e-3,  # 16 bits
  )
  assert encoder.tokenizer.model_proto == model.read_bytes()
  assert not (tmp_path / 'random' / 'checkpoints').exists()


@pytest.fixture
def _clean():
  yield
  gin.clear_config(clear_constants=True)


@pytest.mark.parametrize(
  ('leaf', 'parameters'),
  [
    ('scenes_text', '8,132,352 parameters, 3,541,376 of them the encoder'),
    ('scenes_text_bert', '3,613,152 parameters, 3,544,800 of them'),
    ('scenes_text_clip', '3,968,417 parameters, 3,544,288 of them'),
  ],
)
@pytest.mark.usefixtures('_clean')
def test_the_leaves_are_encoders_of_one_size(leaf, parameters):
  """And of one width and length, so that one line exchanges them."""
  path = ROOT / 'gin' / f'{leaf}.gin'
  config = gin_jobs.configure([path], [], pretrain_text.PretrainConfig)
  assert parameters in pretrain_text.describe(config)
  assert config.max_length == 32 and config.objective.encoder.width == 256
  assert config.steps * config.batch_size == 64_000


def test_the_shipped_tokenizer_may_be_taken(tmp_path):
  model = dataclasses.replace(SPANS.model, vocab_size=2048)
  objective = dataclasses.replace(SPANS, model=model)
  config = dataclasses.replace(
    CONFIG, objective=objective, tokenizer='shipped', max_length=9
  )
  tokenizer, _ = pretrain_text.prepare(config, tmp_path)
  assert tokenizer.model_proto == pretrain_text.SHIPPED.read_bytes()
  assert tokenizer.max_length == 9
  assert not (tmp_path / encoders.TOKENIZER_FILE).exists()


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
  config = dataclasses.replace(CONFIG, batch_size=12)
  with pytest.raises(ValueError, match='batch_size 12 does not divide'):
    pretrain_text.pretrain(config, tmp_path)
