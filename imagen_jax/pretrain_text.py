"""Pre-trains a tiny text encoder for the embedded scenes.

  python -m imagen_jax.pretrain_text --gin_file=gin/scenes_text.gin \
      --workdir=DIR

Section 2.1 wants a text encoder trained on text alone and frozen; this makes
one of 3.5M parameters where T5-XXL has 4.6B: a T5 by span corruption, and for
the comparison of appendix D.1 a BERT by masked tokens (scenes_text_bert.gin)
and a CLIP text tower by contrast with pictures (scenes_text_clip.gin). The
same command again resumes from the newest checkpoint. The work directory holds

  config.gin       the configuration
  corpus.txt       the documentation that the run started with
  tokenizer.model  trained on the corpus first of all, if none is given
  checkpoints/     orbax
  text/            the encoder as a text directory, for `train` and `bind`
  metrics.jsonl    loss and accuracy, on lines (or scenes) kept apart too

With --gin.PretrainConfig.steps=0 the text directory holds the same encoder
with random weights: what a frozen, untrained one is worth. Give it the
tokenizer of the trained one, so that nothing else differs.
"""

import dataclasses
import math
import os
import pathlib

import jax
import numpy as np

from imagen_jax.config import checks, command
from imagen_jax.parallel import partitioning
from imagen_jax.text import encoders, tokenizers
from imagen_jax.training import optimizers
from imagen_jax.training import state as state_lib
from imagen_jax.training.pretraining import (
  loop,
  masked,
  pairs,
  sentences,
  spans,
)

SHIPPED = (
  pathlib.Path(__file__).parent
  / 'pretrained/scenes/text'
  / encoders.TOKENIZER_FILE
)
_TOKENIZER_LINES = 6_000  # of the corpus, whose words the tokenizer learns
_VALIDATION = 'validation'  # split of the sentences that is never trained on


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
  """One pre-training: the network, its text and its recipe."""

  objective: spans.Spans | masked.Masked | pairs.Pairs
  corpus: sentences.Sentences = sentences.Sentences()
  max_length: int = 128  # tokens of a caption, once frozen
  # SentencePiece model; None = train one, 'shipped' = the shipped T5's.
  tokenizer: str | None = None
  optimizer: optimizers.Adam | optimizers.Adafactor | optimizers.Muon = (
    optimizers.Adafactor(multiply_by_parameter_scale=True)
  )
  learning_rate: optimizers.LearningRate = optimizers.LearningRate(peak=0.01)
  clip: float | None = 1.0  # global gradient norm; None = off
  batch_size: int = 128  # lines, over all devices
  steps: int = 2_000  # updates; 0 = write the random encoder
  seed: int = 0  # of initialisation, order and corruption
  ema_decay: float = 0.99
  mesh: partitioning.MeshConfig = partitioning.MeshConfig()
  log_every: int = 20  # steps
  validate_every: int = 200  # steps
  validation_batches: int = 4  # of batch_size lines
  checkpoint_every: int = 200  # steps
  keep: int = 2  # newest checkpoints kept

  def __post_init__(self):
    checks.require_within(
      self,
      clip=(1e-6, math.inf),
      steps=(0, math.inf),
      seed=(0, 2**32 - 1),
      ema_decay=(0, 1),
      log_every=(0, math.inf),
      validate_every=(0, math.inf),
      validation_batches=(1, math.inf),
      checkpoint_every=(0, math.inf),
      keep=(1, math.inf),
    )


def describe(config):
  """What `--dry_run` prints: parameters in all and of the encoder."""
  objective = config.objective
  shapes = jax.eval_shape(objective.init, jax.random.key(0))
  return (
    f'{state_lib.count(shapes):,} parameters, '
    f'{state_lib.count(objective.kept(shapes)):,} of them the encoder; '
    f'{config.steps:,} steps of {config.batch_size}'
  )


class Batches:
  """Batch k of examples depends on (seed, split, k) alone."""

  def __init__(self, config, tokenizer, documents, split='train'):
    self._config = config
    self._tokenizer = tokenizer
    self._documents = documents
    self._sentences = dataclasses.replace(config.corpus, split=split)

  def batch(self, k):
    """Arrays [b, ...] by the names that the objective gives them."""
    c = self._config
    rng = np.random.Generator(np.random.Philox(key=[c.seed, k]))
    rows = [
      c.objective.example(
        self._sentences, i, self._documents, self._tokenizer, rng
      )
      for i in range(k * c.batch_size, (k + 1) * c.batch_size)
    ]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def prepare(config, workdir):
  """(tokenizer, documents) of the work directory, made if it is new.

  Both are kept there: the documentation may change before a run resumes.
  """
  corpus, model = workdir / 'corpus.txt', workdir / encoders.TOKENIZER_FILE
  if not corpus.exists():
    fresh = corpus.with_suffix('.tmp')
    fresh.write_text('\n'.join(sentences.documentation()), encoding='utf-8')
    os.replace(fresh, corpus)
  documents = tuple(corpus.read_text(encoding='utf-8').splitlines())
  rows = config.objective.model.vocab_size
  if config.tokenizer is not None:
    shipped = config.tokenizer == 'shipped'
    model = SHIPPED if shipped else pathlib.Path(config.tokenizer)
  elif not model.exists():
    lines = [config.corpus.line(i) for i in range(_TOKENIZER_LINES)]
    # Words of captions are few and frequent, and the trainer would split some
    # of the commonest. Counted nearly evenly, they stay whole.
    words = sorted({word for line in lines for word in line.split()})
    text = [*words * 40, *lines[:500], *documents]
    fresh = model.with_suffix('.tmp')
    tokenizers.train(text, fresh, rows - tokenizers.SENTINELS)
    os.replace(fresh, model)
  tokenizer = tokenizers.SentencePieceTokenizer(model, config.max_length, rows)
  return tokenizer, documents


def write_encoder(config, params, tokenizer, workdir):
  """Writes `workdir/text`, in 16 bits."""
  encoder = encoders.TextEncoder(
    config=config.objective.encoder,
    params=config.objective.kept(jax.device_get(params)),
    tokenizer=tokenizer,
  )
  encoders.save(workdir / 'text', encoder, np.float16)


def identity(config):
  """What must not change between a checkpoint and the run resuming from it."""
  return {
    'objective': repr(config.objective),
    'corpus': repr(config.corpus),
    'tokenizer': config.tokenizer,
    'optimizer': type(config.optimizer).__name__,
    'batch_size': config.batch_size,
    'seed': config.seed,
  }


def pretrain(config, workdir):
  """Runs to `config.steps`, resuming if it can; returns the state."""
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  begun = loop.begin(config, config.objective.init)
  tokenizer, documents = prepare(config, workdir)

  def loss(params, batch):
    value, accuracy = config.objective.loss_and_accuracy(params, batch)
    return value, {'accuracy': accuracy}

  def write(params):
    write_encoder(config, params, tokenizer, workdir)

  if config.steps == 0:
    write(begun.state.params)
    return begun.state
  return loop.run(
    config,
    workdir,
    begun,
    loss=loss,
    examples=Batches(config, tokenizer, documents),
    held_out=Batches(config, tokenizer, (), _VALIDATION),
    write=write,
    identity=identity(config),
    unit='lines',
  )


if __name__ == '__main__':
  # Import by name: run as a module this file is loaded as __main__, and gin
  # must bind the classes of imagen_jax.pretrain_text.
  from imagen_jax import pretrain_text as module
  from imagen_jax.training import gin_jobs

  command.run(
    gin_jobs.run, module.pretrain, module.PretrainConfig, module.describe
  )
