"""The real command in one process and in two: what it refuses, who is missed.

Two devices in all. What is refused is one line of every process, with the right
exit code, and nothing in the work directory is changed by it.
"""

import json
import os
import shutil
import signal
import time
from unittest import mock

import pytest

from tests.support import spawning, tiny_leaf

pytestmark = pytest.mark.slow  # each starts Python and JAX a few times
STEPS = {'TrainConfig.steps': 4, 'TrainConfig.checkpoint_every': 2}


class Job:
  """The command on one leaf, its work directories and logs."""

  def __init__(self, directory):
    self.directory = directory
    self.leaf = tiny_leaf.write(directory)
    self._runs = 0

  def start(self, count, workdir, settings, *flags):
    """(processes, directory of their logs)."""
    self._runs += 1
    logs = self.directory / f'logs_{self._runs}'
    logs.mkdir()
    arguments = [
      f'--gin_file={self.leaf}',
      f'--workdir={workdir}',
      *(f'--gin.{name}={value}' for name, value in settings.items()),
      *flags,
    ]
    started = spawning.start(
      'imagen_jax.train', count, arguments, devices=2 // count, log=logs
    )
    return started, logs

  def run(self, count, workdir, settings, *flags):
    """(exit codes, what each process told)."""
    started, logs = self.start(count, workdir, settings, *flags)
    return _wait(started, 300), [_told(logs, i) for i in range(count)]


def _wait(started, seconds):
  """Exit codes; all have so long."""
  end = time.monotonic() + seconds
  try:
    return [p.wait(max(0.1, end - time.monotonic())) for p in started]
  finally:
    for process in started:
      process.kill()


def _told(logs, index):
  return (logs / f'log_{index}.txt').read_text()


def _await_steps(workdir, started, steps):
  """Returns when so many steps have been reported."""
  path, end = workdir / 'metrics.jsonl', time.monotonic() + 300
  while not path.exists() or path.read_text().count('"loss"') < steps:
    assert time.monotonic() < end
    assert all(process.poll() is None for process in started)
    time.sleep(0.1)


def _files(workdir):
  return {
    str(path.relative_to(workdir)): path.read_bytes()
    for path in sorted(workdir.rglob('*'))
    if path.is_file() and path.name != '.lock'
  }


@pytest.fixture(scope='module')
def job(tmp_path_factory):
  directory = tmp_path_factory.mktemp('job')
  changes = {
    'IMAGEN_JAX_CACHE': str(directory / 'cache'),
    'XLA_FLAGS': '--xla_backend_optimization_level=0',  # compiles sooner
  }
  with mock.patch.dict(os.environ, changes):
    yield Job(directory)


@pytest.fixture(scope='module')
def trained(job):
  """The work directory of a run of one process that has ended."""
  workdir = job.directory / 'trained'
  codes, told = job.run(1, workdir, STEPS)
  assert codes == [0], told[0][-3000:]
  return workdir


ANOTHER = {'unet.UNetConfig.embedding_width': 12}
REFUSED = {
  'batch': ({'TrainConfig.batch_size': 3}, '3 does not divide over 2 devices'),
  'mesh': (
    {'MeshConfig.fsdp': 4},
    'mesh data=1 x fsdp=4 x tensor=1 needs 4 devices, there are 2',
  ),
  'another config': ({'TrainConfig.seed': 1}, 'seed is 0 there and 1 here'),
  'another model': (ANOTHER, 'model.embedding_width is 8 there and 12 here'),
  'another layout': (
    ANOTHER | {'TrainConfig.allow_changes': True},
    'checkpoints/4 is of another model, optimizer or release: parameter ',
  ),
}


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('name', list(REFUSED))
def test_what_does_not_fit_is_one_line(job, trained, name, count, tmp_path):
  settings, said = REFUSED[name]
  workdir = tmp_path / 'run'
  shutil.copytree(trained, workdir)
  before = _files(workdir)
  codes, told = job.run(count, workdir, STEPS | settings)
  assert codes == [2] * count, told
  for text in told:
    (line,) = [x for x in text.splitlines() if x.startswith('error: ')]
    assert said in line
    assert 'Traceback' not in text
  assert _files(workdir) == before


def test_a_host_that_never_comes_is_named(job, tmp_path):
  codes, told = job.run(
    1,
    tmp_path / 'run',
    STEPS,
    f'--coordinator=localhost:{spawning.free_port()}',
    '--num_processes=3',
    '--process_id=0',
    '--join_timeout=3',
  )
  assert codes == [2]
  assert told[0].count('\n') == 1 and 'did not join within 3 s: 1, 2' in told[0]
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('count', [1, 2])
def test_a_second_job_goes_and_the_first_goes_on(job, count, tmp_path):
  workdir = tmp_path / 'run'
  started, logs = job.start(count, workdir, {'TrainConfig.log_every': 1})
  try:
    _await_steps(workdir, started, 2)
    codes, told = job.run(count, workdir, STEPS)
    assert codes == [2] * count, told
    for text in told:
      (line,) = [x for x in text.splitlines() if x.startswith('error: ')]
      assert 'another process is training there' in line
    assert all(process.poll() is None for process in started)
    started[-1].send_signal(signal.SIGTERM)
  finally:
    codes = _wait(started, 120)
  assert codes == [143] * count, _told(logs, 0)
  assert 'from which the same command goes on' in _told(logs, 0)


@pytest.mark.parametrize('struck', [0, 1])
def test_a_host_that_dies_is_named_and_the_other_ends(job, struck, tmp_path):
  """Stopping the coordinator ends the other at once, in JAX itself."""
  workdir = tmp_path / 'run'
  settings = {'TrainConfig.checkpoint_every': 2}
  started, logs = job.start(2, workdir, settings)
  try:
    _await_steps(workdir, started, 5)
    started[struck].kill()
  finally:
    before = time.monotonic()
    codes = _wait(started, 60)
  seconds = time.monotonic() - before
  print(f'process {struck} killed: the other ended after {seconds:.1f} s')
  said = _told(logs, 1 - struck)
  if struck:
    assert codes == [1, -signal.SIGKILL], said
    (line,) = [x for x in said.splitlines() if x.startswith('error: ')]
    assert 'process 0 of 2 stops: these do not answer any more: 1;' in line
    assert 'Traceback' not in said
  else:
    assert codes in ([-signal.SIGKILL, c] for c in (1, -signal.SIGABRT)), said
    assert 'these do not answer any more: 0;' in said or 'leader task' in said
  # And what it saved is gone on from, by one process too.
  newest = max(int(p.name) for p in _whole(workdir))
  steps = {'TrainConfig.steps': newest + 2}
  codes, told = job.run(1 + struck, workdir, settings | steps)
  assert codes == [0] * (1 + struck), told
  assert f'resuming from step {newest}' in told[0]


@pytest.mark.parametrize('count', [1, 2])
def test_bad_gradients_take_the_run_back_on_all(job, trained, count, tmp_path):
  """To the last checkpoint: all say so and exit with 2."""
  workdir = tmp_path / 'run'
  shutil.copytree(trained, workdir)
  stage = (workdir / 'stage' / 'model.safetensors').read_bytes()
  settings = {
    'optimizers.LearningRate.peak': '1e30',
    'TrainConfig.max_skipped': 1,
    'TrainConfig.steps': 20,
    'TrainConfig.checkpoint_every': 2,
  }
  codes, told = job.run(count, workdir, settings)
  assert codes == [2] * count, told
  for text in told:
    (line,) = [x for x in text.splitlines() if x.startswith('error: ')]
    assert 'The last checkpoint is of step 4' in line, text
  report = json.loads((workdir / 'stopped.json').read_text())
  assert report['rolled_back_to_step'] == 4
  assert {path.name for path in _whole(workdir)} == {'2', '4'}
  assert (workdir / 'stage' / 'model.safetensors').read_bytes() == stage


def _whole(workdir):
  return [p for p in (workdir / 'checkpoints').iterdir() if p.name.isdecimal()]
