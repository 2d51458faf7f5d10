"""Trains one stage of the cascade; sections 2.2, 2.4 and 4.1 of the paper.

  python -m imagen_jax.train --gin_file=gin/scenes_64.gin --workdir=DIR

The same command again resumes from the newest checkpoint, bit for bit on the
same devices: batch k and the noise of step k depend on (seed, k) alone. The
work directory holds

  config.gin      the configuration with every default filled in
  checkpoints/    orbax; the newest `keep`
  stage/          the EMA weights as a stage directory, for `bind`
  metrics.jsonl   one JSON object per report
  samples/        pictures of fixed prompts
"""

import dataclasses
import pathlib
import sys

import jax
import jax.numpy as jnp

from imagen_jax import partitioning, previews, stages, weights
from imagen_jax.data import loading as loading_lib
from imagen_jax.data import pipeline, quarantine, sources
from imagen_jax.text import cache_reader, encoders, feeds
from imagen_jax.text import checkpoints as text_checkpoints
from imagen_jax.training import checkpoints as checkpoints_lib
from imagen_jax.training import identity, optimizers, validation
from imagen_jax.training import metrics as metrics_lib
from imagen_jax.training import state as state_lib
from imagen_jax.training import step as step_lib

SHIPPED_TEXT = pathlib.Path(__file__).parent / 'pretrained' / 'scenes' / 'text'


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """One training job: one stage, its data and its recipe."""

  stage: stages.Stage
  data: sources.Source
  pictures: pipeline.Pictures
  text: str | None = None  # text directory; None = the shipped tiny T5
  cache: str | None = None  # of embeddings (`embed`); None = encode inline
  encoder_id: str | None = None  # that the cache must have; None = that of text
  init_from: str | None = None  # stage directory to start from; None = random
  optimizer: optimizers.Adam | optimizers.Adafactor | optimizers.Muon = (
    optimizers.Adam()
  )
  learning_rate: optimizers.LearningRate = optimizers.LearningRate()
  clip: float | None = 1.0  # global gradient norm; None = off
  batch_size: int = 2048  # pictures, over all devices
  steps: int = 2_500_000  # updates
  seed: int = 0  # of initialisation, data and noise
  caption_dropout: float = 0.1  # share of examples trained without text
  ema_decay: float = 0.9999  # ramped up from 0.1
  mesh: partitioning.MeshConfig = partitioning.MeshConfig()
  log_every: int = 100  # steps
  validate_every: int = 2_000  # steps
  validation_batches: int = 8  # of batch_size pictures
  sample_every: int = 5_000  # steps
  preview_prompts: int = 8  # captions of the validation split drawn then
  checkpoint_every: int = 2_000  # steps
  keep: int = 2  # newest checkpoints kept
  loading: loading_lib.Loading = loading_lib.Loading()

  def __post_init__(self):
    p = self.pictures
    if p.resolution != self.stage.resolution:
      raise ValueError(
        f'pictures.resolution {p.resolution} differs from stage.resolution '
        f'{self.stage.resolution}; set both alike'
      )
    factor = self.stage.low_res and self.stage.resolution // self.stage.low_res
    if p.low_res_factor != factor:
      raise ValueError(
        f'pictures.low_res_factor {p.low_res_factor} does not fit stage '
        f'{self.stage.low_res} -> {self.stage.resolution}; use {factor}'
      )


def init_params(stage, key):
  """Random parameters of the stage's network."""
  # Parameters do not depend on the picture's size: initialise on a small one.
  inputs = stages.example_inputs(stage, resolution=min(64, stage.resolution))
  return stages.network(stage).init(key, **inputs)['params']


def start_from(directory, stage, state):
  """`state` with the weights of a stage directory, for fine-tuning.

  Weights of the same shapes may still mean something else: what the network
  predicts must be the same, other differences of the two stages are told.
  Raises ValueError naming what does not fit.
  """
  other, params = stages.read(directory)
  if other.prediction != stage.prediction:
    raise ValueError(
      f'{directory} predicts {other.prediction}, this stage '
      f'{stage.prediction}; start from weights of the same prediction'
    )
  for name, is_there, is_here in _model_changes(other, stage):
    print(
      f'note: {name} is {is_there} in {directory} and {is_here} here',
      file=sys.stderr,
    )
  there, here = weights.flatten(params), weights.flatten(state.params)
  for name in sorted(set(there) | set(here)):
    shapes = [
      tree[name].shape if name in tree else None for tree in (there, here)
    ]
    if shapes[0] != shapes[1]:
      raise ValueError(
        f'{directory}: {name} is {shapes[0]} there and {shapes[1]} in this '
        'stage; start from weights of the same model'
      )

  def place(p, like):
    return jax.device_put(p, like.sharding)

  return dataclasses.replace(
    state,
    params=jax.tree.map(place, params, state.params),
    ema=jax.tree.map(place, params, state.ema),
  )


def _model_changes(there, here):
  """(field, value there, value here) of settings that keep the shapes."""
  changes = []
  for part in ('model', 'schedule'):
    a, b = (stages.to_json(stage)[part] for stage in (there, here))
    for name in sorted(a.keys() | b.keys()):
      if a.get(name) != b.get(name):
        changes.append((f'{part}.{name}', a.get(name), b.get(name)))
  return changes


def describe(config):
  """What `--dry_run` prints: the stage and its parameter count."""
  shapes = jax.eval_shape(
    lambda key: init_params(config.stage, key), jax.random.key(0)
  )
  return (
    f'{config.stage.name}: {state_lib.count(shapes):,} parameters, '
    f'{config.steps:,} steps of {config.batch_size}'
  )


def with_text(batch, encoder_config, encoder_params):
  """Adds the frozen encoder's embeddings [b, l, d] of the batch's tokens.

  A batch from a cache has them already; it needs no encoder.
  """
  if 'text' in batch:
    return {**batch, 'text': batch['text'].astype(jnp.float32)}
  text = encoders.embed(
    encoder_config, encoder_params, batch['tokens'], batch['mask']
  )
  return {**batch, 'text': jax.lax.stop_gradient(text)}


def make_train_step(config, optimizer, encoder_config, mesh, shardings):
  """The jitted (state, encoder_params, batch) -> (state, metrics)."""
  apply = stages.network(config.stage).apply

  def train_step(state, encoder_params, batch):
    key = jax.random.fold_in(jax.random.key(config.seed), state.step)
    batch = with_text(batch, encoder_config, encoder_params)
    noise = step_lib.draw_noise(key, batch, config.caption_dropout)

    def mean_loss(params):
      losses = step_lib.example_losses(
        config.stage, apply, params, batch, noise
      )
      return jnp.mean(losses)

    loss, grads = jax.value_and_grad(mean_loss)(state.params)
    metrics = {'loss': loss, 'grad_norm': optimizers.global_norm(grads)}
    state = state_lib.apply_gradients(state, grads, optimizer, config.ema_decay)
    return state, metrics

  return jax.jit(
    train_step,
    donate_argnums=0,
    out_shardings=(shardings, partitioning.replicated(mesh)),
  )


def make_validation_loss(config, encoder_config):
  """The jitted (params, encoder_params, batch, k) -> loss on fixed noise."""
  apply = stages.network(config.stage).apply

  def loss(params, encoder_params, batch, k):
    batch = with_text(batch, encoder_config, encoder_params)
    noise = validation.fixed_noise(batch, k)
    losses = step_lib.example_losses(config.stage, apply, params, batch, noise)
    return jnp.mean(losses)

  return jax.jit(loss)


def open_batches(config, feed, split, mesh=None, bad=None):
  """The batches of a split: what of them this process feeds to the mesh.

  `bad` is the quarantine where useless examples are noted.
  """
  rows = mesh and partitioning.local_rows(config.batch_size, mesh)
  return pipeline.Batches(
    config.data.open(split),
    feed,
    config.pictures,
    config.batch_size,
    seed=config.seed,
    rows=rows,
    quarantine=bad,
  )


def open_feed(config):
  """Where the text comes from: a `feeds.Inline` or `feeds.Cached`.

  Raises ValueError where it was made for, or by, something else.
  """
  stage, directory = config.stage, config.text or SHIPPED_TEXT
  expected = stage.text_width, stage.max_length
  if config.cache is None:
    encoder = text_checkpoints.load_encoder(directory)
    found = encoder.config.width, encoder.tokenizer.max_length
    feeds.check_fits(stage.name, expected, found, directory)
    return feeds.Inline(encoder=encoder)
  reader = cache_reader.Reader(config.cache)
  if config.encoder_id is not None:
    feeds.check_id(reader, config.encoder_id)
  else:
    made = reader.manifest
    encoder = text_checkpoints.load_encoder(
      directory, max_length=made.max_length, dtype=made.encoder['dtype']
    )
    feeds.check_made_by(reader, encoder, directory)
  found = reader.manifest.width, reader.manifest.max_length
  feeds.check_fits(stage.name, expected, found, config.cache)
  return feeds.Cached(reader=reader)


def frozen_encoder(feed, mesh):
  """(config, parameters on the devices) for the step; a cache needs none."""
  if isinstance(feed, feeds.Cached):
    return None, {}
  params = feed.encoder.params
  # A large encoder is spread over the devices like the network.
  shardings = partitioning.state_shardings(params, mesh)
  return feed.encoder.config, jax.device_put(params, shardings)


def write_stage(workdir, stage, step, ema, text):
  """Writes the averaged weights as the stage directory of the run.

  `text` is the fingerprint of its encoder; `bind` notes when given another.
  """
  directory = workdir / 'stage'
  metadata = {'step': str(step), stages.TEXT_WEIGHTS: text['weights']}
  try:
    stages.write(directory, stage, jax.device_get(ema), metadata=metadata)
  except OSError as e:
    raise ValueError(
      f'weights of step {step} could not be written to {directory}: {e}; free '
      'space there and run the same command again: it goes on from the '
      'checkpoint before'
    ) from e


def train(config, workdir):
  """Runs the job to `config.steps`, resuming if it can; returns the state."""
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  mesh = partitioning.make_mesh(config.mesh)
  partitioning.check_batch(config.batch_size, mesh)
  feed = open_feed(config)
  encoder_config, encoder_params = frozen_encoder(feed, mesh)

  optimizer = optimizers.make(
    config.optimizer, config.learning_rate, config.clip
  )
  state, shardings = state_lib.create(
    lambda key: init_params(config.stage, key),
    optimizer,
    mesh,
    config.mesh,
    jax.random.key(config.seed),
  )
  train_step = make_train_step(
    config, optimizer, encoder_config, mesh, shardings
  )
  validation_loss = make_validation_loss(config, encoder_config)
  bad = quarantine.Quarantine(
    workdir,
    config.loading.max_bad,
    jax.process_index(),
    jax.process_count(),
  )
  batches = open_batches(config, feed, 'train', mesh, bad)
  held_out = open_batches(config, feed, 'validation', mesh, bad)

  with checkpoints_lib.Checkpoints(workdir, config.keep) as checkpoints:
    run = identity.of(config, feed, batches)
    if checkpoints.latest() is None and config.init_from is not None:
      state = start_from(config.init_from, config.stage, state)
    state, start = checkpoints.resume(
      state, run, lambda saved: identity.read(saved, config)
    )
    metrics_log = metrics_lib.Metrics(workdir, start)
    progress = metrics_lib.Progress(start, config.steps, config.batch_size)
    stream = loading_lib.stream(batches, start, config.loading)
    validation_set = None
    samples = previews.Previews(
      config.stage,
      config.data.open('validation'),
      feed,
      config.preview_prompts,
      workdir,
    )

    for step in range(start + 1, config.steps + 1):
      batch = partitioning.put_batch(next(stream), mesh)
      state, metrics = train_step(state, encoder_params, batch)

      if progress.is_due(step, config.log_every):
        metrics_lib.require_finite(metrics, step)
        rate = progress.report(step, loss=metrics['loss'])
        metrics_log.write(step, images_per_second=rate, **metrics)
      if progress.is_due(step, config.validate_every):
        if validation_set is None:
          validation_set = [
            partitioning.put_batch(held_out.batch(k), mesh)
            for k in range(config.validation_batches)
          ]
        loss = validation.mean_loss(
          lambda *args: validation_loss(args[0], encoder_params, *args[1:]),
          state.ema,
          validation_set,
        )
        metrics_log.write(step, validation_loss=loss)
        progress.note(step, f'validation loss {loss:.5f}')
        progress.restart_clock(step)
      if progress.is_due(step, config.checkpoint_every):
        metrics_lib.require_finite(metrics, step)
        # The stage first: killed between the two, the run comes back to the
        # checkpoint before and writes the stage again, even at its last step.
        write_stage(workdir, config.stage, step, state.ema, run['text'])
        checkpoints.save(step, state, run)
        progress.restart_clock(step)
      if progress.is_due(step, config.sample_every):
        samples.draw(step, state.ema)
        progress.restart_clock(step)
    stream.close()
    metrics_log.close()
  return state


if __name__ == '__main__':
  # Import by name: run as a module this file is loaded as __main__, and gin
  # must bind the classes of imagen_jax.train.
  from imagen_jax import cli
  from imagen_jax import train as module

  cli.run(module.train, module.TrainConfig, module.describe)
