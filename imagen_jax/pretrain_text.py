"""Pre-trains the tiny T5 of the embedded scenes by span corruption.

  python -m imagen_jax.pretrain_text --gin_file=gin/scenes_text.gin \
      --workdir=DIR

Section 2.1 wants a text encoder trained on text alone and frozen; this makes
one of 3.5M parameters where T5-XXL has 4.6B. The same command again resumes
from the newest checkpoint. The work directory holds

  config.gin       the configuration
  corpus.txt       the documentation that the run started with
  tokenizer.model  trained on the corpus first of all
  checkpoints/     orbax
  text/            the encoder as a text directory, for `train` and `bind`
  metrics.jsonl    loss and accuracy, on lines kept apart too

With --gin.PretrainConfig.steps=0 the text directory holds the same encoder
with random weights: what a frozen, untrained one is worth. Give it the
tokenizer of the trained one, so that nothing else differs.
"""

import dataclasses
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax import partitioning
from imagen_jax.data import pipeline, sentences
from imagen_jax.models import t5
from imagen_jax.text import corruption as corruption_lib
from imagen_jax.text import encoders, tokenizers
from imagen_jax.training import checkpoints as checkpoints_lib
from imagen_jax.training import metrics as metrics_lib
from imagen_jax.training import optimizers
from imagen_jax.training import state as state_lib

_TOKENIZER_LINES = 6_000  # of the corpus, whose words the tokenizer learns
_VALIDATION = 'validation'  # split of the sentences that is never trained on


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
  """One pre-training: the network, its text and its recipe."""

  model: t5.T5Config
  corpus: sentences.Sentences = sentences.Sentences()
  corruption: corruption_lib.SpanCorruption = corruption_lib.SpanCorruption()
  max_length: int = 128  # tokens of a caption, once frozen
  tokenizer: str | None = None  # SentencePiece model; None = train one
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


def init_params(config, key):
  """Random parameters of the encoder and decoder."""
  row = jnp.zeros((1, 2), jnp.int32)
  return t5.T5(config.model).init(key, row, row, row)['params']


def encoder_params(params):
  """The part that is kept."""
  return {name: params[name] for name in ('token_embedder', 'encoder')}


def describe(config):
  """What `--dry_run` prints: parameters in all and of the encoder."""
  shapes = jax.eval_shape(
    lambda key: init_params(config, key), jax.random.key(0)
  )
  return (
    f'{state_lib.count(shapes):,} parameters, '
    f'{state_lib.count(encoder_params(shapes)):,} of them the encoder; '
    f'{config.steps:,} steps of {config.batch_size}'
  )


def loss_and_accuracy(apply, params, batch):
  """Cross-entropy per target token, and the share of hidden words found.

  The targets are read along with their own beginning (teacher forcing);
  sentinels and the end of sequence count in the loss, not in the accuracy.
  """
  targets = batch['targets']  # [b, t]
  shifted = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
  mask = batch['inputs'] != tokenizers.PAD
  logits = apply({'params': params}, batch['inputs'], mask, shifted)
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


class Batches:
  """Batch k of corrupted lines depends on (seed, split, k) alone."""

  def __init__(self, config, tokenizer, documents, split='train'):
    self._config = config
    self._tokenizer = tokenizer
    self._documents = documents
    self._sentences = dataclasses.replace(config.corpus, split=split)

  def batch(self, k):
    """inputs int32 [b, l] and targets int32 [b, t]."""
    c = self._config
    rng = np.random.Generator(np.random.Philox(key=[c.seed, k]))
    rows = []
    for i in range(k * c.batch_size, (k + 1) * c.batch_size):
      ids = self._tokenizer.ids(self._sentences.line(i, self._documents))
      rows.append(c.corruption(ids, self._tokenizer, rng))
    inputs, targets = map(np.stack, zip(*rows))
    return {'inputs': inputs, 'targets': targets}


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
  if config.tokenizer is not None:
    model = pathlib.Path(config.tokenizer)
  elif not model.exists():
    lines = [config.corpus.line(i) for i in range(_TOKENIZER_LINES)]
    # Words of captions are few and frequent, and the trainer would split some
    # of the commonest. Counted nearly evenly, they stay whole.
    words = sorted({word for line in lines for word in line.split()})
    text = [*words * 40, *lines[:500], *documents]
    fresh = model.with_suffix('.tmp')
    pieces = config.model.vocab_size - tokenizers.SENTINELS
    tokenizers.train(text, fresh, pieces)
    os.replace(fresh, model)
  tokenizer = tokenizers.SentencePieceTokenizer(
    model, config.max_length, config.model.vocab_size
  )
  return tokenizer, documents


def make_train_step(config, optimizer, mesh, shardings):
  """The jitted (state, batch) -> (state, metrics)."""
  apply = t5.T5(config.model).apply

  def train_step(state, batch):
    def loss(params):
      return loss_and_accuracy(apply, params, batch)

    (value, accuracy), grads = jax.value_and_grad(loss, has_aux=True)(
      state.params
    )
    norm = optimizers.global_norm(grads)
    state = state_lib.apply_gradients(state, grads, optimizer, config.ema_decay)
    return state, {'loss': value, 'accuracy': accuracy, 'grad_norm': norm}

  return jax.jit(
    train_step,
    donate_argnums=0,
    out_shardings=(shardings, partitioning.replicated(mesh)),
  )


def make_validation(config, batches, mesh):
  """A function of params: loss and accuracy on fixed, unseen lines."""
  apply = t5.T5(config.model).apply
  evaluate = jax.jit(lambda p, batch: loss_and_accuracy(apply, p, batch))
  held_out = [
    partitioning.put_batch(batches.batch(k), mesh)
    for k in range(config.validation_batches)
  ]

  def validate(params):
    rows = np.array([evaluate(params, batch) for batch in held_out])
    loss, accuracy = rows.mean(axis=0)
    return {'validation_loss': loss, 'validation_accuracy': accuracy}

  return validate


def write_encoder(config, params, tokenizer, workdir):
  """Writes `workdir/text`, in 16 bits."""
  encoder = encoders.TextEncoder(
    config=dataclasses.replace(config.model, num_decoder_layers=0),
    params=encoder_params(jax.device_get(params)),
    tokenizer=tokenizer,
  )
  encoders.save(workdir / 'text', encoder, np.float16)


def identity(config):
  """What must not change between a checkpoint and the run resuming from it."""
  return {
    'model': repr(config.model),
    'corpus': repr(config.corpus),
    'corruption': repr(config.corruption),
    'optimizer': type(config.optimizer).__name__,
    'batch_size': config.batch_size,
    'seed': config.seed,
  }


def pretrain(config, workdir):
  """Runs to `config.steps`, resuming if it can; returns the state."""
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  mesh = partitioning.make_mesh(config.mesh)
  partitioning.check_batch(config.batch_size, mesh)
  tokenizer, documents = prepare(config, workdir)
  optimizer = optimizers.make(
    config.optimizer, config.learning_rate, config.clip
  )
  state, shardings = state_lib.create(
    lambda key: init_params(config, key),
    optimizer,
    mesh,
    config.mesh,
    jax.random.key(config.seed),
  )
  if config.steps == 0:
    write_encoder(config, state.params, tokenizer, workdir)
    return state
  train_step = make_train_step(config, optimizer, mesh, shardings)
  unseen = Batches(config, tokenizer, (), _VALIDATION)
  validate = make_validation(config, unseen, mesh)

  with checkpoints_lib.Checkpoints(workdir, config.keep) as checkpoints:
    state, start = checkpoints.resume(state, identity(config))
    log = metrics_lib.Metrics(workdir, start)
    progress = metrics_lib.Progress(
      start, config.steps, config.batch_size, 'lines'
    )
    batches = Batches(config, tokenizer, documents)
    stream = pipeline.prefetch(batches.batch, start)
    for step in range(start + 1, config.steps + 1):
      state, metrics = train_step(
        state, partitioning.put_batch(next(stream), mesh)
      )
      if progress.is_due(step, config.log_every):
        metrics_lib.require_finite(metrics, step)
        log.write(step, **metrics)
        progress.report(step, **metrics)
      if progress.is_due(step, config.validate_every):
        log.write(step, **validate(state.ema))
      if progress.is_due(step, config.checkpoint_every):
        metrics_lib.require_finite(metrics, step)
        checkpoints.save(step, state, identity(config))
        write_encoder(config, state.ema, tokenizer, workdir)
    stream.close()
    log.close()
  return state


if __name__ == '__main__':
  # Import by name: run as a module this file is loaded as __main__, and gin
  # must bind the classes of imagen_jax.pretrain_text.
  from imagen_jax import cli
  from imagen_jax import pretrain_text as module

  cli.run(module.pretrain, module.PretrainConfig, module.describe)
