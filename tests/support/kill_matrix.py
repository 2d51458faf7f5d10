"""Kills training runs at random moments and compares what they end in.

  python -m tests.support.kill_matrix --kills=20 --terms=5 --out=DIR

A tiny base is trained on several process counts and meshes, once without
interruption and then with: SIGKILL to one process or to all at a random moment
of their lives (`kill_moments`), or SIGTERM to one, upon which all must save the
same step. The same command goes on each time. The parameters at the end must
equal those of the uninterrupted run: bit for bit on an equal mesh, to a
tolerance where each restart chose another one.

DIR/report.json grows with each interruption; the same command goes on from it.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np

from tests.support import kill_moments, killed_runs, spawning

TOLERANCE = 1e-5  # of parameters between meshes, under Adam
_MOST = 3  # interruptions of one run
_TEXT = (
  'import pathlib, sys; from imagen_jax.text import encoders; '
  'from tests.support import tiny_cascade; d = pathlib.Path(sys.argv[1]); '
  'encoders.save(d / "text", tiny_cascade.encoder(d))'
)


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
      steps=killed_runs.STEPS,
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
    killed_runs.finish(place, self._directory, workdir)
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
      told = killed_runs.Told(workdir)
      if signals and count < _MOST:
        found = killed_runs.interrupt(
          place, self._directory, workdir, signals[-1], self._moments
        )
      else:
        killed_runs.finish(place, self._directory, workdir)
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
      [sys.executable, '-c', _TEXT, directory], check=True, cwd=spawning.ROOT
    )
  places = [killed_runs.PLACES[int(i)] for i in args.places.split(',')]
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
