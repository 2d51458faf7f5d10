"""Training checkpoints: orbax items `params`, `ema`, `opt`, `data`, `meta`.

Written to a temporary name and renamed, so that a crash at any moment leaves
the checkpoint before it whole; the same command again resumes from the newest.
"""

import itertools
import json
import os
import pathlib
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp

from imagen_jax import partitioning
from imagen_jax.training import state as state_lib


class AnotherRun(ValueError):
  """The work directory belongs to a run of another configuration."""


class Damaged(AnotherRun):
  """A checkpoint cannot be read, or has not the shapes of this run."""


# What orbax raises for files that are cut short, missing or of another tree.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError)


def _does_not_fit(path, error):
  reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
  return (
    f'checkpoint {path} does not fit this configuration or is damaged: '
    f'{reason}; give another --workdir or the old config'
  )


class Checkpoints:
  """The checkpoints of one work directory.

  Usage:
    with Checkpoints(workdir, keep=2) as checkpoints:
      state, start = checkpoints.resume(state, identity)
      ...
      checkpoints.save(step, state, identity)

  `identity` is a JSON-able dict of what must not change when a run resumes.
  """

  def __init__(self, workdir, keep=2):
    self.directory = pathlib.Path(workdir).absolute() / 'checkpoints'
    self._manager = ocp.CheckpointManager(
      self.directory,
      item_names=('params', 'ema', 'opt', 'data', 'meta'),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, cleanup_tmp_directories=True
      ),
    )

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    self._manager.close()

  def latest(self):
    """Step of the newest whole checkpoint, or None."""
    return self._manager.latest_step()

  def resume(self, state, identity, read=lambda saved: saved):
    """(state, batches done): the newest whole checkpoint, or `state` and 0.

    Where the newest is damaged the one before is taken, with a warning.
    `read` brings an identity saved by an older release up to date; what it
    then lacks is not compared. Raises AnotherRun naming the first setting that
    differs from the saved, or where no checkpoint can be read.
    """
    damaged = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        self._check(step, identity, read)
        state, data, _ = self.restore(state, step)
      except Damaged as e:
        damaged[step] = e
        continue
      # Only now is it sure that the newer ones are at fault.
      for newer, error in damaged.items():
        place = self._set_aside(newer)
        print(f'warning: {error}; moved to {place}', file=sys.stderr)
      print(f'resuming from step {data["next_batch"]}', file=sys.stderr)
      return state, data['next_batch']
    if damaged:
      raise damaged[max(damaged)]
    return state, 0

  def _check(self, step, identity, read):
    """Raises AnotherRun where the checkpoint's identity is another."""
    try:
      meta = self._manager.restore(
        step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
      )['meta']
    except _DAMAGE as e:
      raise Damaged(_does_not_fit(self.directory / str(step), e)) from e
    here, there = (json.loads(json.dumps(x)) for x in (identity, read(meta)))
    common = here.keys() & there.keys()
    if found := _first_difference(
      {k: there[k] for k in common}, {k: here[k] for k in common}
    ):
      name, there, here = found
      raise AnotherRun(
        f'{self.directory.parent} belongs to another run: {name} is {there} '
        f'there and {here} here; give another --workdir'
      )

  def _set_aside(self, step):
    """Moves a damaged checkpoint away, so that its step can be saved again.

    Returns where it lies now.
    """
    damaged = self.directory.parent / 'damaged_checkpoints'
    damaged.mkdir(exist_ok=True)
    numbers = (f'{step}_{n}' for n in itertools.count())
    place = next(damaged / n for n in numbers if not (damaged / n).exists())
    if jax.process_index() == 0:
      os.replace(self.directory / str(step), place)
    self._manager.reload()
    return place

  def save(self, step, state, identity):
    """Saves and waits until the files are whole on disk.

    Raises ValueError naming the directory where they cannot be written; the
    checkpoint before stays good.
    """
    items = ocp.args.Composite(
      params=ocp.args.StandardSave(state.params),
      ema=ocp.args.StandardSave(state.ema),
      opt=ocp.args.StandardSave(state.opt),
      data=ocp.args.JsonSave({'next_batch': step}),
      meta=ocp.args.JsonSave(identity),
    )
    try:
      self._manager.save(step, args=items, force=True)
      self._manager.wait_until_finished()
    except (OSError, ValueError, RuntimeError) as e:
      reason = str(e).strip().splitlines()[0][:200]
      raise ValueError(
        f'checkpoint of step {step} could not be written to '
        f'{self.directory}: {reason}; free space there and run the same '
        'command again: it goes on from the checkpoint before'
      ) from e

  def restore(self, state, step=None):
    """The newest (or the given) checkpoint with the shardings of `state`.

    Returns (state, data, meta). Raises AnotherRun where its tree or shapes are
    not those of `state`, or its files are damaged.
    """
    step = self.latest() if step is None else step

    def like(tree):
      return ocp.args.StandardRestore(jax.tree.map(_abstract, tree))

    try:
      items = self._manager.restore(
        step,
        args=ocp.args.Composite(
          params=like(state.params),
          ema=like(state.ema),
          opt=like(state.opt),
          data=ocp.args.JsonRestore(),
          meta=ocp.args.JsonRestore(),
        ),
      )
    except _DAMAGE as e:
      raise Damaged(_does_not_fit(self.directory / str(step), e)) from e
    restored = state_lib.TrainState(
      step=partitioning.put_whole(
        np.asarray(step, np.int32), state.step.sharding
      ),
      params=items['params'],
      ema=items['ema'],
      opt=items['opt'],
    )
    return restored, items['data'], items['meta']


def _first_difference(there, here, name=''):
  """(name, value there, value here) of the first leaf that differs, or None."""
  if there == here:
    return None
  if not (isinstance(there, dict) and isinstance(here, dict)):
    return name, there, here
  for key in sorted(there.keys() | here.keys()):
    found = _first_difference(
      there.get(key), here.get(key), f'{name}.{key}'.lstrip('.')
    )
    if found:
      return found
  return None


def _abstract(x):
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
