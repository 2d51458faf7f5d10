"""Trains one stage of the cascade; sections 2.2, 2.4 and 4.1 of the paper.

  python -m imagen_jax.train --gin_file=gin/scenes_64.gin --workdir=DIR

The same command again resumes from the newest checkpoint, bit for bit on the
same devices: batch k and the noise of step k depend on (seed, k) alone. The
work directory holds

  config.gin      the configuration with every default filled in
  checkpoints/    orbax; the newest `keep`, and others that are asked for
  stage/          the EMA weights as a stage directory, for `bind`
  metrics.jsonl   one JSON object per report
  samples/        pictures of fixed prompts
  hardware.jsonl  what it ran on, a line a start
  stopped.json    why a run was ended by its gradients, if it was

With several processes (`hosts`) each makes and holds its share of the batch;
the first writes all but the checkpoints, to which each adds its part.
"""

import dataclasses
import functools
import pathlib
import re
import sys

import jax

from imagen_jax import (
  hosts,
  jobs,
  partitioning,
  previews,
  retrying,
  stages,
  weights,
)
from imagen_jax.data import loading as loading_lib
from imagen_jax.data import pipeline, quarantine
from imagen_jax.text import cache_reader, feeds
from imagen_jax.text import checkpoints as text_checkpoints
from imagen_jax.training import checkpoints as checkpoints_lib
from imagen_jax.training import (
  flops,
  guards,
  hardware,
  identity,
  lora,
  noise_levels,
  notices,
  profiling,
  rollback,
  validation,
)
from imagen_jax.training import metrics as metrics_lib
from imagen_jax.training import saving as saving_lib
from imagen_jax.training import watchdog as watchdog_lib

SHIPPED_TEXT = pathlib.Path(__file__).parent / 'pretrained' / 'scenes' / 'text'


TrainConfig = jobs.TrainConfig  # the name that leaves of gin/ bind


def start_from(directory, stage, state, fresh=None):
  """`state` with the weights of a stage directory, for fine-tuning.

  Weights of the same shapes may still mean something else: what the network
  predicts must be the same, other differences of the two stages are told.
  Parameters whose path the regex `fresh` finds stay as they are in `state`;
  with the last layer among them another prediction may be learned.
  Raises ValueError naming what does not fit.
  """
  other, params = stages.read(directory)
  last_is_new = fresh is not None and re.search(fresh, 'output_conv/kernel')
  if other.prediction != stage.prediction and not last_is_new:
    raise ValueError(
      f'{directory} predicts {other.prediction}, this stage '
      f'{stage.prediction}; start from weights of the same prediction, or let '
      "the last layer start afresh (TrainConfig.fresh='^output_conv')"
    )
  for name, is_there, is_here in _model_changes(other, stage):
    print(
      f'note: {name} is {is_there} in {directory} and {is_here} here',
      file=sys.stderr,
    )
  network = {k: v for k, v in state.params.items() if k != lora.KEY}
  there, here = weights.flatten(params), weights.flatten(network)
  for name in sorted(set(there) | set(here)):
    shapes = [
      tree[name].shape if name in tree else None for tree in (there, here)
    ]
    if shapes[0] != shapes[1]:
      raise ValueError(
        f'{directory}: {name} is {shapes[0]} there and {shapes[1]} in this '
        'stage; start from weights of the same model'
      )

  found = []

  def place(path, p, like):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    if fresh is not None and re.search(fresh, name):
      found.append(name)
      return like
    return partitioning.put_whole(p, like.sharding)

  placed = jax.tree_util.tree_map_with_path(place, params, network)
  if fresh is not None and not found:
    raise ValueError(
      f'fresh {fresh!r} is in no path of a parameter, such as '
      f'{min(there).replace(".", "/")}; change it or leave it out'
    )
  return dataclasses.replace(
    state,
    params=state.params | placed,
    ema=state.ema | jax.tree.map(jax.numpy.copy, placed),
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
  return feed.encoder.config, partitioning.put_whole(params, shardings)


def write_stage(workdir, stage, step, ema, text):
  """Writes the averaged weights as the stage directory of the run.

  All processes call it, the first writes. `text` is the fingerprint of its
  encoder; `bind` notes when given another.
  """
  directory = workdir / 'stage'
  if (ema := hosts.whole(ema)) is None:
    return
  metadata = {'step': str(step), stages.TEXT_WEIGHTS: text['weights']}
  try:
    retrying.patiently(
      lambda: stages.write(
        directory, stage, jax.device_get(ema), metadata=metadata
      ),
      f'weights of step {step} were not written',
    )
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
  partitioning.check_batch(
    config.batch_size, mesh, config.compute.micro_batches
  )
  feed = open_feed(config)
  encoder_config, encoder_params = frozen_encoder(feed, mesh)

  state, shardings, optimizer = jobs.make_state(config, mesh)
  train_step = jobs.make_train_step(
    config, optimizer, encoder_config, mesh, shardings
  )
  validation_loss = jobs.make_validation_loss(config, encoder_config)
  bad = quarantine.Quarantine(
    workdir,
    config.loading.max_bad,
    jax.process_index(),
    jax.process_count(),
  )
  batches = open_batches(config, feed, 'train', mesh, bad)
  # Of one seed in every run, crops included: their losses are compared.
  same = dataclasses.replace(config, seed=0)
  held_out = open_batches(same, feed, 'validation', mesh, bad)

  with (
    checkpoints_lib.Checkpoints(
      workdir, config.keep, config.keep_every, config.keep_best
    ) as checkpoints,
    guards.StopSignal() as stop,
    notices.Notices(),
    watchdog_lib.Watchdog(config.watchdog_seconds) as watchdog,
    profiling.Trace(config.profile_steps, workdir) as trace,
  ):
    run = identity.of(config, feed, batches)
    if checkpoints.latest() is None and config.init_from is not None:
      state = start_from(config.init_from, config.stage, state, config.fresh)

    def resume(state):
      return checkpoints.resume(
        state, run, lambda saved: identity.read(saved, config)
      )

    def roll_back(error):
      """Leaves the run as its last good checkpoint has it."""
      for x in jax.tree.leaves(state):
        x.delete()  # there may be no room for two
      good, at = rollback.roll_back(
        workdir, checkpoints, error, lambda: resume(state)
      )
      if good is not None:
        ema = lora.merged(config.lora, good.ema)
        write_stage(workdir, config.stage, at, ema, run['text'])

    state, start = resume(state)
    saving = saving_lib.Saving(checkpoints, run)
    metrics_log = metrics_lib.Metrics(workdir, start)
    hardware.note(workdir, start, mesh.devices.flat)
    learning_rate = config.learning_rate.schedule()
    progress = metrics_lib.Progress(start, config.steps, config.batch_size)
    stream = loading_lib.stream(batches, start, config.loading)
    validation_set, by_noise = None, None
    skipped = guards.Skipped(config.max_skipped, roll_back)
    throughput = metrics_lib.Throughput(
      flops.per_image(config.stage, config.pictures.crop), mesh.devices
    )
    samples = hosts.is_first() and previews.Previews(
      config.stage,
      config.data.open('validation'),
      feed,
      config.preview_prompts,
      workdir,
    )

    step, loss = config.steps, None
    for step in range(start + 1, config.steps + 1):
      loss = None  # of validation at this step
      watchdog.at('waits for the batch of step', step)
      batch = partitioning.put_batch(next(stream), mesh)
      watchdog.at('computes step', step)
      trace.at(step, state)
      state, metrics = train_step(state, encoder_params, batch)
      watchdog.began(step, metrics['loss'])
      table = metrics.pop('by_noise')
      skipped.add(is_bad := metrics.pop('skipped'))
      by_noise = table if by_noise is None else by_noise + table

      if progress.is_due(step, config.log_every):
        scalars = {
          'skipped': skipped.count(step, checkpoints.latest()),
          'learning_rate': learning_rate(step - 1),
        }
        rate = progress.report(step, loss=metrics['loss'])
        scalars |= throughput.of(rate) | noise_levels.summary(by_noise)
        metrics_log.write(step, **metrics, **scalars)
        by_noise = None
      if progress.is_due(step, config.validate_every):
        watchdog.at('validates after step', step)
        if validation_set is None:
          validation_set = [
            partitioning.put_batch(held_out.batch(k), mesh)
            for k in range(config.validation_batches)
          ]
        ema = lora.merged(config.lora, state.ema)
        loss, untold = (
          validation.mean_loss(
            functools.partial(validation_loss, ema, encoder_params),
            validation_set,
            drop,
          )
          for drop in (False, True)
        )
        metrics_log.write(
          step, validation_loss=loss, validation_caption_gap=untold - loss
        )
        progress.note(step, f'validation loss {loss:.5f}')
        progress.restart_clock(step)
      stopping = stop.after(step)
      due = progress.is_due(step, config.checkpoint_every)
      if due or stopping or saving.is_due_again():
        watchdog.at('saves step', step)
        skipped.check(step, checkpoints.latest())
        if is_bad:
          # What led here may be in the parameters: keep those before it.
          progress.note(step, 'not saved: its gradients are not finite')
        else:
          # The stage first: killed between the two, the run comes back to the
          # checkpoint before and writes the stage again, even at its last step.
          ema = lora.merged(config.lora, state.ema)
          write_stage(workdir, config.stage, step, ema, run['text'])
          saving.start(step, state, loss)
        progress.restart_clock(step)
      if saving.finished() is not None:
        progress.note(checkpoints.latest(), 'saved')
      if stopping and step < config.steps:
        break
      if progress.is_due(step, config.sample_every):
        watchdog.at('draws after step', step)
        ema = hosts.whole(lora.merged(config.lora, state.ema))
        if samples:
          samples.draw(step, ema)
        progress.restart_clock(step)
    watchdog.at('waits until all is on disk after step', step)
    saving.finish(step, state, loss)
    stream.close()
    metrics_log.close()
    if step < config.steps:
      if hosts.is_first():
        print(
          f'stopped by SIGTERM after step {step}; saved is step '
          f'{checkpoints.latest()}, from which the same command goes on',
          file=sys.stderr,
        )
      sys.exit(guards.EXIT_CODE)
  return state


if __name__ == '__main__':
  # Import by name: run as a module this file is loaded as __main__, and gin
  # must bind the classes of imagen_jax.train.
  from imagen_jax import cli
  from imagen_jax import train as module

  cli.run(module.train, module.TrainConfig, jobs.describe, distributed=True)
