"""What a train step exchanges under FSDP: weights, gradients, scalars.

A small base on eight emulated devices, compiled by XLA for CPU: the program
asks for its exchanges by itself, so that another compiler has little to add.
Count and bytes of each are pinned, those of one step on one chip.
"""

import dataclasses
import math
import re

import jax
import pytest

from imagen_jax.parallel import accelerators, partitioning
from imagen_jax.planning import compiling
from imagen_jax.training import compute, jobs, noise_levels, optimizers
from imagen_jax.training import state as state_lib
from tests.support import tiny_job

DATA, FSDP = 2, 4


@pytest.fixture(scope='module')
def step():
  """({(kind, group): `Collective`}, the parameters' shapes)."""
  mesh = partitioning.MeshConfig(data=DATA, fsdp=FSDP, replicate_below=0)
  job = tiny_job.config(
    'text',
    mesh=mesh,
    compute=compute.Compute(remat='blocks', scan=True),
    optimizer=optimizers.SGD(),
  )
  model = dataclasses.replace(
    job.stage.model, widths=(8,), blocks=(2,), attention=()
  )
  stage = dataclasses.replace(job.stage, model=model)
  job = dataclasses.replace(job, stage=stage)
  mesh = partitioning.make_mesh(mesh)
  state, shardings, optimizer = jobs.make_state(job, mesh, state_lib.describe)
  batch = jobs.batch_shapes(job, mesh)
  made = jobs.make_train_step(job, optimizer, None, mesh, shardings)
  traced = made.trace(state, {}, batch)
  found = compiling.compile_traced(traced, accelerators.V5E)
  return {(c.kind, c.group): c for c in found.collectives}, state.params


def _leaves(params, cut):
  """{path: bytes} of the parameters that are cut over 'fsdp', or the others."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): 4 * x.size
    for path, x in jax.tree_util.tree_leaves_with_path(params)
    if partitioning.is_cut(x.sharding) is cut
  }


def _pinned(found):
  return {key: (c.count, c.size) for key, c in found.items()}


def test_counts_and_bytes_are_what_fsdp_needs_and_nothing_else(step):
  found, params = step
  cut, whole = _leaves(params, True), _leaves(params, False)
  assert len(cut) == 107 and [*whole] == ['output_conv/bias']

  # Every weight is gathered where it is used, and those of the scanned blocks
  # again for the backward pass: but for biases that are only added. (Of the
  # two blocks in the middle, compiled apart, this compiler gathers none again.)
  scanned = re.compile('(down|up)_')
  added = re.compile('conv_1/bias|skip/bias')
  again = [
    size
    for path, size in cut.items()
    if scanned.match(path) and not added.search(path)
  ]
  gathers = len(cut) + len(again), sum(cut.values()) + sum(again)

  # Every gradient is scattered once. Biases whose outputs are added have one:
  # of a block's skip and last convolution, of the two embeddings.
  same = [
    size
    for path, size in cut.items()
    if 'skip/bias' in path or path == 'text_pool/output/bias'
  ]
  scatters = len(cut) - len(same), sum(cut.values()) - sum(same)

  # Each chip's share of the gradients goes over 'data', in one exchange.
  shares = scatters[1] // FSDP
  # Over all: gradients of what is whole, the loss, its table by noise level.
  table = math.prod(noise_levels.empty().shape)
  scalars = sum(whole.values()) + 4 * (1 + table)
  # Squares of the gradients, a number for each kind of leaf: for the norm in
  # the metrics, and again for the clip.
  shapes = {x.shape for x in jax.tree.leaves(params)}
  kinds = len(shapes) - len(whole)
  assert _pinned(found) == {
    ('all-gather', FSDP): gathers,
    ('reduce-scatter', FSDP): scatters,
    ('all-reduce', DATA): (1, shares),
    ('all-reduce', DATA * FSDP): (1, scalars),
    ('all-reduce', FSDP): (1, 2 * 4 * kinds),
  }
  # The same in numbers, so that a change of the job is seen too.
  assert (gathers, scatters) == ((155, 89_984), (103, 54_496))


def test_an_exchange_more_is_seen(step):
  """Of what a partitioner adds to a program that leaves it the choice."""
  mesh = partitioning.make_mesh(partitioning.MeshConfig(data=DATA, fsdp=FSDP))
  rows = jax.sharding.NamedSharding(mesh, jax.P('fsdp'))
  columns = jax.sharding.NamedSharding(mesh, jax.P(None, 'fsdp'))
  traced = jax.jit(lambda x: x + 1, out_shardings=columns).trace(
    jax.ShapeDtypeStruct((8, 8), 'float32', sharding=rows)
  )
  (turned,) = compiling.compile_traced(traced, accelerators.V5E).collectives
  assert (turned.kind, turned.group, turned.count) == ('all-to-all', FSDP, 1)
  assert turned.size == 4 * 8 * 8 // FSDP
