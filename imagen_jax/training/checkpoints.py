"""Training checkpoints: orbax items `params`, `ema`, `opt`, `data`, `meta`.

Written to a temporary name and renamed, so that a crash at any moment leaves
the checkpoint before it whole; the same command again resumes from the newest.
The files are written while training goes on. Every process writes its part of
the arrays and reads what its devices hold, on whatever mesh. `data` has the
checksum of every array and of `meta`, and its own: what a disk has altered is
not resumed from.
"""

import contextlib
import itertools
import math
import os
import pathlib
import shutil
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp

from imagen_jax.files import retrying
from imagen_jax.parallel import agreements, partitioning, processes
from imagen_jax.training import checkpoint_files, checksums
from imagen_jax.training import identity as identity_lib
from imagen_jax.training import state as state_lib


class AnotherRun(ValueError):
  """The work directory belongs to a run of another configuration."""


class Damaged(AnotherRun):
  """A checkpoint cannot be read, or has not the shapes of this run."""


class Unwritten(ValueError):
  """A checkpoint could not be written."""


_DAMAGE = checkpoint_files.DAMAGE

# Where orbax would meet only to agree on whether it is saving. Who fails goes
# there while the others wait for it elsewhere.
_PROGRESS = 'set_value'


def _does_not_fit(path, error):
  return (
    f'checkpoint {path} does not fit this configuration or is damaged: '
    f'{retrying.first_line(error)}; give another --workdir or the old config'
  )


def _reason(error):
  """What kept a file from being written; tensorstore says it after its name.

  Twice, and long enough that the reason would be cut off.
  """
  line = str(error).strip().partition('\n')[0]
  return retrying.first_line(ValueError(line.rpartition('": ')[2] or line))


class Checkpoints:
  """The checkpoints of one work directory.

  Usage:
    with Checkpoints(workdir, keep=2) as checkpoints:
      state, start = checkpoints.resume(state, identity)
      ...
      checkpoints.start(step, state, identity)  # or `save`, which waits

  `identity` is a JSON-able dict of what must not change when a run resumes.
  Kept are the newest `keep`, those of steps that `every` divides (0 = none),
  and the `best` of those that were saved with a loss.
  """

  def __init__(self, workdir, keep=2, every=0, best=0):
    self.directory = pathlib.Path(workdir).absolute() / 'checkpoints'
    self._meetings = agreements.Meetings('checkpoints')
    if processes.is_first():
      checkpoint_files.drop_losses(self.directory)
    with agreements.together(_DAMAGE):
      self._manager = ocp.CheckpointManager(
        self.directory,
        item_names=('params', 'ema', 'opt', 'data', 'meta'),
        options=ocp.CheckpointManagerOptions(
          preservation_policy=checkpoint_files.policy(keep, every, best),
          # Without it losses are not written.
          best_fn=checkpoint_files.goodness,
          cleanup_tmp_directories=True,
          async_options=ocp.options.AsyncOptions(
            barrier_sync_fn=self._meet,
            # Else the others wait for a directory that process 0 cannot make.
            create_directories_asynchronously=jax.process_count() == 1,
          ),
        ),
      )
    self._saving = None  # step that is being written
    self._left = []  # steps that could not be
    self._saved = self._manager.latest_step()

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    if error is None:
      self.wait()
    if error is not None and processes.is_loss(error):
      # Another process has ended: what is being written waits for it.
      self._meetings.fail('it has lost the connection to another')
    try:
      self._manager.close()
    except _DAMAGE:
      if error is None and not self._left:  # else it has been told
        raise

  def _meet(self, *, key, timeout_ms):
    """Where orbax's threads wait for those of the other processes."""
    if _PROGRESS not in key:
      self._meetings.meet(key, timeout_ms / 1000)

  def latest(self):
    """Step of the newest whole checkpoint on disk, or None."""
    return self._saved

  def resume(
    self, state, identity, read=lambda saved: saved, allow_changes=False
  ):
    """(state, batches done): the newest whole checkpoint, or `state` and 0.

    Where the newest is damaged the one before is taken, with a warning.
    `read` brings an identity saved by an older release up to date; what it
    then lacks is not compared. Raises AnotherRun naming the settings that
    differ from the saved, which `allow_changes` only tells, or where no
    checkpoint can be read.
    """
    damaged = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        changes = self._changes(step, identity, read)
        if changes and not allow_changes:
          raise AnotherRun(
            f'{self.directory.parent} belongs to another run: {changes}; give '
            'another --workdir, or --gin.TrainConfig.allow_changes=True to go '
            'on with what is here'
          )
        state, data, _ = self.restore(state, step)
      except Damaged as e:
        damaged[step] = e
        continue
      # Only now is it sure that the newer ones are at fault.
      for newer, error in damaged.items():
        place = self.set_aside(newer)
        if processes.is_first():
          print(f'warning: {error}; moved to {place}', file=sys.stderr)
      if processes.is_first():
        if changes:
          print(f'note: changed on resuming: {changes}', file=sys.stderr)
        print(f'resuming from step {data["next_batch"]}', file=sys.stderr)
      return state, data['next_batch']
    if damaged:
      raise damaged[max(damaged)]
    return state, 0

  def _changes(self, step, identity, read):
    """How the checkpoint's identity differs, in words; '' = not at all."""
    items = self._read(
      step, data=ocp.args.JsonRestore(), meta=ocp.args.JsonRestore()
    )
    # First: one digit that a disk has altered would look like another run.
    self._check(step, checksums.altered_text(items['data'], items['meta']))
    if not checksums.known(items['data']) and processes.is_first():
      print(
        f'note: checkpoint {step} has no checksums, being of an older release: '
        'whether it is damaged cannot be told',
        file=sys.stderr,
      )
    return identity_lib.changes(read(items['meta']), identity)

  def _check(self, step, altered):
    """Raises Damaged on all processes where one has found what is altered."""
    problem = altered and (
      f'checkpoint {self.directory / str(step)} is damaged: {altered} is not '
      'what was saved there, by its checksum; copy it again or remove that '
      'directory'
    )
    try:
      agreements.agree(problem)
    except agreements.Problem as e:
      raise Damaged(str(e)) from e

  def _read(self, step, **items):
    """Items of a checkpoint; Damaged, on all processes, if one cannot read."""
    try:
      return self._manager.restore(step, args=ocp.args.Composite(**items))
    except AssertionError as e:
      reason = ValueError('another process could not read its part')
      path = self.directory / str(step)
      raise Damaged(_does_not_fit(path, reason)) from e
    except Exception as e:  # orbax raises just that for an array cut short
      if processes.is_loss(e):
        raise
      # The others may have read all of theirs: they wait for us in orbax.
      agreements.fail_to_meet()
      reason = e.__cause__ if type(e) is Exception and e.__cause__ else e
      raise Damaged(_does_not_fit(self.directory / str(step), reason)) from e

  def set_aside(self, step):
    """Moves a damaged checkpoint away, so that its step can be saved again.

    Returns where it lies now.
    """
    damaged = self.directory.parent / 'damaged_checkpoints'
    numbers = (f'{step}_{n}' for n in itertools.count())
    place = next(damaged / n for n in numbers if not (damaged / n).exists())
    agreements.agree()  # all have chosen the same place
    problem = None
    if processes.is_first():
      try:
        damaged.mkdir(exist_ok=True)
        os.replace(self.directory / str(step), place)
      except OSError as e:
        problem = f'checkpoint {step} cannot be moved to {place}: {e}'
    agreements.agree(problem)
    self._manager.reload()
    self._saved = self._manager.latest_step()
    return place

  def start(self, step, state, identity, loss=None):
    """Copies the state off the devices; what is left is done meanwhile.

    `loss` is what says how good a checkpoint is, None where it is not known.
    Raises Unwritten as `wait` does; where one process cannot begin, all do.
    """
    self.wait()
    self._make_room()
    arrays = {'params': state.params, 'ema': state.ema, 'opt': state.opt}
    data = checksums.with_sums({'next_batch': step}, arrays, identity)
    items = ocp.args.Composite(
      **{k: ocp.args.StandardSave(tree) for k, tree in arrays.items()},
      data=ocp.args.JsonSave(data),
      meta=ocp.args.JsonSave(identity),
    )
    metrics = None
    if loss is not None and math.isfinite(loss):
      metrics = {'loss': float(loss)}
    self._saving = step
    self._meetings.begin()
    with self._written(), agreements.together(_DAMAGE):
      self._manager.save(step, args=items, metrics=metrics, force=True)

  def finished(self):
    """The step whose checkpoint has come to be on disk since the last call.

    None where there is none. Raises Unwritten as `wait` does.
    """
    if self._saving is None or self._manager.is_saving_in_progress():
      return None
    return self.wait()

  def wait(self):
    """Returns the step that was being written when it is on disk, or None.

    Raises Unwritten naming the directory where it cannot be written; the
    checkpoint before stays good. Of several processes each raises it when it
    asks, not all at the same time.
    """
    if self._saving is None:
      return None
    with self._written():
      self._manager.wait_until_finished()
      self._manager.check_for_errors()
      self._saved, self._saving = self._saving, None
    return self._saved

  def save(self, step, state, identity, loss=None):
    """Saves and waits until the files are whole on disk."""
    self.start(step, state, identity, loss)
    self.wait()

  @contextlib.contextmanager
  def _written(self):
    try:
      yield
    except _DAMAGE as e:
      if processes.is_loss(e):
        raise
      step, self._saving = self._saving, None
      reason = _reason(e)
      self._meetings.fail(reason)
      self._manager.reload()
      if step in self._manager.all_steps():  # and what failed came after
        print(f'warning: saved step {step}, but: {reason}', file=sys.stderr)
        self._saved = step
        return
      self._left.append(step)
      raise Unwritten(
        f'checkpoint of step {step} could not be written to '
        f'{self.directory}: {reason}; free space there and run '
        'the same command again: it goes on from the checkpoint before'
      ) from e

  def _make_room(self):
    """Removes what there is of checkpoints that could not be written.

    All processes call it, when none of their threads is writing any more:
    tensorstore waits for ever in a directory that is gone.
    """
    agreements.agree()
    while self._left:
      step = self._left.pop()
      if processes.is_first():
        for path in self.directory.glob(f'{step}.orbax-checkpoint-tmp*'):
          shutil.rmtree(path, ignore_errors=True)

  def restore(self, state, step=None):
    """The newest (or the given) checkpoint with the shardings of `state`.

    Returns (state, data, meta). Raises AnotherRun where its tree or shapes are
    not those of `state`, or its files are damaged.
    """
    step = self.latest() if step is None else step

    def like(tree):
      return ocp.args.StandardRestore(jax.tree.map(_abstract, tree))

    # Looked for before arrays are read: orbax stops half-way at one that does
    # not fit, and what it leaves of the others is told when Python ends.
    path = self.directory / str(step)
    misfit = checkpoint_files.misfit(path / 'params', state.params, 'parameter')
    misfit = misfit or checkpoint_files.misfit(
      path / 'opt', state.opt, "the optimizer's"
    )
    if misfit:
      misfit = (
        f'checkpoint {path} is of another model, optimizer or release: '
        f'{misfit}; '
        'give another --workdir, or the config and release that wrote it'
      )
    try:
      agreements.agree(misfit)
    except agreements.Problem as e:
      raise Damaged(str(e)) from e
    items = self._read(
      step,
      params=like(state.params),
      ema=like(state.ema),
      opt=like(state.opt),
      data=ocp.args.JsonRestore(),
      meta=ocp.args.JsonRestore(),
    )
    data, meta = items['data'], items['meta']
    self._check(step, checksums.altered_text(data, meta))
    arrays = {name: items[name] for name in ('params', 'ema', 'opt')}
    self._check(step, checksums.altered_array(data, arrays))
    number = np.asarray(step, np.int32)
    number = partitioning.put_whole(number, state.step.sharding)
    return state_lib.TrainState(step=number, **arrays), data, meta


def _abstract(x):
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
