"""The trainer: sharding, resuming, what it writes, what it refuses."""

import dataclasses
import json
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax import stages, train
from imagen_jax.diffusion import conditioning
from imagen_jax.parallel import partitioning
from imagen_jax.text import encoders, feeds
from imagen_jax.training import (
  checkpoints,
  initial_weights,
  inputs,
  interruptions,
  jobs,
  lora,
  objective,
  optimizers,
)
from imagen_jax.training import state as state_lib
from tests.support import tiny_cascade, tiny_job


@pytest.fixture(scope='module')
def text(tmp_path_factory):
  directory = tmp_path_factory.mktemp('text')
  encoders.save(directory / 'text', tiny_cascade.encoder(directory))
  return directory / 'text'


ONE = partitioning.MeshConfig(data=1)
EIGHT = partitioning.MeshConfig(data=4, fsdp=2, replicate_below=0)


def _mesh(config):
  return partitioning.make_mesh(
    config, jax.devices()[: 1 if config is ONE else 8]
  )


def _run(job, mesh_config, steps):
  """Parameters after `steps` of the real train step, and the first loss."""
  mesh = _mesh(mesh_config)
  encoder = encoders.load(job.text)
  optimizer = optimizers.make(job.optimizer, job.learning_rate, job.clip)
  state, shardings = state_lib.create(
    lambda key: stages.init_params(job.stage, key),
    optimizer,
    mesh,
    mesh_config,
    jax.random.key(job.seed),
  )
  # Zero-initialised outputs would hide the network from the loss.
  params = tiny_cascade.random_params(job.stage)
  params = jax.tree.map(
    lambda p, s: jax.device_put(0.3 * p, s.sharding), params, state.params
  )
  state = state_lib.TrainState(
    step=state.step, params=params, ema=state.ema, opt=state.opt
  )
  step = jobs.make_train_step(job, optimizer, encoder.config, mesh, shardings)
  text = jax.device_put(encoder.params, partitioning.replicated(mesh))
  batches = inputs.open_batches(job, feeds.Inline(encoder=encoder), 'train')
  metrics = []
  for k in range(steps):
    batch = partitioning.put_batch(batches.batch(k), mesh)
    state, m = step(state, text, batch)
    metrics.append({k: float(m[k]) for k in ('loss', 'grad_norm')})
  return state, metrics


def _difference(a, b):
  """Largest absolute difference of two trees."""
  return max(
    float(np.abs(np.asarray(x) - np.asarray(y)).max())
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
  )


@pytest.mark.parametrize(
  'resolution', [8, pytest.param(16, marks=pytest.mark.slow)]
)
def test_eight_devices_agree_with_one_under_sgd(text, resolution):
  job = tiny_job.config(
    text,
    resolution,
    optimizer=optimizers.SGD(),
    learning_rate=optimizers.LearningRate(peak=1e-2, warmup=1),
  )
  one, metrics_one = _run(job, ONE, 20)
  eight, metrics_eight = _run(job, EIGHT, 20)
  sharded = [
    p for p in jax.tree.leaves(eight.params) if 'fsdp' in str(p.sharding.spec)
  ]
  assert len(sharded) > 10, 'the test must shard parameters'
  first, other = metrics_one[0], metrics_eight[0]
  np.testing.assert_allclose(first['loss'], other['loss'], rtol=1e-5)
  np.testing.assert_allclose(first['grad_norm'], other['grad_norm'], rtol=1e-5)
  assert first['grad_norm'] > 1e-3
  assert _difference(one.params, eight.params) < 1e-6
  moved = _difference(
    one.params,
    jax.tree.map(lambda p: 0.3 * p, tiny_cascade.random_params(job.stage)),
  )
  assert moved > 1e-4, 'the test must train'


@pytest.mark.slow  # a figure; SGD above is the test of it
def test_adam_drifts_little_across_devices(text):
  job = tiny_job.config(text)
  one, _ = _run(job, ONE, 10)
  eight, _ = _run(job, EIGHT, 10)
  drift = _difference(one.params, eight.params)
  print(f'Adam, 10 steps of 1e-3: parameters differ by {drift:.1e}')
  assert drift < 1e-3


def _state_after(job, workdir):
  train.train(job, workdir)
  mesh = partitioning.make_mesh(job.mesh)
  state, _ = state_lib.create(
    lambda key: stages.init_params(job.stage, key),
    optimizers.make(job.optimizer, job.learning_rate, job.clip),
    mesh,
    job.mesh,
    jax.random.key(0),
  )
  with checkpoints.Checkpoints(workdir) as saved:
    return saved.restore(state)[0]


@pytest.fixture(scope='module')
def finished(text, tmp_path_factory):
  """An uninterrupted run of 6 steps: its work directory and last state."""
  workdir = tmp_path_factory.mktemp('run')
  return workdir, _state_after(tiny_job.config(text), workdir)


def test_resumed_run_equals_uninterrupted_bit_for_bit(text, tmp_path, finished):
  train.train(tiny_job.config(text, steps=3), tmp_path)
  resumed = _state_after(tiny_job.config(text, steps=6), tmp_path)
  assert _difference(resumed.params, finished[1].params) == 0
  assert _difference(resumed.ema, finished[1].ema) == 0
  assert _difference(resumed.opt, finished[1].opt) == 0
  assert int(resumed.step) == 6


def test_writes_stage_metrics_and_samples(text, finished):
  workdir, state = finished
  stage, params = stages.read(workdir / 'stage')
  assert stage == tiny_job.config(text).stage
  assert _difference(params, state.ema) == 0
  rows = [
    json.loads(line)
    for line in (workdir / 'metrics.jsonl').read_text().splitlines()
  ]
  assert [r['step'] for r in rows if 'loss' in r] == [2, 4, 6]
  assert [r['step'] for r in rows if 'validation_loss' in r] == [3, 6]
  # Warm-up over 4 steps: updates 2, 4 and 6 have 1, 3 and more behind them.
  rates = [r['learning_rate'] for r in rows if 'loss' in r]
  np.testing.assert_allclose(rates, [0.25e-3, 0.75e-3, 1e-3], rtol=1e-6)
  (ran,) = (workdir / 'hardware.jsonl').read_text().splitlines()
  assert json.loads(ran)['devices'] == 8 and json.loads(ran)['step'] == 0
  assert (workdir / 'samples' / 'step_00000006.png').exists()


def test_ema_is_the_ramped_average(text):
  job = tiny_job.config(text, learning_rate=optimizers.LearningRate(warmup=1))
  start, _ = _run(job, ONE, 0)
  one, _ = _run(job, ONE, 1)
  expected = jax.tree.map(lambda e, p: 0.1 * e + 0.9 * p, start.ema, one.params)
  assert _difference(one.ema, expected) < 1e-6


def test_dropped_captions_do_not_matter(text):
  job = tiny_job.config(text)
  encoder = encoders.load(job.text)
  apply = stages.network(job.stage).apply
  params = tiny_cascade.random_params(job.stage)
  feed = feeds.Inline(encoder=encoder)
  batch = inputs.open_batches(job, feed, 'train').batch(0)
  noise = objective.draw_noise(jax.random.key(0), batch, 0.0)

  def losses(tokens, drop):
    b = jobs.with_text(
      {**batch, 'tokens': tokens}, encoder.config, encoder.params
    )
    fixed = dataclasses.replace(noise, drop=jnp.full_like(noise.drop, drop))
    return objective.example_losses(job.stage, apply, params, b, fixed)

  other = np.roll(batch['tokens'], 1, axis=0)
  same = losses(batch['tokens'], True) - losses(other, True)
  assert float(jnp.abs(same).max()) == 0
  told = losses(batch['tokens'], False) - losses(other, False)
  assert float(jnp.abs(told).max()) > 1e-6


def test_runs_of_any_seed_have_one_validation_set(text, tmp_path, monkeypatch):
  """Its crops too, so that losses can be compared across runs."""
  open_batches, opened = inputs.open_batches, {}

  def watched(config, feed, split, *rest):
    batches = open_batches(config, feed, split, *rest)
    opened[split] = batches.maker().seed
    return batches

  def stop(*unused):
    raise KeyboardInterrupt

  monkeypatch.setattr(inputs, 'open_batches', watched)
  monkeypatch.setattr(train.identity, 'of', stop)
  with pytest.raises(KeyboardInterrupt):
    train.train(tiny_job.config(text, seed=1), tmp_path)
  assert opened == {'train': 1, 'validation': 0}


def test_batch_that_does_not_divide(text, tmp_path):
  job = tiny_job.config(text, batch_size=12)
  with pytest.raises(ValueError, match='12 does not divide over 8 .* use 8 or'):
    train.train(job, tmp_path)


def test_work_directory_of_another_run(text, finished):
  job = tiny_job.config(text, seed=1)
  with pytest.raises(ValueError, match='seed is 0 there and 1 here'):
    train.train(job, finished[0])


def test_encoder_of_another_width(text, tmp_path):
  job = tiny_job.config(text)
  stage = dataclasses.replace(job.stage, max_length=7)
  with pytest.raises(ValueError, match='width 16 and length 7.*16 and 12'):
    train.train(tiny_job.config(text, stage=stage), tmp_path)


def test_gradients_that_are_not_finite_stop_the_run(text, tmp_path, capsys):
  job = tiny_job.config(
    text,
    optimizer=optimizers.SGD(),
    clip=None,
    learning_rate=optimizers.LearningRate(peak=1e30, warmup=1),
  )
  with pytest.raises(ValueError, match='steps in a row .* nothing of it'):
    train.train(job, tmp_path)
  assert not list((tmp_path / 'checkpoints').glob('[0-9]*'))


@pytest.mark.slow  # training/test_interruptions_rollback.py has its parts
def test_gradients_that_stay_bad_take_the_run_back(text, finished, tmp_path):
  """To its last checkpoint, with a report; and a trace of a step is written."""
  workdir = tmp_path / 'run'
  shutil.copytree(finished[0], workdir)
  job = tiny_job.config(
    text,
    steps=12,
    learning_rate=optimizers.LearningRate(peak=1e30, warmup=1),
    max_skipped=2,
    log_every=1,
    validate_every=0,
    profile_steps=(7, 8),
  )
  with pytest.raises(
    interruptions.NotFinite, match='of 3 steps .* up to step 10 were'
  ):
    train.train(job, workdir)
  report = json.loads((workdir / 'stopped.json').read_text())
  assert (report['first_bad_step'], report['last_bad_step']) == (8, 10)
  assert report['bad_batches'] == [7, 9]
  assert report['rolled_back_to_step'] == 6
  assert report['last_metrics']['step'] == 7
  saved = {p.name for p in (workdir / 'checkpoints').glob('[0-9]*')}
  assert saved == {'3', '6'}
  _, ema = stages.read(workdir / 'stage')
  assert _difference(ema, finished[1].ema) == 0
  assert list(workdir.glob('profile/plugins/profile/*/*.xplane.pb'))


def test_augmentation_is_told_and_bounded():
  low_res = jnp.ones([2, 4, 4, 3])
  noise = jnp.full_like(low_res, -1.0)
  out, logsnr = conditioning.augment(low_res, jnp.array([0.0, 1.0]), noise)
  np.testing.assert_allclose(out[0], 1.0, atol=1e-4)
  np.testing.assert_allclose(out[1], -1.0, atol=1e-4)
  np.testing.assert_allclose(logsnr, [20.0, -20.0], atol=1e-3)


def test_fine_tuning_starts_from_a_stage(text, finished, tmp_path):
  job = tiny_job.config(text)
  start, _ = _run(job, ONE, 0)
  state = initial_weights.take(finished[0] / 'stage', job.stage, start)
  assert _difference(state.params, finished[1].ema) == 0
  assert _difference(state.ema, finished[1].ema) == 0
  other = tiny_cascade.stage(16)
  stages.write(tmp_path, other, tiny_cascade.random_params(other))
  with pytest.raises(ValueError, match='there and .* start from weights of'):
    initial_weights.take(tmp_path, job.stage, start)


def test_stage_is_never_older_than_the_checkpoint(text, tmp_path, monkeypatch):
  start, written = checkpoints.Checkpoints.start, []

  def killed(self, step, state, identity, loss):
    _, ema = stages.read(tmp_path / 'stage')
    written.append(_difference(ema, state.ema))
    raise KeyboardInterrupt

  monkeypatch.setattr(checkpoints.Checkpoints, 'start', killed)
  with pytest.raises(KeyboardInterrupt):
    train.train(tiny_job.config(text, steps=3), tmp_path)
  assert written == [0]
  monkeypatch.setattr(checkpoints.Checkpoints, 'start', start)
  train.train(tiny_job.config(text, steps=3), tmp_path)
  assert (tmp_path / 'checkpoints' / '3').is_dir()


def test_stage_that_cannot_be_written(text, tmp_path):
  (tmp_path / 'stage').write_text('in the way')
  with pytest.raises(
    ValueError, match='weights of step 3 could not be .* free'
  ):
    train.train(tiny_job.config(text, steps=3), tmp_path)


def test_resuming_leaves_the_first_weights_and_the_sampling_free(
  text, finished, tmp_path
):
  workdir = tmp_path / 'run'
  shutil.copytree(finished[0], workdir)
  job = tiny_job.config(text, init_from=str(tmp_path / 'gone'))
  sampling = dataclasses.replace(job.stage.sampling, steps=3, guidance=2.0)
  stage = dataclasses.replace(job.stage, name='other', sampling=sampling)
  train.train(dataclasses.replace(job, stage=stage), workdir)


def test_resuming_with_another_encoder(text, finished, tmp_path):
  encoder = encoders.load(text)
  params = jax.tree.map(lambda p: p + 1.0, encoder.params)
  encoders.save(tmp_path, dataclasses.replace(encoder, params=params))
  with pytest.raises(ValueError, match='text.weights is .* there and .* here'):
    train.train(tiny_job.config(tmp_path), finished[0])


def test_loss_weight_makes_x0_errors_v_errors_up_to_a_bound():
  logsnr = jnp.array([-20.0, 0.0, 2.0, 20.0])
  weight = objective.loss_weight('x0', logsnr)
  np.testing.assert_allclose(weight[:3], 1 + np.exp(logsnr[:3]), rtol=1e-5)
  assert weight[3] == objective.MAX_X0_WEIGHT
  for kind in ('v', 'eps'):
    np.testing.assert_array_equal(objective.loss_weight(kind, logsnr), 1.0)


def test_sigterm_saves_and_the_same_command_goes_on(
  text, finished, tmp_path, monkeypatch, capsys
):
  """The signal comes during step 2, at which nothing is due."""
  add = interruptions.Skipped.add

  def add_and_signal(self, flag):
    add(self, flag)
    if len(self._flags) == 2:
      os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(interruptions.Skipped, 'add', add_and_signal)
  with pytest.raises(SystemExit) as stop:
    train.train(tiny_job.config(text), tmp_path)
  assert stop.value.code == 128 + signal.SIGTERM
  assert 'saved is step 2, from which' in capsys.readouterr().err
  monkeypatch.setattr(interruptions.Skipped, 'add', add)
  resumed = _state_after(tiny_job.config(text), tmp_path)
  assert _difference(resumed.params, finished[1].params) == 0


def test_lora_is_merged_when_the_stage_is_written(text, finished, tmp_path):
  job = tiny_job.config(
    text,
    init_from=str(finished[0] / 'stage'),
    lora=lora.LoRA(rank=2),
    steps=3,
  )
  train.train(job, tmp_path)
  _, start = stages.read(finished[0] / 'stage')
  _, params = stages.read(tmp_path / 'stage')
  assert jax.tree.structure(params) == jax.tree.structure(start)
  moved = {
    path[0].key
    for (path, a), b in zip(
      jax.tree.leaves_with_path(params), jax.tree.leaves(start)
    )
    if (a != b).any()
  }
  assert moved == {n for n in params if '_attention' in n or '_text' in n}
