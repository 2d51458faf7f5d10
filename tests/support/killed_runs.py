"""Training runs that can be killed, for `kill_matrix`.

Each is some processes that are forked from this one, which has everything
imported: importing would be most of their lives.
"""

import argparse
import dataclasses
import multiprocessing
import os
import re
import signal
import sys
import time
import traceback

os.environ.setdefault('XLA_FLAGS', '--xla_backend_optimization_level=0')
os.environ['JAX_PLATFORMS'] = 'cpu'

import jax
import numpy as np
from jax._src import compiler, distributed

from imagen_jax import train
from imagen_jax.diffusion import schedules
from imagen_jax.files import weights
from imagen_jax.parallel import agreements, compilation, partitioning, processes
from imagen_jax.training import interruptions
from tests.support import kill_moments, spawning, tiny_cascade, tiny_job

STEPS = 40
SAVED_EVERY = 3
_CUT_FROM = 2000  # bytes; leaves of so many are cut over 'fsdp'
_PATIENCE = 30  # seconds that the others have to notice a death
_LONGEST = 1800  # seconds that a run may take until it counts as hanging


class Nothing:
  """In the place of previews and validation, which take long to compile."""

  def __init__(self, *unused):
    pass

  def draw(self, *unused):
    pass

  def losses(self, *unused):
    return 0.0, 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
  """Processes and a mesh to train on."""

  name: str
  count: int  # processes
  devices: int  # of each
  data: int
  fsdp: int


PLACES = (
  Place(name='1 process, 1x1 mesh', count=1, devices=1, data=1, fsdp=1),
  Place(name='1 process, 2x2 mesh', count=1, devices=4, data=2, fsdp=2),
  Place(name='2 processes, 1x4 mesh', count=2, devices=2, data=1, fsdp=4),
  Place(name='4 processes, 2x2 mesh', count=4, devices=1, data=2, fsdp=2),
)


def _stage():
  """The tiny base with one level: half as much to compile and to save."""
  stage = tiny_cascade.stage(8)
  model = dataclasses.replace(
    stage.model, widths=(8,), blocks=(1,), attention=(8,)
  )
  return dataclasses.replace(stage, model=model, schedule=schedules.Cosine())


def _keep_all_programs():
  """Lets each process keep what it has compiled.

  JAX leaves that to process 0, but on CPUs the others do not find its programs:
  a restart would compile again.
  """
  write, state = compiler._cache_write, distributed.global_state

  def as_first(*args):
    number, state.process_id = state.process_id, 0
    try:
      write(*args)
    finally:
      state.process_id = number

  compiler._cache_write = as_first


def _train(place, index, port, directory, workdir):
  """The life of one process; its exit code is that of the command."""
  log = open(workdir / f'log_{index}.txt', 'a')
  os.dup2(log.fileno(), 1)
  os.dup2(log.fileno(), 2)
  train.previews.Previews = train.validation.Validation = Nothing
  jax.config.update('jax_num_cpu_devices', place.devices)
  _keep_all_programs()
  code = 0
  try:
    if place.count > 1:
      processes.join(
        argparse.Namespace(
          coordinator=f'localhost:{port}',
          num_processes=place.count,
          process_id=index,
          join_timeout=120,
        )
      )
    compilation.enable_cache(directory / 'cache')
    config = tiny_job.config(
      directory / 'text',
      stage=_stage(),
      steps=STEPS,
      log_every=1,
      validate_every=0,
      sample_every=0,
      checkpoint_every=SAVED_EVERY,
      mesh=partitioning.MeshConfig(
        data=place.data, fsdp=place.fsdp, replicate_below=_CUT_FROM
      ),
    )
    state = train.train(config, workdir)
    params = agreements.whole(state.params)
    if params is not None:
      flat = weights.flatten(params)
      np.savez(workdir / 'params.npz', **{k: np.asarray(flat[k]) for k in flat})
    jax.distributed.shutdown()
  except SystemExit as e:
    jax.distributed.shutdown()
    code = e.code
  except BaseException:
    traceback.print_exc()
    code = 1
  sys.stderr.flush()
  os._exit(code)


def _start(place, directory, workdir):
  workdir.mkdir(parents=True, exist_ok=True)
  port, fork = spawning.free_port(), multiprocessing.get_context('fork')
  started = [
    fork.Process(target=_train, args=(place, i, port, directory, workdir))
    for i in range(place.count)
  ]
  for process in started:
    process.start()
  return started


def _wait(started, seconds):
  """Whether all have ended within so many seconds."""
  end = time.monotonic() + seconds
  for process in started:
    process.join(max(0.0, end - time.monotonic()))
  return all(process.exitcode is not None for process in started)


def finish(place, directory, workdir):
  """Runs to the end."""
  started = _start(place, directory, workdir)
  try:
    assert _wait(started, _LONGEST), f'{workdir} hangs'
  finally:
    _end(started)
  codes = [process.exitcode for process in started]
  assert codes == [0] * place.count, f'{workdir}: exit codes {codes}'


def _end(started):
  for process in started:
    process.kill()
    process.join()


def interrupt(place, directory, workdir, number, moments):
  """Starts a run and sends a signal; a dict of what came of it.

  SIGTERM goes to one process, at times twice, SIGKILL to one or to all. None
  where the run had come to its end before.
  """
  started, rng = _start(place, directory, workdir), moments.rng
  longest = time.monotonic() + _LONGEST

  def is_over():
    assert time.monotonic() < longest, f'{workdir} hangs'
    return any(process.exitcode is not None for process in started)

  try:
    moment = moments.await_one(place.name, workdir, is_over)
    if is_over():
      assert _wait(started, _LONGEST)
      assert [p.exitcode for p in started] == [0] * place.count
      return None
    kill = number == signal.SIGKILL
    one, often = started[rng.randrange(place.count)], rng.randrange(2)
    struck = started if kill and often else [one]
    for process in struck:
      os.kill(process.pid, number)
    one.join(0.2 if kill else rng.random())
    half = kill_moments.half_written(workdir) if kill else []
    if often and one.exitcode is None:
      os.kill(one.pid, number)
    one.join(_LONGEST)
    if one.exitcode in (-signal.SIGKILL, -signal.SIGTERM):
      # SIGTERM too, where it came before the run listened.
      alone = _wait(started, _PATIENCE)
    else:
      alone = _wait(started, _LONGEST)
      assert alone, 'SIGTERM was not heeded'
      codes = {p.exitcode for p in started}
      # 0: it came after the last step.
      assert codes in ({interruptions.EXIT_CODE}, {0}), codes
  finally:
    _end(started)
  return {
    'place': place.name,
    'signal': signal.Signals(number).name,
    'to_processes': [started.index(process) for process in struck],
    **moment,
    'half_written': half,
    'checkpoint_left': kill_moments.newest(workdir),
    'others_ended_alone': alone,
    'codes': [p.exitcode for p in started],
  }


class Told:
  """What process 0 tells from now on."""

  def __init__(self, workdir):
    self._path = workdir / 'log_0.txt'
    self._from = self._path.stat().st_size if self._path.exists() else 0

  def resumed_from(self):
    """Step of the checkpoint that the run went on from, None = of none."""
    text = self._path.read_bytes()[self._from :].decode(errors='replace')
    found = re.search(r'resuming from step (\d+)', text)
    return found and int(found[1])
