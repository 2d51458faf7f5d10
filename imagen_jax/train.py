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

With several processes (`processes`) each makes and holds its share of the
batch; the first writes all but the checkpoints, to which each adds its part.
"""

import dataclasses
import pathlib
import sys

import jax

from imagen_jax.config import command
from imagen_jax.data import loading as loading_lib
from imagen_jax.data import quarantine
from imagen_jax.parallel import agreements, compilation, partitioning, processes
from imagen_jax.training import checkpoints as checkpoints_lib
from imagen_jax.training import (
  flops,
  hardware,
  identity,
  initial_weights,
  inputs,
  interruptions,
  jobs,
  lora,
  noise_levels,
  previews,
  profiling,
  validation,
)
from imagen_jax.training import metrics as metrics_lib
from imagen_jax.training import saving as saving_lib
from imagen_jax.training import watchdog as watchdog_lib

TrainConfig = jobs.TrainConfig  # the name that leaves of gin/ bind


def train(config, workdir):
  """Runs the job to `config.steps`, resuming if it can; returns the state."""
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  mesh = partitioning.make_mesh(config.mesh)
  if jax.default_backend() == 'cpu':
    compilation.keep_heap()
  partitioning.check_batch(
    config.batch_size, mesh, config.compute.micro_batches
  )
  feed = inputs.open_feed(config)
  encoder_config, encoder_params = inputs.frozen_encoder(feed, mesh)

  bad = quarantine.Quarantine(
    workdir,
    config.loading.max_bad,
    jax.process_index(),
    jax.process_count(),
  )
  batches = inputs.open_batches(config, feed, 'train', mesh, bad)
  # Of one seed in every run, crops included: their losses are compared.
  same = dataclasses.replace(config, seed=0)
  held_out = validation.Validation(
    jobs.make_validation_loss(config, encoder_config),
    inputs.open_batches(same, feed, 'validation', mesh, bad),
    config.validation_batches,
    mesh,
  )
  # After the data, so that a set that cannot be read is told of at once.
  state, shardings, optimizer = jobs.make_state(config, mesh)
  train_step = jobs.make_train_step(
    config, optimizer, encoder_config, mesh, shardings
  )

  agreements.meet()  # checkpoints begin with an exchange
  with (
    checkpoints_lib.Checkpoints(
      workdir, config.keep, config.keep_every, config.keep_best
    ) as checkpoints,
    interruptions.StopSignal() as stop,
    interruptions.Notices(),
    watchdog_lib.Watchdog(config.watchdog_seconds) as watchdog,
    profiling.Trace(config.profile_steps, workdir) as trace,
  ):
    run = identity.of(config, feed, batches)

    def averaged(state):
      return lora.merged(config.lora, state.ema)

    def resume(state):
      return checkpoints.resume(
        state,
        run,
        lambda saved: identity.read(saved, config),
        config.allow_changes,
      )

    def roll_back(error):
      """Leaves the run as its last good checkpoint has it."""
      for x in jax.tree.leaves(state):
        x.delete()  # there may be no room for two
      good, at = interruptions.roll_back(
        workdir, checkpoints, error, lambda: resume(state)
      )
      if good is not None:
        saving_lib.write_stage(
          workdir, config.stage, at, averaged(good), run['text']
        )

    if checkpoints.latest() is None and config.init_from is not None:
      state = initial_weights.take(
        config.init_from, config.stage, state, config.fresh
      )
    state, start = resume(state)
    saving = saving_lib.Saving(checkpoints, run)
    metrics_log = metrics_lib.Metrics(workdir, start, config.wandb)
    hardware.note(workdir, start, mesh.devices.flat)
    learning_rate = config.learning_rate.schedule()
    progress = metrics_lib.Progress(start, config.steps, config.batch_size)
    stream = loading_lib.stream(batches, start, config.loading)
    by_noise = None
    skipped = interruptions.Skipped(config.max_skipped, roll_back)
    throughput = metrics_lib.Throughput(
      flops.per_image(config.stage, config.pictures.crop), mesh.devices
    )
    samples = processes.is_first() and previews.Previews(
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
      if step == start + 1:
        train_step = agreements.compiled(
          train_step, state, encoder_params, batch
        )
      trace.at(step, state)
      state, metrics = train_step(state, encoder_params, batch)
      agreements.settle(metrics)
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
        loss, untold = held_out.losses(averaged(state), encoder_params)
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
          saving_lib.write_stage(
            workdir, config.stage, step, averaged(state), run['text']
          )
          saving.start(step, state, loss)
        progress.restart_clock(step)
      if saving.finished() is not None:
        progress.note(checkpoints.latest(), 'saved')
      if stopping and step < config.steps:
        break
      if progress.is_due(step, config.sample_every):
        watchdog.at('draws after step', step)
        ema = agreements.whole(averaged(state))
        if samples:
          samples.draw(step, ema)
        progress.restart_clock(step)
    watchdog.at('waits until all is on disk after step', step)
    saving.finish(step, state, loss)
    stream.close()
    metrics_log.close()
    bad.close()
    if step < config.steps:
      if processes.is_first():
        print(
          f'stopped by SIGTERM after step {step}; saved is step '
          f'{checkpoints.latest()}, from which the same command goes on',
          file=sys.stderr,
        )
      sys.exit(interruptions.EXIT_CODE)
  return state


if __name__ == '__main__':
  # Import by name: run as a module this file is loaded as __main__, and gin
  # must bind the classes of imagen_jax.train.
  from imagen_jax import train as module
  from imagen_jax.training import gin_jobs

  command.run(
    gin_jobs.run,
    module.train,
    module.TrainConfig,
    jobs.describe,
    distributed=True,
  )
