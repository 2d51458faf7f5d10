"""Several processes compute what one does; flags that do not fit are told."""

import argparse
import pathlib
import signal

import jax
import numpy as np
import pytest

import gin
from imagen_jax import train
from imagen_jax.parallel import partitioning, processes
from imagen_jax.text import encoders
from imagen_jax.training import gin_jobs, jobs
from tests.support import sharded_sgd, spawning, tiny_cascade


@pytest.fixture(scope='module')
def text(tmp_path_factory):
  directory = tmp_path_factory.mktemp('text')
  encoders.save(directory / 'text', tiny_cascade.encoder(directory))
  return directory / 'text'


@pytest.fixture(scope='module')
def one(text):
  """What one process with one device computes."""
  mesh = partitioning.MeshConfig(data=1)
  return sharded_sgd.compute(sharded_sgd.job(text, mesh), jax.devices()[:1])


def _apart(found, one, name):
  """Largest difference of the arrays called `name`, and largest of them."""
  keys = [k for k in one if k.startswith(name)]
  assert keys and set(keys) <= set(found)
  apart = max(float(np.abs(found[k] - one[k]).max()) for k in keys)
  return apart, max(float(np.abs(one[k]).max()) for k in keys)


@pytest.mark.parametrize(
  ('count', 'data', 'fsdp'),
  [(2, 1, 4), pytest.param(4, 2, 4, marks=pytest.mark.slow)],
)
def test_processes_agree_with_one(text, one, tmp_path, count, data, fsdp):
  codes = spawning.launch(
    'tests.support.sharded_sgd',
    count,
    [
      f'--text={text}',
      f'--out={tmp_path / "found.npz"}',
      f'--data={data}',
      f'--fsdp={fsdp}',
    ],
  )
  assert codes == [0] * count
  found = np.load(tmp_path / 'found.npz')
  assert found['across'] > 10, 'parameters must lie across processes'
  np.testing.assert_array_equal(found['rows'], np.arange(16))
  loss = abs(float(found['loss']) / float(one['loss']) - 1)
  apart, largest = _apart(found, one, 'gradients')
  moved, _ = _apart(found, one, 'params')
  print(
    f'{count} processes: loss differs by {loss:.1e}, gradients by '
    f'{apart / largest:.1e} of the largest, parameters after '
    f'{sharded_sgd.STEPS} SGD steps by {moved:.1e}'
  )
  assert loss < 1e-5 and apart / largest < 1e-5 and moved < 1e-6


LEAF = pathlib.Path(__file__).parents[2] / 'gin' / 'scenes_64.gin'
HERE = '--coordinator=localhost:{port}'


@pytest.mark.parametrize(
  ('flags', 'said'),
  [
    ([HERE, '--num_processes=2'], 'go together; --process_id is missing'),
    (['--process_id=0'], 'go together; --coordinator is missing'),
    ([HERE, '--num_processes=2', '--process_id=2'], 'the last is 1'),
    (
      ['--coordinator=here', '--num_processes=2', '--process_id=0'],
      'HOST:PORT',
    ),
    (
      [HERE, '--num_processes=3', '--process_id=0', '--join_timeout=1'],
      'of 3 processes these did not join within 1 s: 1, 2; look',
    ),
    (
      [HERE, '--num_processes=2', '--process_id=1', '--join_timeout=1'],
      'process 0 could not be reached at localhost:',
    ),
    (['--profile_steps=13:10'], "'13:10' is no span of steps; write 10:13"),
  ],
)
def test_a_job_that_cannot_start_says_why(flags, said, tmp_path, capsys):
  port = spawning.free_port()
  argv = [f'--gin_file={LEAF}', f'--workdir={tmp_path / "w"}']
  argv += [flag.format(port=port) for flag in flags]
  try:
    with pytest.raises(SystemExit) as stop:
      gin_jobs.run(
        train.train, jobs.TrainConfig, jobs.describe, argv, distributed=True
      )
  finally:
    gin.clear_config(clear_constants=True)
  assert stop.value.code == 2
  error = capsys.readouterr().err
  assert said in error and error.count('\n') == 1
  assert not (tmp_path / 'w').exists()


def test_slurm_is_found_out(monkeypatch):
  """Process 3 of 8 on the second of two nodes, a process for each GPU."""
  for name, value in {
    'SLURM_JOB_ID': '4242',
    'SLURM_STEP_NODELIST': 'gpu[07-08]',
    'SLURM_NTASKS': '8',
    'SLURM_PROCID': '3',
    'SLURM_LOCALID': '1',
    'SLURM_STEP_NUM_NODES': '2',
  }.items():
    monkeypatch.setenv(name, value)
  (coordinator, count, index), devices = processes._detected(5)
  assert coordinator.startswith('gpu07:') and (count, index) == (8, 3)
  assert devices == [1]
  joined = []
  monkeypatch.setattr(
    processes.roll_call, 'attend', lambda *a: joined.append(a)
  )
  monkeypatch.setattr(
    jax.distributed, 'initialize', lambda *a, **k: joined.append((a, k))
  )
  monkeypatch.setattr(jax.config, 'update', lambda *unused: None)
  parser = argparse.ArgumentParser()
  processes.add_flags(parser)
  before = signal.getsignal(signal.SIGTERM)
  try:
    processes.join(parser.parse_args([]))
  finally:
    signal.signal(signal.SIGTERM, before)
  attended, (given, settings) = joined
  assert attended == (coordinator, 8, 3, 300)
  assert given == (coordinator, 8, 3) and settings['local_device_ids'] == [1]


def test_alone_there_is_nothing_to_join():
  assert processes._detected(5)[0] is None
  parser = argparse.ArgumentParser()
  processes.add_flags(parser)
  processes.join(parser.parse_args([]))
  assert jax.process_count() == 1


def test_a_profile_is_a_setting(tmp_path, capsys):
  argv = [f'--gin_file={LEAF}', '--dry_run', '--profile_steps=10:13']
  try:
    gin_jobs.run(
      train.train, jobs.TrainConfig, lambda c: '', argv, distributed=True
    )
  finally:
    gin.clear_config(clear_constants=True)
  assert 'TrainConfig.profile_steps = (10, 13)' in capsys.readouterr().out
