"""What ends a run early: a signal to stop, and gradients that stay bad.

A machine that is taken away sends SIGTERM and leaves a short time; a step
whose gradients are not finite changes nothing and is counted.
"""

import signal
import sys

import numpy as np

from imagen_jax import exchanges

EXIT_CODE = 128 + signal.SIGTERM  # so that a queue knows to start it again


class StopSignal:
  """Whether SIGTERM has come; used as `with StopSignal() as stop`.

  It listens from the end of the first step on. Before, there is nothing to
  save, and compiling would outlast the grace: the signal ends the process.
  With several processes all of them save the same step, a little after the
  signal has come to any of them.
  """

  def __init__(self):
    self._came = False
    self._listens = False
    self._agreement = exchanges.Agreement()
    self._before = None

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)

  def _listen(self):
    self._listens = True
    try:
      self._before = signal.signal(signal.SIGTERM, self._note)
    except ValueError:  # not the main thread, where signals are someone else's
      self._before = None

  def _note(self, number, frame):
    self._came = True
    print(
      'SIGTERM: saving after this step, then stopping',
      file=sys.stderr,
      flush=True,
    )

  def after(self, step):
    """Whether the run is to save and stop now, `step` being done."""
    if not self._listens:
      self._listen()
    return bool(self._agreement.largest(int(self._came)))


class NotFinite(ValueError):
  """Too many steps in a row were skipped; `first` and `last` are theirs."""

  def __init__(self, message, first, last):
    super().__init__(message)
    self.first, self.last = first, last


class Skipped:
  """Counts the steps that were skipped for gradients that are not finite.

  The flags stay on the devices until they are asked for: looking at each would
  make every step wait.
  """

  def __init__(self, most, undo=None):
    self._most = most  # in a row that are borne
    self._undo = undo  # called with the NotFinite before it is raised
    self._flags = []
    self._run = 0  # skipped in a row, up to now
    self._since = 0  # skipped since they were last counted

  def add(self, flag):
    """Takes the scalar of one more step, 1.0 where it was skipped."""
    self._flags.append(flag)

  def count(self, step, good):
    """`check`, then the skipped steps since it was last asked."""
    self.check(step, good)
    counted, self._since = self._since, 0
    return counted

  def check(self, step, good):
    """Raises NotFinite where too many steps in a row were skipped.

    `step` is the newest of those added, `good` the step of the newest
    checkpoint.
    """
    flags = np.array([float(f) for f in self._flags])
    self._flags = []
    longest, last = 0, 0
    for number, flag in enumerate(flags, step - len(flags) + 1):
      self._run = self._run + 1 if flag else 0
      if self._run > longest:
        longest, last = self._run, number
    if longest > self._most:
      borne = 'none of them changed the parameters' if self._most else ''
      error = NotFinite(
        f'the gradients of {longest} steps in a row up to step {last} were not '
        f'finite: {borne or "nothing of it was saved"}. The last checkpoint is '
        f'of step {good or "none"}: lower the learning rate or the clip, or '
        'look at the data of these steps, and run again from it',
        first=last - longest + 1,
        last=last,
      )
      if self._undo is not None:
        self._undo(error)
      raise error
    self._since += int(flags.sum())
