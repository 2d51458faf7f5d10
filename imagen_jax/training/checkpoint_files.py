"""The files of training checkpoints: which are kept, what is in them.

policy(keep, every, best)       which ones orbax leaves on disk
misfit(directory, tree, kind)   what a saved tree has that another has not
drop_losses(directory)          losses beside checkpoints that are damaged
"""

import pathlib
import shutil
import sys

import jax
import orbax.checkpoint as ocp

from imagen_jax.files import json_files

# What orbax raises for files that are cut short, missing or of another tree,
# or that cannot be written.
DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError)


def goodness(metrics):
  """What orbax calls the best of: the larger, the better."""
  return -metrics['loss']


def policy(keep, every, best):
  """Which checkpoints orbax leaves on disk."""
  kept = ocp.checkpoint_managers
  policies = [kept.LatestN(keep)]
  if every:
    policies.append(kept.EveryNSteps(every))
  if best:
    policies.append(
      kept.BestN(
        get_metric_fn=goodness, n=best, keep_checkpoints_without_metrics=False
      )
    )
  return kept.AnyPreservationPolicy(policies)


def misfit(directory, tree, kind):
  """What a saved tree has that `tree` has not, or the reverse; or None."""
  try:
    saved = ocp.PyTreeCheckpointHandler().metadata(directory)
    there, here = (_shapes(tree) for tree in (saved.tree, tree))
  except (*DAMAGE, AttributeError):
    return None  # it cannot even be listed
  for name in sorted(there.keys() | here.keys()):
    a, b = (shapes.get(name, 'not there') for shapes in (there, here))
    if a != b:
      return f'{kind} {name} is {a} in it and {b} here'
  return None


def _shapes(tree):
  """{path: shape} of arrays, or of what orbax tells of them."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def drop_losses(directory):
  """Removes what should tell the loss of a checkpoint and does not.

  orbax would open none of them; one without a loss is not among the best.
  """
  for path in sorted(pathlib.Path(directory).glob('*/metrics/metrics')):
    try:
      found = json_files.read(path)
      if isinstance(found, dict) and type(found.get('loss')) is float:
        continue
    except (OSError, ValueError):
      pass
    shutil.rmtree(path.parent, ignore_errors=True)
    print(
      f'warning: {path} is damaged and was removed: its checkpoint no longer '
      'counts among the best by loss',
      file=sys.stderr,
    )
