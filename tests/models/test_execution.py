"""Recomputing and scanning change neither values, gradients nor names."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from imagen_jax import stages
from imagen_jax.models import execution
from imagen_jax.training import optimizers
from tests.support import tiny_cascade


def _stage(resolution):
  """Runs of equal blocks: 2 and 3 in the base, 3 in the other."""
  stage = tiny_cascade.stage(resolution)
  blocks = (1, 2) if resolution == 8 else (1, 3)
  model = dataclasses.replace(stage.model, blocks=blocks)
  return dataclasses.replace(stage, model=model)


@functools.cache
def _inputs(resolution):
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(lambda: stages.example_inputs(_stage(resolution), 2))
  return {
    name: rng.normal(size=x.shape).astype(np.float32)
    if x.dtype == jnp.float32
    else np.ones(x.shape, x.dtype)
    for name, x in shapes.items()
  }


def _loss(how, resolution):
  network = stages.network(_stage(resolution), how)

  def loss(params):
    out = network.apply({'params': params}, **_inputs(resolution))
    return jnp.mean(jnp.sin(3 * out))

  return loss


@functools.cache
def _value_and_grad(how):
  params = tiny_cascade.random_params(_stage(8))
  return jax.jit(jax.value_and_grad(_loss(how, 8)))(params)


SCANNED = execution.Execution(scan=True, remat='blocks')


def test_gradients_are_those_of_the_plain_network():
  value, grads = _value_and_grad(SCANNED)
  expected_value, expected = _value_and_grad(execution.PLAIN)
  np.testing.assert_allclose(value, expected_value, rtol=1e-6)
  assert jax.tree.structure(grads) == jax.tree.structure(expected)
  for (path, a), b in zip(
    jax.tree.leaves_with_path(grads), jax.tree.leaves(expected)
  ):
    error = np.linalg.norm(a - b) / np.linalg.norm(b)
    assert error < 1e-5, (jax.tree_util.keystr(path), error)


def test_adafactor_updates_each_block_by_itself():
  """Its statistics are of one leaf; a stack of blocks would share them."""
  names = ('down_4_block_0', 'down_4_block_1')
  params = tiny_cascade.random_params(_stage(8))
  params = {name: params[name] for name in names}
  rate = optimizers.LearningRate(peak=1.0, warmup=0)
  adafactor = optimizers.Adafactor(multiply_by_parameter_scale=True)
  transform = optimizers.make(adafactor, rate, clip=None)

  @jax.jit
  def updates(grads):
    return transform.update(grads, transform.init(params), params)[0]

  found, expected = (
    updates({name: _value_and_grad(how)[1][name] for name in names})
    for how in (SCANNED, execution.PLAIN)
  )
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def _equations(jaxpr, name):
  """All equations of a primitive, inner jaxprs included."""
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == name:
      yield eqn
    for inner in core.jaxprs_in_params(eqn.params):
      yield from _equations(inner, name)


@pytest.mark.parametrize(
  ('resolution', 'lengths'), [(8, [2, 3, 2]), (16, [3, 3])]
)
def test_equal_neighbours_are_one_scan(resolution, lengths):
  """All widths are 8 here: each level is one scan, if it has two blocks."""
  params = tiny_cascade.random_params(_stage(resolution))
  loss = _loss(execution.Execution(scan=True), resolution)
  scans = _equations(jax.make_jaxpr(loss)(params).jaxpr, 'scan')
  assert [s.params['length'] for s in scans] == lengths


def test_the_way_of_running_names_no_other_parameters():
  def tree(how):
    network, inputs = stages.network(_stage(8), how), _inputs(8)
    key = jax.random.key(0)
    return jax.eval_shape(lambda k: network.init(k, **inputs), key)

  assert tree(SCANNED) == tree(execution.PLAIN)


def test_recomputing_keeps_less():
  """What a backward pass needs besides parameters and inputs."""

  def kept(how):
    params = tiny_cascade.random_params(_stage(16))
    _, backward = jax.eval_shape(lambda p: jax.vjp(_loss(how, 16), p), params)
    own = sum(p.size for p in jax.tree.leaves(params))
    return sum(x.size for x in jax.tree.leaves(backward)) - own

  sizes = [
    kept(execution.Execution(remat=remat))
    for remat in ('none', 'products', 'blocks')
  ]
  assert sizes[0] > sizes[1] > sizes[2], sizes


def test_unknown_policy():
  with pytest.raises(ValueError, match="remat 'all' is not one of"):
    execution.Execution(remat='all')
