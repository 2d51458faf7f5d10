"""Kills training runs at random moments and compares what they end in.

  python -m tests.kill_matrix --kills=20 --terms=5 --out=DIR

A tiny base is trained on several process counts and meshes, once without
interruption and then with: SIGKILL to one process or to all at a random moment
of their lives (`kill_moments`), or SIGTERM to one, upon which all must save the
same step. The same command goes on each time. The parameters at the end must
equal those of the uninterrupted run: bit for bit on an equal mesh, to a
tolerance where each restart chose another one.

DIR/report.json grows with each interruption; the same command goes on from it.
Processes are forked from this one, which has everything imported: importing
would be most of their lives.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback

os.environ.setdefault('XLA_FLAGS', '--xla_backend_optimization_level=0')
os.environ['JAX_PLATFORMS'] = 'cpu'

import jax
import numpy as np
from jax._src import compiler, distributed

from imagen_jax import (
  compilation_cache,
  exchanges,
  hosts,
  partitioning,
  train,
  weights,
)
from imagen_jax.diffusion import schedules
from imagen_jax.training import guards
from tests import kill_moments, processes, tiny_cascade, tiny_job

STEPS = 40
SAVED_EVERY = 3
TOLERANCE = 1e-5  # of parameters between meshes, under Adam
_CUT_FROM = 2000  # bytes; leaves of so many are cut over 'fsdp'
_MOST = 3  # interruptions of one run
_PATIENCE = 5  # seconds that the others have to notice a death
_LONGEST = 1800  # seconds that a run may take until it counts as hanging
_TEXT = (
  'import pathlib, sys; from imagen_jax.text import encoders; '
  'from tests import tiny_cascade; d = pathlib.Path(sys.argv[1]); '
  'encoders.save(d / "text", tiny_cascade.encoder(d))'
)


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
      hosts.join(
        argparse.Namespace(
          coordinator=f'localhost:{port}',
          num_processes=place.count,
          process_id=index,
          join_timeout=120,
        )
      )
    compilation_cache.enable(directory / 'cache')
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
    params = exchanges.whole(state.params)
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
  port, fork = processes.free_port(), multiprocessing.get_context('fork')
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


def _finish(place, directory, workdir):
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


def _interrupt(place, directory, workdir, number, moments):
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
      assert codes in ({guards.EXIT_CODE}, {0}), codes
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


def _apart(a, b):
  """Largest difference of two runs' parameters."""
  one, other = (np.load(path / 'params.npz') for path in (a, b))
  assert set(one) == set(other)
  return max(float(np.abs(one[k] - other[k]).max()) for k in one)


class Matrix:
  """All the runs in one directory, and the report of them."""

  def __init__(self, directory, places, seed):
    self._directory = directory
    self._places = places
    self._path = directory / 'report.json'
    self.report = {
      'whole': {},
      'interruptions': [],
      'restarts': [],
      'runs': [],
      'saved_by': {},  # run -> {step of a checkpoint: name of a place}
      'starting': {},
    }
    if self._path.exists():
      self.report = json.loads(self._path.read_text())
    done = len(self.report['interruptions'])
    self._moments = kill_moments.Moments(
      rng=random.Random(f'{seed} {done}'),
      steps=STEPS,
      starting=self.report['starting'],
    )

  def _note(self, kind, found):
    self.report[kind].append(found)
    self._write()
    print(json.dumps(found), flush=True)

  def _write(self):
    fresh = self._path.with_suffix('.tmp')
    fresh.write_text(json.dumps(self.report, indent=2))
    os.replace(fresh, self._path)

  def run_whole(self, i, end):
    """The run on place i that nothing interrupts, once, if there is time."""
    place, workdir = self._places[i], self._directory / f'whole_{i}'
    if place.name in self.report['whole'] or time.monotonic() > end:
      return
    shutil.rmtree(workdir, ignore_errors=True)  # of a command that was ended
    before = time.monotonic()
    _finish(place, self._directory, workdir)
    found = {'seconds': round(time.monotonic() - before, 1)}
    found['apart_from_first'] = _apart(self._directory / 'whole_0', workdir)
    self.report['whole'][place.name] = found
    self._write()
    print(f'{place.name}: {json.dumps(found)}', flush=True)

  def is_half_done(self):
    """Whether a run has been interrupted and not ended since."""
    begun = {one['run'] for one in self.report['interruptions']}
    return len(begun) > len(self.report['runs'])

  def interrupt_all(self, signals, end):
    """Runs that are sent these signals, the last first; stops at `end`."""
    while (signals or self.is_half_done()) and time.monotonic() < end:
      run = len(self.report['runs'])
      changing = run % 2 == 1 and len(self._places) > 1
      i = 0 if changing else run // 2 % len(self._places)
      self._interrupt_one(run, i, changing, signals, end)

  def _interrupt_one(self, run, i, changing, signals, end):
    """One run with some of the signals, until it ends and is compared."""
    workdir = self._directory / f'run_{run}'
    so_far = [x for x in self.report['interruptions'] if x['run'] == run]
    count, place, ended = len(so_far), self._places[i], False
    last = so_far[-1]['place'] if so_far else None
    while not ended:
      if time.monotonic() > end:
        return  # gone on with by the same command
      if changing:
        others = [p for p in self._places if p.name != last]
        place = self._moments.rng.choice(others)
      told = _Told(workdir)
      if signals and count < _MOST:
        found = _interrupt(
          place, self._directory, workdir, signals[-1], self._moments
        )
      else:
        _finish(place, self._directory, workdir)
        found = None
      ended = found is None
      self._note_start(run, place.name, last, told.resumed_from(), ended)
      last = place.name
      if not ended:
        count += 1
        signals.pop()
        self._note('interruptions', {'run': run, **found})
    apart = _apart(workdir, self._directory / f'whole_{i}')
    found = {
      'run': run,
      'ended_on': place.name,
      'compared_with': self._places[i].name,
      'mesh_changed': changing,
      'interruptions': count,
      'apart': apart,
    }
    self._note('runs', found)
    assert apart <= (TOLERANCE if changing else 0.0), found

  def _note_start(self, run, place, before, resumed_from, ended):
    """Notes where a start went on from, and which checkpoints are its own."""
    saved_by = self.report['saved_by'].setdefault(str(run), {})
    if before is not None:
      self._note(
        'restarts',
        {
          'run': run,
          'place': place,
          'ended': ended,
          'resumed_from': resumed_from,  # None: from the beginning, or killed
          'saved_by': saved_by.get(str(resumed_from)),
        },
      )
    for step in kill_moments.steps(self._directory / f'run_{run}'):
      saved_by.setdefault(str(step), place)
    self._write()

  def summary(self):
    """Lines of what came of all of it."""
    interruptions = self.report['interruptions']
    restarts = self.report['restarts']
    went_on = [x for x in restarts if x['resumed_from']]
    elsewhere = [x for x in went_on if x['saved_by'] != x['place']]
    killed = [x for x in restarts if not (x['resumed_from'] or x['ended'])]
    saving = sum(bool(x['half_written']) for x in interruptions)
    alike = [x['apart'] for x in self.report['runs'] if not x['mesh_changed']]
    changed = [x['apart'] for x in self.report['runs'] if x['mesh_changed']]
    return [
      f'{len(interruptions)} signals in {len(self.report["runs"])} runs that '
      f'ended; {saving} SIGKILL left a checkpoint half written',
      f'{len(restarts)} restarts: {len(went_on)} went on from a checkpoint, '
      f'{len(elsewhere)} of these from one of another place; {len(killed)} had '
      'none to go on from and did not end either, or were killed before',
      f'largest difference: {max(alike, default=None)} on an equal mesh, '
      f'{max(changed, default=None)} where it changed',
    ]


class _Told:
  """What process 0 tells from now on."""

  def __init__(self, workdir):
    self._path = workdir / 'log_0.txt'
    self._from = self._path.stat().st_size if self._path.exists() else 0

  def resumed_from(self):
    """Step of the checkpoint that the run went on from, None = of none."""
    text = self._path.read_bytes()[self._from :].decode(errors='replace')
    found = re.search(r'resuming from step (\d+)', text)
    return found and int(found[1])


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument('--terms', type=int, default=5)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--seconds', type=float, default=7200)
  parser.add_argument('--places', default='0,1,2,3', help='of PLACES')
  parser.add_argument('--out', required=True)
  args = parser.parse_args()
  end = time.monotonic() + args.seconds
  directory = pathlib.Path(args.out).absolute()
  directory.mkdir(parents=True, exist_ok=True)
  if not (directory / 'text').exists():
    subprocess.run(
      [sys.executable, '-c', _TEXT, directory], check=True, cwd=processes.ROOT
    )
  places = [PLACES[int(i)] for i in args.places.split(',')]
  signals = [signal.SIGKILL] * args.kills + [signal.SIGTERM] * args.terms
  random.Random(args.seed).shuffle(signals)
  matrix = Matrix(directory, places, args.seed)
  for i in range(len(places)):
    matrix.run_whole(i, end)
  done = len(matrix.report['interruptions'])
  matrix.interrupt_all(signals[: len(signals) - done], end)
  print('\n'.join(matrix.summary()))
  done = len(matrix.report['interruptions'])
  over = done == len(signals) and not matrix.is_half_done()
  return 0 if over else 75  # to be gone on with


if __name__ == '__main__':
  sys.exit(main())
