"""The weights of another run that one starts from, for fine-tuning."""

import dataclasses
import re
import sys

import jax

from imagen_jax import stages
from imagen_jax.files import weights
from imagen_jax.parallel import partitioning
from imagen_jax.training import lora


def take(directory, stage, state, fresh=None):
  """`state` with the weights of a stage directory, for fine-tuning.

  Weights of the same shapes may still mean something else: what the network
  predicts must be the same, other differences of the two stages are told.
  Parameters whose path the regex `fresh` finds stay as they are in `state`;
  with the last layer among them another prediction may be learned.
  Raises ValueError naming what does not fit.
  """
  other, params = stages.read(directory)
  last_is_new = fresh is not None and re.search(fresh, 'output_conv/kernel')
  if other.prediction != stage.prediction and not last_is_new:
    raise ValueError(
      f'{directory} predicts {other.prediction}, this stage '
      f'{stage.prediction}; start from weights of the same prediction, or let '
      "the last layer start afresh (TrainConfig.fresh='^output_conv')"
    )
  for name, is_there, is_here in _model_changes(other, stage):
    print(
      f'note: {name} is {is_there} in {directory} and {is_here} here',
      file=sys.stderr,
    )
  network = {k: v for k, v in state.params.items() if k != lora.KEY}
  there, here = weights.flatten(params), weights.flatten(network)
  for name in sorted(set(there) | set(here)):
    shapes = [
      tree[name].shape if name in tree else None for tree in (there, here)
    ]
    is_fresh = fresh is not None and re.search(fresh, name.replace('.', '/'))
    if shapes[0] is None and is_fresh:
      continue
    if shapes[0] != shapes[1]:
      raise ValueError(
        f'{directory}: {name} is {shapes[0]} there and {shapes[1]} in this '
        'stage; start from weights of the same model'
      )

  found = []

  def place(path, like):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    if fresh is not None and re.search(fresh, name):
      found.append(name)
      return like
    return partitioning.put_whole(there[name.replace('/', '.')], like.sharding)

  placed = jax.tree_util.tree_map_with_path(place, network)
  if fresh is not None and not found:
    raise ValueError(
      f'fresh {fresh!r} is in no path of a parameter, such as '
      f'{min(there).replace(".", "/")}; change it or leave it out'
    )
  return dataclasses.replace(
    state,
    params=state.params | placed,
    ema=state.ema | jax.tree.map(jax.numpy.copy, placed),
  )


def _model_changes(there, here):
  """(field, value there, value here) of settings that keep the shapes."""
  changes = []
  for part in ('model', 'schedule', 'layout'):
    a, b = (stages.to_json(stage)[part] or {} for stage in (there, here))
    for name in sorted(a.keys() | b.keys()):
      if a.get(name) != b.get(name):
        changes.append((f'{part}.{name}', a.get(name), b.get(name)))
  return changes
