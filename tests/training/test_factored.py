"""Adafactor keeps what it uses, and does what optax's does."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from imagen_jax.training import checkpoints, factored, optimizers, state

RATE = optimizers.LearningRate(peak=1e-2, warmup=0)
PARAMS = {
  'kernel': jnp.ones([3, 3, 128, 160]),
  'bias': jnp.ones([160]),
  'scalar': jnp.ones([1]),
}


def _ours():
  return optimizers.Adafactor().transform(RATE)


def test_no_array_stands_for_nothing():
  made = _ours().init(PARAMS)
  (kept,) = (x for x in made if isinstance(x, optax.FactoredState))
  assert kept.v_row['kernel'].shape == (3, 3, 128)
  assert kept.v_col['kernel'].shape == (3, 3, 160)
  assert kept.v['bias'].shape == (160,)
  assert kept.v['scalar'].shape == (1,), 'an average of its own'
  arrays = jax.tree.leaves((kept.v_row, kept.v_col, kept.v))
  assert len(arrays) == 4
  assert factored.is_nothing(kept.v['kernel'])


def test_updates_are_those_of_optax():
  ours, theirs = (
    _ours(),
    optax.adafactor(
      RATE.schedule(),
      multiply_by_parameter_scale=False,
      min_dim_size_to_factor=128,
    ),
  )
  states = ours.init(PARAMS), theirs.init(PARAMS)
  rng = np.random.default_rng(0)
  for _ in range(3):
    grads = jax.tree.map(
      lambda p: jnp.asarray(rng.normal(size=p.shape)), PARAMS
    )
    found, mine = ours.update(grads, states[0], PARAMS)
    expected, other = theirs.update(grads, states[1], PARAMS)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    states = mine, other
  assert jax.tree.structure(mine) == jax.tree.structure(ours.init(PARAMS))


def _state(opt):
  step = jnp.zeros([], jnp.int32)
  return state.TrainState(step=step, params=PARAMS, ema=PARAMS, opt=opt)


def test_saved_and_read_again(tmp_path):
  ours = _ours()
  _, opt = ours.update(PARAMS, ours.init(PARAMS), PARAMS)
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, _state(opt), {})
  with checkpoints.Checkpoints(tmp_path) as saved:
    found, step = saved.resume(_state(ours.init(PARAMS)), {})
  assert step == 1
  assert jax.tree.structure(found.opt) == jax.tree.structure(opt)
  jax.tree.map(np.testing.assert_array_equal, found.opt, opt)


def test_a_checkpoint_with_placeholders_is_of_an_older_release(tmp_path):
  whole = optax.adafactor(1e-2, min_dim_size_to_factor=128)
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, _state(whole.init(PARAMS)), {})
    with pytest.raises(
      checkpoints.AnotherRun, match='optimizer or release'
    ) as e:
      saved.resume(_state(_ours().init(PARAMS)), {})
  assert "the optimizer's 0/v/kernel is (1,) in it and not there here" in str(
    e.value
  )
