"""What is made of the text once gives what was made of it at every step."""

import dataclasses

import jax
import numpy as np
import pytest

from imagen_jax import stages
from imagen_jax.models import execution
from tests.support import tiny_cascade


def _inputs(stage):
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(lambda: stages.example_inputs(stage, 2))
  inputs = {
    name: rng.normal(size=x.shape).astype(np.float32)
    for name, x in shapes.items()
  }
  inputs['mask'] = np.arange(stage.max_length) < [[3], [stage.max_length]]
  return inputs


@pytest.mark.parametrize(
  ('resolution', 'scan'), [(8, False), (8, True), (16, False)]
)
def test_the_network_says_the_same(resolution, scan):
  stage = tiny_cascade.stage(resolution)
  model = dataclasses.replace(stage.model, blocks=(1, 2))
  stage = dataclasses.replace(stage, model=model)
  params, inputs = tiny_cascade.random_params(stage), _inputs(stage)
  expected = jax.jit(stages.network(stage).apply)({'params': params}, **inputs)
  text, mask = inputs.pop('text'), inputs['mask']
  context = jax.jit(
    lambda params: stages.text_context(stage, params, text, mask)
  )(params)
  how = execution.Execution(scan=scan)
  got = jax.jit(stages.network(stage, how).apply)(
    {'params': params}, text=context, **inputs
  )
  assert np.abs(expected).max() > 1
  np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('resolution', [8, 16])
def test_nothing_reads_the_text_at_a_step(resolution):
  """No product of a step is as long as the text but attention's own two."""
  stage = tiny_cascade.stage(resolution)
  length = 37  # found nowhere else
  stage = dataclasses.replace(stage, max_length=length)
  shapes = jax.eval_shape(lambda: tiny_cascade.random_params(stage))
  inputs = _inputs(stage)
  text, mask = inputs.pop('text'), inputs['mask']
  context = jax.eval_shape(
    lambda params: stages.text_context(stage, params, text, mask), shapes
  )

  def products(text):
    step = jax.make_jaxpr(
      lambda params, text: stages.network(stage).apply(
        {'params': params}, text=text, **inputs
      )
    )(shapes, text)
    return [
      eqn
      for eqn in step.jaxpr.eqns
      if eqn.primitive.name == 'dot_general'
      and eqn.outvars[0].aval.shape[1:2] == (length,)
    ]

  assert products(text)
  assert not products(context)
