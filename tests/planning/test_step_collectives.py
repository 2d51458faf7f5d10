"""What a train step exchanges under FSDP: weights, gradients, scalars.

A small base on eight emulated devices, compiled by XLA for CPU: the program
asks for its exchanges by itself, so that another compiler has little to add.
"""

import dataclasses

import jax
import pytest

from imagen_jax import jobs, partitioning
from imagen_jax.planning import compiling
from imagen_jax.training import compute, optimizers
from imagen_jax.training import state as state_lib
from tests import tiny_job

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
  found = compiling.compile_traced(made.trace(state, {}, batch)).collectives
  return {(c.kind, c.group): c for c in found}, state.params


def _bytes(params, is_cut):
  return sum(
    4 * x.size
    for x in jax.tree.leaves(params)
    if partitioning.is_cut(x.sharding) is is_cut
  )


def test_nothing_but_gathers_scatters_and_sums(step):
  found, _ = step
  assert {kind for kind, _ in found} <= {
    'all-gather',
    'reduce-scatter',
    'all-reduce',
  }


def test_weights_are_gathered_twice_and_gradients_scattered_once(step):
  found, params = step
  cut = _bytes(params, True)
  assert cut > 10 * _bytes(params, False), 'the test must cut parameters'
  # Biases whose outputs are added have one gradient, which is scattered once:
  # of a block's skip and last convolution, of the two embeddings.
  added = [block['skip'] for block in params.values() if 'skip' in block]
  added.append(params['text_pool']['output'])
  same = sum(4 * layer['bias'].size for layer in added)
  assert found['reduce-scatter', FSDP].size == cut - same
  # Once where they are used and, in blocks, again for the backward pass.
  assert 1.5 * cut < found['all-gather', FSDP].size <= 2 * cut
