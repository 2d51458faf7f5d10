"""A signal stops the run after its step; bad steps are counted and bounded."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.training import interruptions, optimizers, state


def test_a_signal_is_noted_and_the_handler_before_it_comes_back(capsys):
  before = signal.getsignal(signal.SIGTERM)
  with interruptions.StopSignal() as stop:
    assert signal.getsignal(signal.SIGTERM) == before, 'nothing to save yet'
    assert not stop.after(1)
    for step in (2, 3):  # and again, while it saves
      os.kill(os.getpid(), signal.SIGTERM)
      assert stop.after(step)
  assert signal.getsignal(signal.SIGTERM) == before
  assert capsys.readouterr().err.startswith('SIGTERM: saving after this step')


def test_skipped_steps_are_counted_and_too_many_in_a_row_end_the_run():
  skipped = interruptions.Skipped(2)
  for flag in (1, 0, 1, 1):
    skipped.add(jnp.float32(flag))
  assert skipped.count(4, None) == 3
  skipped.add(jnp.float32(0))
  assert skipped.count(5, None) == 0
  for flag in (1, 1):
    skipped.add(jnp.float32(flag))
  assert skipped.count(7, 4) == 2
  skipped.add(jnp.float32(1))  # the third in a row, across reports
  with pytest.raises(
    interruptions.NotFinite, match='up to step 8 .* step 4:'
  ) as e:
    skipped.count(8, 4)
  assert (e.value.first, e.value.last) == (6, 8)


def test_the_first_bad_step_ends_a_run_that_bears_none():
  undone = []
  skipped = interruptions.Skipped(0, undone.append)
  skipped.add(jnp.float32(0))
  assert skipped.count(1, None) == 0 and not undone
  skipped.add(jnp.float32(1))
  with pytest.raises(ValueError, match='nothing of it was saved.* step none:'):
    skipped.count(2, None)
  assert [(e.first, e.last) for e in undone] == [(2, 2)]


def test_a_check_ends_the_run_too_and_loses_no_count():
  skipped = interruptions.Skipped(1)
  skipped.add(jnp.float32(1))
  skipped.check(1, None)  # at a checkpoint between two reports
  skipped.add(jnp.float32(0))
  assert skipped.count(2, 1) == 1
  assert skipped.count(2, 1) == 0
  for flag in (1, 1):
    skipped.add(jnp.float32(flag))
  with pytest.raises(ValueError, match='of 2 steps .* up to step 4 .* step 1:'):
    skipped.check(4, 1)


@pytest.mark.parametrize('keep', [True, False])
def test_a_skipped_step_counts_and_changes_nothing_else(keep):
  rate = optimizers.LearningRate(peak=1.0, warmup=0)
  optimizer = optimizers.make(optimizers.Adam(), rate, clip=None)
  params = {'kernel': jnp.ones(3)}
  before = state.TrainState(
    step=jnp.int32(1), params=params, ema=params, opt=optimizer.init(params)
  )
  grads = {'kernel': jnp.full(3, 2.0 if keep else np.nan)}
  found = state.apply_gradients(
    before, grads, optimizer, 0.5, keep=jnp.bool_(keep)
  )
  assert int(found.step) == 2
  changing = [found.params, found.ema, found.opt], [params, params, before.opt]
  for a, b in zip(*map(jax.tree.leaves, changing)):
    assert np.isfinite(a).all()
    assert np.any(a != b) == keep
