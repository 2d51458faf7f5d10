"""Processes of which one cannot write its part of a checkpoint.

  python -m tests.support.failing_disk --workdir=DIR --scenarios=a,b [hosts]

Each scenario saves step 1, then tries another step while a disk refuses. What
happened goes to DIR/<process>.json: the steps at which a try began, whether
the run was given up and when, what the newest checkpoint is.
"""

import argparse
import contextlib
import errno
import json
import os
import pathlib
import time
from unittest import mock

import absl.logging
import jax

from imagen_jax.files import retrying
from imagen_jax.parallel import partitioning, processes
from imagen_jax.training import checkpoints, saving
from tests.support import full_disk, saved_state

STEPS = 60
WAITS = (0.1, 0.2)
SHAPES = {'kernel': (512, 512)}


@contextlib.contextmanager
def _no_new_directories():
  """As on a disk with no room for one more entry."""

  def refuse(path, *unused, **also_unused):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

  with mock.patch('os.mkdir', refuse), mock.patch('os.makedirs', refuse):
    yield


def _short():
  return full_disk.beyond(100_000)


# name: (process whose disk it is, how it refuses, tries that it refuses)
SCENARIOS = {
  'second_refuses_once': (1, _short, 1),
  'second_refuses_twice': (1, _short, 2),
  'first_refuses_once': (0, _short, 1),
  'first_makes_no_directory': (0, _no_new_directories, 1),
  'second_refuses': (1, _short, STEPS),
  'first_refuses': (0, _short, STEPS),
}


def _run(workdir, mesh, struck, refuse, tries):
  """Steps with a save that is due at the second; a dict of what came of it."""
  begun, given_up, state = [], None, saved_state.state(mesh, shapes=SHAPES)
  with checkpoints.Checkpoints(workdir) as saved:
    saved.save(1, state, saved_state.IDENTITY)
    saver, step = saving.Saving(saved, saved_state.IDENTITY), 1
    with contextlib.ExitStack() as refusing:
      if jax.process_index() == struck:
        refusing.enter_context(refuse())
      try:
        for step in range(2, STEPS + 1):
          if step == 2 or saver.is_due_again():
            if len(begun) == tries:
              refusing.close()
            begun.append(step)
            saver.start(step, state)
          saver.finished()
          time.sleep(0.02)
        saver.finish(step, state)
      except checkpoints.Unwritten as e:
        given_up = [step, str(e)]
    newest = saved.latest()
  names = sorted(path.name for path in (workdir / 'checkpoints').iterdir())
  return {
    'begun': begun,
    'given_up': given_up,
    'newest': newest,
    'names': names,
  }


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--workdir', type=pathlib.Path)
  parser.add_argument('--scenarios', default=','.join(SCENARIOS))
  processes.add_flags(parser)
  args = parser.parse_args()
  processes.join(args)
  # What it says goes to a file that may not grow either.
  absl.logging.set_verbosity(absl.logging.FATAL)
  retrying.WAITS = WAITS
  mesh = partitioning.make_mesh(partitioning.MeshConfig(fsdp=4))
  found = {}
  for name in args.scenarios.split(','):
    before = time.monotonic()
    found[name] = _run(args.workdir / name, mesh, *SCENARIOS[name])
    found[name]['seconds'] = time.monotonic() - before
  path = args.workdir / f'{jax.process_index()}.json'
  path.write_text(json.dumps(found))


if __name__ == '__main__':
  main()
