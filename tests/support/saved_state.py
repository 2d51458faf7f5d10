"""A state known by formula, saved and restored on any processes.

  python -m tests.support.saved_state --workdir=DIR --fsdp=4 --do=save [hosts]

Run as a module it is one process of several. `check` fails where a restored
value is not the formula's, or the step another than --step.
"""

import argparse

import jax
import numpy as np

from imagen_jax.parallel import partitioning, processes
from imagen_jax.training import checkpoints
from imagen_jax.training import state as state_lib

IDENTITY = {'seed': 0}
SHAPES = {'kernel': (64, 40), 'bias': (8,), 'odd': (3, 5)}


def expected(factor=1.0, shapes=SHAPES):
  """Numpy arrays by item of the checkpoint."""
  rng = np.random.default_rng(0)
  return {
    item: {k: factor * rng.normal(size=s) for k, s in shapes.items()}
    for item in ('params', 'ema', 'opt')
  }


def state(mesh, factor=1.0, shapes=SHAPES):
  """It as a TrainState, cut over 'fsdp' wherever a dimension divides."""
  config = partitioning.MeshConfig(replicate_below=0)
  trees = jax.tree.map(np.float32, expected(factor, shapes))
  shardings = partitioning.state_shardings(trees, mesh, config)
  placed = partitioning.put_whole(trees, shardings)
  step = partitioning.put_whole(np.int32(0), partitioning.replicated(mesh))
  return state_lib.TrainState(step=step, **placed)


def check(found, step):
  """Raises AssertionError where a restored state is another."""
  assert int(found.step) == step, f'step {found.step}, not {step}'
  for item, tree in expected().items():
    for name, value in tree.items():
      array = getattr(found, item)[name]
      for shard in array.addressable_shards:
        np.testing.assert_array_equal(
          shard.data, np.float32(value)[shard.index], err_msg=name
        )


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--workdir')
  parser.add_argument('--fsdp', type=int)
  parser.add_argument('--do')
  parser.add_argument('--step', type=int, default=0)
  processes.add_flags(parser)
  args = parser.parse_args()
  processes.join(args)
  mesh = partitioning.make_mesh(partitioning.MeshConfig(fsdp=args.fsdp))
  with checkpoints.Checkpoints(args.workdir) as saved:
    if args.do == 'save':
      saved.save(args.step, state(mesh), IDENTITY)
    else:
      found, step = saved.resume(state(mesh, factor=0.0), IDENTITY)
      if args.step:
        assert step == args.step, f'resumed from {step}, not {args.step}'
      check(found, step)


if __name__ == '__main__':
  main()
