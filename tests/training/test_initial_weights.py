"""A run that starts from another's weights takes what fits, and says so."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax import stages
from imagen_jax.training import initial_weights
from imagen_jax.training import state as state_lib
from tests.support import tiny_cascade


def _difference(a, b):
  """Largest absolute difference of two trees."""
  return max(
    float(np.abs(np.asarray(x) - np.asarray(y)).max())
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def test_some_parameters_may_start_afresh(tmp_path):
  stage = tiny_cascade.stage(16)
  there, here = (
    jax.tree.map(jnp.asarray, tiny_cascade.random_params(stage, seed))
    for seed in (0, 1)
  )
  stages.write(tmp_path, stage, there)
  state = state_lib.TrainState(step=0, params=here, ema=here, opt=())
  got = initial_weights.take(tmp_path, stage, state, fresh='^output_conv/')
  for tree in (got.params, got.ema):
    assert _difference(tree['output_conv'], here['output_conv']) == 0
    others = {k: v for k, v in tree.items() if k != 'output_conv'}
    assert _difference(others, {k: there[k] for k in others}) == 0
  with pytest.raises(ValueError, match="fresh 'outptu' is in no path"):
    initial_weights.take(tmp_path, stage, state, fresh='outptu')
  # With a new last layer the network may learn to predict something else.
  other = dataclasses.replace(stage, prediction='x0')
  initial_weights.take(tmp_path, other, state, fresh='^output_conv/')
  with pytest.raises(ValueError, match='predicts v, this stage x0'):
    initial_weights.take(tmp_path, other, state, fresh='^input_conv/')


def test_what_the_same_shapes_hide_is_told(tmp_path, capsys):
  stage = tiny_cascade.stage(16)
  model = dataclasses.replace(stage.model, keep_mean=True)
  there = dataclasses.replace(stage, prediction='x0')
  here = dataclasses.replace(there, model=model)
  params = jax.tree.map(jnp.asarray, tiny_cascade.random_params(stage))
  stages.write(tmp_path, there, params)
  state = state_lib.TrainState(step=0, params=params, ema=params, opt=())
  initial_weights.take(tmp_path, there, state)
  assert capsys.readouterr().err == ''
  initial_weights.take(tmp_path, here, state)
  said = capsys.readouterr().err
  assert f'note: model.keep_mean is False in {tmp_path} and True here' in said
  stages.write(tmp_path, dataclasses.replace(there, prediction='eps'), params)
  with pytest.raises(ValueError, match='predicts eps, this stage x0; start'):
    initial_weights.take(tmp_path, there, state)
