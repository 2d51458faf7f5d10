"""The end of a run whose gradients stay bad: back to what was good, a report.

  <workdir>/stopped.json   what happened, and where the run stands now

The same command would meet the same batches with the same noise, so the report
says what to change first.
"""

import sys
import time

import jax
import jax.numpy as jnp

from imagen_jax import hosts, weights
from imagen_jax.training import checkpoints as checkpoints_lib
from imagen_jax.training import metrics

NAME = 'stopped.json'


def roll_back(workdir, checkpoints, error, resume):
  """(state, step) of the newest checkpoint that is whole and finite.

  Args:
    workdir: where the report goes.
    checkpoints: a `Checkpoints`.
    error: the `guards.NotFinite` that ends the run.
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
  if hosts.is_first():
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
  weights.save_json(workdir / NAME, report)
  print(
    f'rolled back to step {step}; the report is in {workdir / NAME}',
    file=sys.stderr,
  )


def _last_metrics(workdir, before):
  """The last row of metrics with a loss from before a step, or None."""
  path = workdir / 'metrics.jsonl'
  rows = metrics.read(path)[0] if path.exists() else []
  some = [row for row in rows if 'loss' in row and row['step'] < before]
  return some[-1] if some else None
