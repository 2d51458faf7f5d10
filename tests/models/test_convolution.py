"""Convolutions' gradients, written out for CPUs, against XLA's and sums."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax import stages
from imagen_jax.models import convolution
from imagen_jax.parallel import accelerators, partitioning
from imagen_jax.planning import compiling
from imagen_jax.training import compute, flops, jobs
from imagen_jax.training import state as state_lib
from tests.support import tiny_cascade, tiny_job

SHAPES = {  # b, h, w, c, o, k
  'some pictures at once': (8, 16, 16, 3, 5, 3),
  'strips of rows': (2, 48, 64, 4, 3, 3),
  'rows one by one': (1, 37, 40, 2, 3, 3),
  'all at once': (3, 5, 7, 4, 2, 3),
  'by position': (2, 40, 40, 4, 6, 1),
  'wide kernels': (2, 36, 33, 2, 3, 5),
}


def _arrays(b, h, w, c, o, k):
  rng = np.random.default_rng(0)
  sizes = [b, h, w, c], [k, k, c, o], [b, h, w, o]
  return [jnp.asarray(rng.standard_normal(s), jnp.float32) for s in sizes]


def _gradients(f, x, kernel, g):
  """As in a loop, whatever the size."""
  with convolution.in_a_loop():
    return jax.vjp(f, x, kernel)[1](g)


def _plain(x, kernel):
  return jax.lax.conv_general_dilated(
    x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


def _close(found, expected, rtol=1e-5):
  for a, b in zip(found, expected, strict=True):
    assert a.dtype == b.dtype
    scale = float(jnp.abs(b).max())
    np.testing.assert_allclose(a, b, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize('name', SHAPES)
def test_gradients_are_those_of_a_plain_convolution(name):
  given = _arrays(*SHAPES[name])
  np.testing.assert_array_equal(
    convolution.convolve(*given[:2]), _plain(*given[:2])
  )
  found = jax.jit(lambda *a: _gradients(convolution.convolve, *a))(*given)
  _close(found, _gradients(_plain, *given))


def test_the_kernels_gradient_is_the_sum_over_positions():
  x, kernel, g = _arrays(*SHAPES['strips of rows'])
  padded = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
  expected = np.zeros(kernel.shape)
  for i in range(3):
    for j in range(3):
      near = padded[:, i : i + x.shape[1], j : j + x.shape[2]]
      expected[i, j] = np.einsum('bhwc,bhwo->co', near, np.float64(g))
  _, found = _gradients(convolution.convolve, x, kernel, g)
  _close([found], [np.float32(expected)])


def test_in_low_precision_sums_are_float32():
  given = _arrays(*SHAPES['strips of rows'])
  low = [x.astype(jnp.bfloat16) for x in given]
  found = _gradients(convolution.convolve, *low)
  exact = _gradients(_plain, *(x.astype(jnp.float32) for x in low))
  _close(found, [x.astype(jnp.bfloat16) for x in exact], rtol=2**-7)


def test_in_a_loop_as_well():
  x, kernel, g = _arrays(*SHAPES['strips of rows'])

  def loss(kernel, convolve):
    def add(total, part):
      x, g = (y[None] for y in part)
      with convolution.in_a_loop():
        return total + (convolve(x, kernel) * g).sum(), ()

    return jax.lax.scan(add, 0.0, (x, g))[0]

  found, expected = (
    jax.jit(jax.grad(loss), static_argnums=1)(kernel, f)
    for f in (convolution.convolve, _plain)
  )
  _close([found], [expected])


def test_an_accelerator_is_given_convolutions_alone():
  given = _arrays(*SHAPES['strips of rows'])
  step = jax.jit(lambda *a: _gradients(convolution.convolve, *a))
  cpu, tpu = (
    step.trace(*given).lower(lowering_platforms=(p,)).as_text()
    for p in ('cpu', 'tpu')
  )
  assert 'stablehlo.while' in cpu and 'stablehlo.dot_general' in cpu
  assert 'stablehlo.while' not in tpu and 'stablehlo.dot_general' not in tpu
  assert tpu.count('stablehlo.convolution') == 2


def test_operations_are_counted_as_those_of_a_plain_one():
  given = _arrays(*SHAPES['strips of rows'])
  both = [
    flops.count(lambda *a, f=f: _gradients(f, *a), *given)
    for f in (convolution.convolve, _plain)
  ]
  assert both[0] == both[1]


def test_a_batch_spread_over_devices_is_summed_once():
  mesh = partitioning.make_mesh(partitioning.MeshConfig(data=8))
  x, kernel, g = _arrays(8, 16, 40, 4, 3, 3)
  rows = partitioning.batch_sharding(mesh)
  step = jax.jit(lambda *a: _gradients(convolution.convolve, *a))
  given = jax.device_put((x, kernel, g), (rows, None, rows))
  found = step(*given)
  _close(found, _gradients(_plain, x, kernel, g))
  compiled = compiling.compile_traced(step.trace(*given), accelerators.V5E)
  (exchange,) = compiled.collectives
  assert (exchange.kind, exchange.count) == ('all-reduce', 1)
  assert exchange.size == kernel.nbytes


@pytest.mark.parametrize('looped', [True, False])
@pytest.mark.parametrize('resolution', [8, 16], ids=['base', 'efficient'])
def test_both_networks_convolve_so(resolution, looped):
  """In a loop all convolutions that keep the grid, elsewhere large ones."""
  stage = tiny_cascade.stage(resolution)
  network, inputs = stages.network(stage), stages.example_inputs(stage)
  inputs = jax.tree.map(lambda x: np.repeat(x, 4, axis=0), inputs)  # not few
  shapes = stages.param_shapes(stage)
  with convolution.in_a_loop() if looped else contextlib.nullcontext():
    program = str(
      jax.make_jaxpr(lambda p: network.apply({'params': p}, **inputs))(shapes)
    )
  kernels = [x for x in jax.tree.leaves(shapes) if x.ndim == 4]
  if looped:
    kept = len(kernels) - program.count('window_strides=(2, 2)')
    assert kept > 5
  else:
    kept = sum(x.shape[:2] == (1, 1) for x in kernels)
  assert program.count('name=_convolve') == kept


@pytest.mark.parametrize(
  ('b', 'side', 'c', 'k', 'written_out'),
  [(4, 64, 128, 3, True), (4, 16, 512, 3, False), (8, 32, 32, 3, False),
   (3, 4, 8, 1, True), (2, 4, 8, 3, True), (3, 4, 8, 3, False)],
)  # fmt: skip
def test_outside_of_loops_it_is_written_out_where_xla_is_slow(
  b, side, c, k, written_out
):
  shapes = [
    jax.ShapeDtypeStruct(s, jnp.float32)
    for s in ((b, side, side, c), (k, k, c, c))
  ]
  program = str(jax.make_jaxpr(convolution.convolve)(*shapes))
  assert ('_convolve' in program) is written_out


@pytest.mark.parametrize(
  'settings', [{'scan': True}, {'micro_batches': 2}], ids=['blocks', 'parts']
)
def test_loops_of_a_step_are_known(settings):
  """Blocks that are scanned, and a batch in parts."""
  job = tiny_job.config('text', compute=compute.Compute(**settings))
  model = dataclasses.replace(
    job.stage.model, blocks=(3,) * len(job.stage.model.blocks)
  )
  job = dataclasses.replace(
    job, stage=dataclasses.replace(job.stage, model=model)
  )
  mesh = partitioning.make_mesh(partitioning.MeshConfig(), jax.devices()[:1])
  state, shardings, optimizer = jobs.make_state(job, mesh, state_lib.describe)
  step = jobs.make_train_step(job, optimizer, None, mesh, shardings)
  program = str(step.trace(state, {}, jobs.batch_shapes(job, mesh)).jaxpr)
  # What is written out is a choice by platform, outside of loops for kernels
  # of one position alone.
  alone = [x for x in jax.tree.leaves(state.params) if x.shape[:2] == (1, 1)]
  assert program.count('platform_index[') > len(alone) > 0
