"""Checkpoints of a run, and the stage directory that `bind` makes a cascade of.

  <workdir>/stage/   the averaged weights of the newest checkpoint

Files are written while the run goes on, so that a failure shows steps later:
then the state of that later step is saved, after a while, and after a longer
one if that fails too. At the end there is nothing left but to wait and repeat.

Of several processes one may fail alone, and each sees it at another step. What
they know travels with the steps, so that all try again, or give up, at one.
"""

import sys
import time

import jax

from imagen_jax import stages
from imagen_jax.files import retrying
from imagen_jax.parallel import agreements, processes
from imagen_jax.training import checkpoints as checkpoints_lib

_MANY = 64  # more failures in a row than are borne


class Saving:
  """What one run saves in its `checkpoints`; used alike by all processes."""

  def __init__(self, checkpoints, identity):
    self._checkpoints = checkpoints
    self._identity = identity
    self._agreement = agreements.Agreement()
    self._tries = 0  # begun
    self._failed = 0  # number of the newest try that is known to have failed
    self._failures = 0  # in a row, up to that one
    self._problem = None  # of that one, where this process has seen it
    self._borne = 0  # number of the newest that all processes know of
    self._again = None  # time of the next try, None = none is needed
    self._is_due = False
    self._wanted = None  # step that was to be saved last

  def is_due_again(self):
    """Whether a write failed and it is time to try once more."""
    return self._is_due

  def start(self, step, state, loss=None):
    """Begins to save a state; `loss` as in `Checkpoints`."""
    self._ended(self._checkpoints.wait)
    self._tries += 1
    self._wanted, self._again, self._is_due = step, None, False

    def start():
      self._checkpoints.start(step, state, self._identity, loss)

    self._ended(start)

  def finished(self):
    """The step that has come to be on disk since the last call, or None.

    Called once a step. Raises Unwritten, on all processes at the same step,
    where too many tries in a row have failed.
    """
    step = self._ended(self._checkpoints.finished)
    is_time = self._again is not None and time.monotonic() >= self._again
    # What is known of a newer try is the larger number.
    known = self._failed * _MANY + min(self._failures, _MANY - 1)
    known, is_time = divmod(self._agreement.largest(2 * known + is_time), 2)
    failed, failures = divmod(known, _MANY)
    if failed > self._borne:
      self._bear(failed, failures)
    self._is_due = bool(is_time) and failed == self._tries
    return step

  def finish(self, step, state, loss=None):
    """Returns when what was to be saved, up to this last step, is on disk."""
    is_repeated = False

    def wait():
      nonlocal is_repeated
      if is_repeated:
        self.start(step, state, loss)
      is_repeated = True
      self._ended(self._checkpoints.wait)
      problem = self._problem if self._failed == self._tries else None
      try:
        agreements.agree(problem and str(problem))
      except agreements.Problem as e:
        # The others know only now.
        self._failed, self._problem = self._tries, problem or e
        raise checkpoints_lib.Unwritten(str(problem or e)) from e

    if self._wanted == step:
      retrying.patiently(wait, 'not saved', (checkpoints_lib.Unwritten,))
    else:
      wait()  # this state is not to be saved

  def _ended(self, do):
    """What do() gives, a step that was saved or None; notes a failure."""
    try:
      step = do()
    except checkpoints_lib.Unwritten as e:
      self._failed, self._problem = self._tries, e
      self._failures += 1
      return None
    if step is not None:
      self._failures = 0
    return step

  def _bear(self, failed, failures):
    """All know of a failed try: plans another, or raises what came of it."""
    if failed == self._tries:
      self._ended(self._checkpoints.wait)  # what the others have of it
    if failed > self._failed:
      self._problem = checkpoints_lib.Unwritten(
        'another process could not write its part of a checkpoint'
      )
    self._borne = failed
    if failures > len(retrying.WAITS):
      raise self._problem
    if failed < self._tries:
      return  # the next is under way already, or has succeeded
    self._failed, self._failures = failed, failures
    wait = retrying.WAITS[failures - 1]
    self._again = time.monotonic() + wait
    if processes.is_first():
      print(
        f'warning: {retrying.first_line(self._problem)}; trying again in '
        f'{wait} s',
        file=sys.stderr,
        flush=True,
      )


def write_stage(workdir, stage, step, ema, text):
  """Writes the averaged weights as the stage directory of the run.

  All processes call it, the first writes; all raise ValueError where it cannot.
  `text` is the fingerprint of its encoder; `bind` notes when given another.
  """
  problem = None
  if (ema := agreements.whole(ema)) is not None:
    problem = _write_stage(workdir / 'stage', stage, step, ema, text)
  agreements.agree(problem)


def _write_stage(directory, stage, step, ema, text):
  """Writes whole weights; what came in the way, or None."""
  metadata = {'step': str(step), stages.TEXT_WEIGHTS: text['weights']}
  try:
    retrying.patiently(
      lambda: stages.write(
        directory, stage, jax.device_get(ema), metadata=metadata
      ),
      f'weights of step {step} were not written',
    )
  except OSError as e:
    return (
      f'weights of step {step} could not be written to {directory}: {e}; free '
      'space there and run the same command again: it goes on from the '
      'checkpoint before'
    )
