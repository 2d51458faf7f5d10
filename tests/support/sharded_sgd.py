"""Loss, gradients and twenty SGD steps of a tiny stage, on any processes.

  python -m tests.support.sharded_sgd --text=DIR --out=FILE [several hosts]

Run as a module it is one process of several; process 0 writes an npz with
loss, gradients and parameters. `compute` is the same in one process.
"""

import argparse
import dataclasses

import jax
import numpy as np
import optax

from imagen_jax.files import weights
from imagen_jax.parallel import agreements, partitioning, processes
from imagen_jax.text import encoders, feeds
from imagen_jax.training import inputs, jobs, optimizers
from tests.support import tiny_cascade, tiny_job

STEPS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD:
  """Plain descent whose state holds the last gradient."""

  def transform(self, learning_rate):
    return optax.sgd(learning_rate.schedule(), momentum=0.0)


def job(text, mesh):
  return tiny_job.config(
    text,
    16,
    batch_size=16,
    optimizer=SGD(),
    clip=None,
    learning_rate=optimizers.LearningRate(peak=1e-2, warmup=1),
    mesh=mesh,
  )


def compute(config, devices=None):
  """{'loss', 'gradients/...', 'params/...'} on process 0, None elsewhere."""
  mesh = partitioning.make_mesh(config.mesh, devices)
  state, shardings, optimizer = jobs.make_state(config, mesh)
  # Zero-initialised outputs would hide the network from the loss.
  params = jax.tree.map(
    lambda p: 0.3 * p, tiny_cascade.random_params(config.stage)
  )
  params = partitioning.put_whole(params, shardings.params)
  state = dataclasses.replace(state, params=params)
  encoder = encoders.load(config.text)
  feed = feeds.Inline(encoder=encoder)
  text = partitioning.put_whole(
    encoder.params,
    jax.tree.map(lambda _: partitioning.replicated(mesh), encoder.params),
  )
  batches = inputs.open_batches(config, feed, 'train', mesh)
  step = jobs.make_train_step(
    config, optimizer, encoder.config, mesh, shardings
  )
  for k in range(STEPS):
    batch = partitioning.put_batch(batches.batch(k), mesh)
    if k == 0:
      step = agreements.compiled(step, state, text, batch)
    state, metrics = step(state, text, batch)
    agreements.settle(metrics)
    if k == 0:
      loss = float(metrics['loss'])
      gradients = agreements.whole(optax.tree.get(state.opt, 'trace'))
      if gradients is not None:  # the next step takes their memory
        gradients = jax.tree.map(np.array, gradients)
  cut = sum(
    not p.is_fully_replicated and not p.is_fully_addressable
    for p in jax.tree.leaves(state.params)
  )
  params = agreements.whole(state.params)
  if params is None:
    return None
  found = {'loss': np.asarray(loss), 'across': np.asarray(cut)}
  for name, tree in (('gradients', gradients), ('params', params)):
    flat = weights.flatten(tree, name)
    found |= {k: np.asarray(v) for k, v in flat.items()}
  return found


def _rows_of_a_tensor_mesh(config):
  """The global batch on a mesh whose 'tensor' axis is used, [b] of firsts."""
  mesh_config = partitioning.MeshConfig(data=-1, fsdp=1, tensor=2)
  mesh = partitioning.make_mesh(mesh_config)
  rows = partitioning.local_rows(config.batch_size, mesh)
  batch = partitioning.put_batch({'row': np.asarray(rows)}, mesh)
  whole = agreements.whole(batch)
  return None if whole is None else whole['row']


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--text')
  parser.add_argument('--out')
  parser.add_argument('--data', type=int)
  parser.add_argument('--fsdp', type=int)
  processes.add_flags(parser)
  args = parser.parse_args()
  processes.join(args)
  mesh = partitioning.MeshConfig(
    data=args.data, fsdp=args.fsdp, replicate_below=0
  )
  config = job(args.text, mesh)
  rows = _rows_of_a_tensor_mesh(config)
  found = compute(config)
  if found is not None:
    np.savez(args.out, rows=rows, **found)


if __name__ == '__main__':
  main()
