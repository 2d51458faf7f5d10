"""Floating-point operations of a function, counted from its jaxpr.

Convolutions and matrix products alone, two per multiply-add: what a step costs
by convention is three times its forward pass (sec. 4.1 of the paper does not
say). Counted before the partitioner and before any recomputation, and without
compiling anything.
"""

import math

import jax
from jax.extend import core

from imagen_jax import stages

STEP_OVER_FORWARD = 3  # forward once, backward twice


def count(function, *args, **kwargs):
  """Operations of function(*args, **kwargs); arrays or their shapes."""
  return _of_jaxpr(jax.make_jaxpr(function)(*args, **kwargs).jaxpr)


def of_traced(traced):
  """Operations of what `jax.jit(f).trace(...)` gives."""
  return _of_jaxpr(traced.jaxpr.jaxpr)


def per_image(stage, resolution=None):
  """Of a stage's network, forward, on one picture of `resolution` pixels."""
  network = stages.network(stage)
  given = jax.eval_shape(
    lambda: stages.example_inputs(stage, resolution=resolution)
  )
  return count(
    lambda params, given: network.apply({'params': params}, **given),
    stages.param_shapes(stage),
    given,
  )


def _of_jaxpr(jaxpr):
  return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(eqn):
  name, params = eqn.primitive.name, eqn.params
  if name == 'dot_general':
    (contracted, _), _ = params['dimension_numbers']
    shape = eqn.invars[0].aval.shape
    depth = math.prod(shape[i] for i in contracted)
    return 2 * depth * math.prod(eqn.outvars[0].aval.shape)
  if name == 'conv_general_dilated':
    kernel = eqn.invars[1].aval.shape
    out_axis = params['dimension_numbers'].rhs_spec[0]
    depth = math.prod(kernel) // kernel[out_axis]
    return 2 * depth * math.prod(eqn.outvars[0].aval.shape)
  inner = [_of_jaxpr(j) for j in core.jaxprs_in_params(params)]
  if name == 'cond':
    return max(inner)
  return sum(inner) * _times(name, params) if inner else 0


def _times(name, params):
  """How often what is inside an equation is computed, by all devices."""
  if name == 'shard_map':  # its inside is one device's part
    axes = params.get('newly_manual_axes', params.get('manual_axes'))
    return math.prod(params['mesh'].shape[axis] for axis in axes)
  return params.get('length', 1)  # of a scan
