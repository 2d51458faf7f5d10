"""What ends a run early, and how it ends.

A signal to stop: a machine that is taken away sends SIGTERM and leaves a short
time. Google Cloud gives notice of it some time before, at a TPU VM's metadata
server: a thread asks there, and turns the notice into the signal.

Gradients that stay bad: a step whose gradients are not finite changes nothing
and is counted. After too many the run goes back to what was good, and reports:

  <workdir>/stopped.json   what happened, and where the run stands now

The same command would meet the same batches with the same noise, so the report
says what to change first.
"""

import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax.files import weights
from imagen_jax.parallel import agreements, processes
from imagen_jax.training import checkpoints as checkpoints_lib
from imagen_jax.training import metrics

EXIT_CODE = 128 + signal.SIGTERM  # so that a queue knows to start it again
STOPPED_FILE = 'stopped.json'
_HOST = 'metadata.google.internal'
_PATH = 'http://{host}/computeMetadata/v1/instance/{name}'
# What the server says where nothing is to come.
_QUIET = {'maintenance-event': 'NONE', 'preempted': 'FALSE'}


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
    self._agreement = agreements.Agreement()
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


def roll_back(workdir, checkpoints, error, resume):
  """(state, step) of the newest checkpoint that is whole and finite.

  Args:
    workdir: where the report goes.
    checkpoints: a `Checkpoints`.
    error: the `NotFinite` that ends the run.
    resume: () -> (state, step), the newest whole checkpoint.

  What is newer and not finite is moved away as if it were damaged. Where there
  is no checkpoint, (None, 0).
  """
  try:
    checkpoints.wait()
  except checkpoints_lib.Unwritten as e:
    print(f'warning: {e}', file=sys.stderr)
  state, step = None, 0
  while checkpoints.latest() is not None:
    state, step = resume()
    if _is_finite(state.params, state.ema):
      break
    checkpoints.set_aside(step)
    state, step = None, 0
  if processes.is_first():
    _report(workdir, error, step)
  return state, step


def _is_finite(*trees):
  """Whether all arrays are; in one small program."""

  def finite(leaves):
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))

  return bool(jax.jit(finite)(jax.tree.leaves(trees)))


def _report(workdir, error, step):
  report = {
    'time': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
    'reason': str(error),
    'first_bad_step': error.first,
    'last_bad_step': error.last,
    'bad_batches': [error.first - 1, error.last - 1],  # their numbers
    'rolled_back_to_step': step,
    'last_metrics': _last_metrics(workdir, error.first),
  }
  weights.save_json(workdir / STOPPED_FILE, report)
  print(
    f'rolled back to step {step}; the report is in {workdir / STOPPED_FILE}',
    file=sys.stderr,
  )


def _last_metrics(workdir, before):
  """The last row of metrics with a loss from before a step, or None."""
  path = workdir / 'metrics.jsonl'
  rows = metrics.read(path)[0] if path.exists() else []
  some = [row for row in rows if 'loss' in row and row['step'] < before]
  return some[-1] if some else None


class Notices:
  """Used as `with Notices():`; on TPUs alone, unless told otherwise.

  `GCE_METADATA_HOST` names another server, as for Google's own libraries.
  """

  def __init__(self, seconds=5, wanted=None):
    """`seconds` between two looks; `wanted` None = where there are TPUs."""
    self._seconds = seconds
    self._wanted = wanted
    self._over = threading.Event()

  def __enter__(self):
    wanted = self._wanted
    if wanted is None:
      wanted = jax.default_backend() == 'tpu'
    if wanted:
      threading.Thread(target=self._watch, daemon=True).start()
    return self

  def __exit__(self, kind, error, trace):
    self._over.set()

  def _watch(self):
    while not self._over.wait(self._seconds):
      for name, quiet in _QUIET.items():
        said = notice(name)
        if said is not None and said != quiet:
          print(
            f'notice of Google Cloud: {name} is {said}',
            file=sys.stderr,
            flush=True,
          )
          os.kill(os.getpid(), signal.SIGTERM)
          return


def notice(name):
  """What the metadata server says of this machine; None = it is silent."""
  host = os.environ.get('GCE_METADATA_HOST', _HOST)
  request = urllib.request.Request(
    _PATH.format(host=host, name=name), headers={'Metadata-Flavor': 'Google'}
  )
  try:
    with urllib.request.urlopen(request, timeout=3) as answer:
      return answer.read(100).decode(errors='replace').strip()
  except (OSError, urllib.error.URLError, ValueError):
    return None
