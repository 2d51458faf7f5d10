"""Kills training runs at random moments and compares what they end in.

  python -m tests.kill_matrix --kills=20 --terms=5 --out=DIR

A tiny base is trained on several process counts and meshes, once without
interruption and then with: SIGKILL to one process at a random moment of its
life, from starting to saving, or SIGTERM to one, upon which all must save the
same step. The same command goes on each time. The parameters at the end must
equal those of the uninterrupted run: bit for bit on an equal mesh, to a
tolerance where each restart chose another one.

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
import signal
import subprocess
import sys
import time
import traceback

os.environ.setdefault('XLA_FLAGS', '--xla_backend_optimization_level=0')
os.environ['JAX_PLATFORMS'] = 'cpu'

import jax
import numpy as np

from imagen_jax import compilation_cache, hosts, partitioning, train, weights
from imagen_jax.training import guards
from tests import processes, tiny_job

STEPS = 40
TOLERANCE = 1e-4  # of parameters between meshes, under Adam
_PATIENCE = 8  # seconds that the others have to notice a death
_TEXT = (
  'import pathlib, sys; from imagen_jax.text import encoders; '
  'from tests import tiny_cascade; d = pathlib.Path(sys.argv[1]); '
  'encoders.save(d / "text", tiny_cascade.encoder(d))'
)


class NoPictures:
  """In the place of `previews.Previews`, whose programs take long to make."""

  def __init__(self, *unused):
    pass

  def draw(self, *unused):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
  """Processes and a mesh to train on."""

  name: str
  count: int  # processes
  devices: int  # of each
  data: int
  fsdp: int


PLACES = (
  Place(name='1 process, 1 device', count=1, devices=1, data=1, fsdp=1),
  Place(name='1 process, 2x2 devices', count=1, devices=4, data=2, fsdp=2),
  Place(name='2 processes, 1x4 devices', count=2, devices=2, data=1, fsdp=4),
  Place(name='4 processes, 2x2 devices', count=4, devices=1, data=2, fsdp=2),
)


def _train(place, index, port, directory, workdir):
  """The life of one process; its exit code is that of the command."""
  log = open(workdir / f'log_{index}.txt', 'a')
  os.dup2(log.fileno(), 1)
  os.dup2(log.fileno(), 2)
  train.previews.Previews = NoPictures
  jax.config.update('jax_num_cpu_devices', place.devices)
  code = 0
  try:
    given = (f'localhost:{port}', place.count, index)
    if place.count == 1:
      given = (None, None, None)
    coordinator, count, number = given
    if count:
      hosts.join(
        argparse.Namespace(
          coordinator=coordinator,
          num_processes=count,
          process_id=number,
          join_timeout=120,
        )
      )
    compilation_cache.enable(directory / 'cache')
    config = tiny_job.config(
      directory / 'text',
      steps=STEPS,
      log_every=5,
      validate_every=0,
      sample_every=0,
      checkpoint_every=4,
      mesh=partitioning.MeshConfig(
        data=place.data, fsdp=place.fsdp, replicate_below=0
      ),
    )
    state = train.train(config, workdir)
    params = hosts.whole(state.params)
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
  """Runs to the end; the seconds that took."""
  before = time.monotonic()
  started = _start(place, directory, workdir)
  assert _wait(started, 1200), f'{workdir} hangs'
  codes = [process.exitcode for process in started]
  assert codes == [0] * place.count, f'{workdir}: exit codes {codes}'
  return time.monotonic() - before


def _interrupt(place, directory, workdir, number, moment, rng):
  """Starts a run and sends a signal to one process; a dict of what came.

  None where it had come to its end before.
  """
  started = _start(place, directory, workdir)
  time.sleep(moment)
  alive = [p for p in started if p.exitcode is None]
  if len(alive) < place.count:
    assert _wait(started, 1200)
    assert [p.exitcode for p in started] == [0] * place.count
    return None
  rng.choice(started).kill() if number == signal.SIGKILL else os.kill(
    rng.choice(started).pid, number
  )
  if number == signal.SIGTERM:
    assert _wait(started, 600), 'SIGTERM was not heeded'
    codes = {p.exitcode for p in started}
    # -15: it came before the run could listen; 0: after its last step.
    assert codes <= {guards.EXIT_CODE, -number, 0, 1}, codes
    alone = True
  else:
    alone = _wait(started, _PATIENCE)
    for process in started:
      process.kill()
      process.join()
  return {
    'place': place.name,
    'signal': signal.Signals(number).name,
    'seconds': round(moment, 2),
    'others_ended_alone': alone,
    'codes': [p.exitcode for p in started],
    'checkpoint': _newest(workdir),
  }


def _newest(workdir):
  steps = [
    int(path.name)
    for path in (workdir / 'checkpoints').glob('[0-9]*')
    if path.name.isdecimal()
  ]
  return max(steps, default=0)


def _apart(a, b):
  """Largest difference of two runs' parameters."""
  one, other = (np.load(path / 'params.npz') for path in (a, b))
  assert set(one) == set(other)
  return max(float(np.abs(one[k] - other[k]).max()) for k in one)


def matrix(directory, kills, terms, seed=0, places=PLACES, seconds=3600):
  """Runs all of it; a JSON-able report. Stops early after `seconds`."""
  end = time.monotonic() + seconds
  subprocess.run(
    [sys.executable, '-c', _TEXT, directory], check=True, cwd=processes.ROOT
  )
  rng, took = random.Random(seed), {}
  for i, place in enumerate(places):
    seconds = _finish(place, directory, directory / f'whole_{i}')
    took[place] = 0.7 * seconds  # the next one compiles nothing
    print(f'{place.name}: whole run in {seconds:.1f} s', flush=True)
  signals = [signal.SIGKILL] * kills + [signal.SIGTERM] * terms
  rng.shuffle(signals)
  report, finals, run = [], [], 0
  while signals and time.monotonic() < end:
    changing = run % (len(places) + 1) == len(places) and len(places) > 1
    i = run % (len(places) + 1) if not changing else 0
    workdir, interruptions = directory / f'run_{run}', 0
    while signals and interruptions < 4 and time.monotonic() < end:
      place = rng.choice(places) if changing else places[i]
      moment = rng.uniform(0.1, 0.9) * took[place]
      found = _interrupt(place, directory, workdir, signals[-1], moment, rng)
      if found is None:
        took[place] *= 0.8
        break
      interruptions += 1
      signals.pop()
      report.append(found | {'run': run})
      print(json.dumps(report[-1]), flush=True)
    _finish(places[i], directory, workdir)
    apart = _apart(workdir, directory / f'whole_{i}')
    finals.append(
      {'run': run, 'changing': changing, 'place': places[i].name}
      | {'interruptions': interruptions, 'apart': apart}
    )
    print(json.dumps(finals[-1]), flush=True)
    assert apart <= (TOLERANCE if changing else 0.0), finals[-1]
    run += 1
  return {'interruptions': report, 'runs': finals}


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument('--terms', type=int, default=5)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--seconds', type=float, default=3600)
  parser.add_argument('--places', default='0,1,2,3', help='of PLACES')
  parser.add_argument('--out', required=True)
  args = parser.parse_args()
  directory = pathlib.Path(args.out).absolute()
  directory.mkdir(parents=True)
  places = [PLACES[int(i)] for i in args.places.split(',')]
  report = matrix(
    directory, args.kills, args.terms, args.seed, places, args.seconds
  )
  (directory / 'report.json').write_text(json.dumps(report, indent=2))
  print(f'{len(report["interruptions"])} interruptions, all runs equal')


if __name__ == '__main__':
  main()
