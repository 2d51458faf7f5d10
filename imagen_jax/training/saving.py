"""Checkpoints of a run, written again where the disk refuses.

Files are written while the run goes on, so that a failure shows steps later:
then the state of that later step is saved, after a while, and after a longer
one if that fails too. At the end there is nothing left but to wait and repeat.
"""

import sys
import time

import jax

from imagen_jax import retrying
from imagen_jax.training import checkpoints as checkpoints_lib


class Saving:
  """What one run saves in its `checkpoints`.

  With several processes a failure of one ends the run: the others hold parts
  of the same checkpoint, and only orbax's own patience is left.
  """

  def __init__(self, checkpoints, identity):
    self._checkpoints = checkpoints
    self._identity = identity
    self._failures = 0  # in a row
    self._again = None  # time of the next try, None = none is needed
    self._wanted = None  # step that was to be saved last

  def is_due_again(self):
    """Whether a write failed and it is time to try once more."""
    return self._again is not None and time.monotonic() >= self._again

  def start(self, step, state, loss=None):
    """Begins to save a state; `loss` as in `Checkpoints`."""
    self._wanted, self._again = step, None
    try:
      self._checkpoints.start(step, state, self._identity, loss)
    except checkpoints_lib.Unwritten as e:
      self._bear(e)

  def finished(self):
    """The step that has come to be on disk since the last call, or None."""
    try:
      step = self._checkpoints.finished()
    except checkpoints_lib.Unwritten as e:
      self._bear(e)
      return None
    if step is not None:
      self._failures = 0
    return step

  def finish(self, step, state, loss=None):
    """Returns when what was to be saved, up to this last step, is on disk."""

    def wait():
      self._checkpoints.wait()
      if self._wanted == step != self._checkpoints.latest():
        self._checkpoints.save(step, state, self._identity, loss)

    if jax.process_count() > 1:
      wait()
    else:
      retrying.patiently(wait, 'not saved', (checkpoints_lib.Unwritten,))

  def _bear(self, error):
    """Plans another try; raises the error where there were enough."""
    if jax.process_count() > 1 or self._failures >= len(retrying.WAITS):
      raise error
    wait = retrying.WAITS[self._failures]
    self._failures += 1
    self._again = time.monotonic() + wait
    print(
      f'warning: {retrying.first_line(error)}; trying again in {wait} s',
      file=sys.stderr,
      flush=True,
    )
