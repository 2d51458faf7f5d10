"""Checkpoints: whole or not there, and only for the run they belong to."""

import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.training import checkpoints, state
from tests import full_disk

IDENTITY = {'seed': 0, 'sizes': (1, 2)}


def _state(value, n=64):
  params = {'kernel': jnp.full([n, n], value)}
  return state.TrainState(
    step=jnp.zeros([], jnp.int32), params=params, ema=params, opt=params
  )


def test_disk_full_is_one_line_and_keeps_the_checkpoint_before(tmp_path):
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, _state(1.0), IDENTITY)
    rng = np.random.default_rng(0)
    noise = {'kernel': jnp.asarray(rng.normal(size=[512, 512]))}
    large = state.TrainState(
      step=jnp.zeros([], jnp.int32), params=noise, ema=noise, opt=noise
    )
    with full_disk.beyond(100_000):
      with pytest.raises(ValueError, match='step 2 could not be written') as e:
        saved.save(2, large, IDENTITY)
    assert 'free space there and run the same' in str(e.value)
    assert '\n' not in str(e.value)
  with checkpoints.Checkpoints(tmp_path) as saved:
    restored, done = saved.resume(_state(0.0), IDENTITY)
  assert done == 1
  assert int(restored.step) == 1
  assert float(restored.params['kernel'].min()) == 1.0


def test_keeps_the_newest(tmp_path):
  with checkpoints.Checkpoints(tmp_path, keep=2) as saved:
    for step in (1, 2, 3):
      saved.save(step, _state(float(step)), IDENTITY)
    assert saved.latest() == 3
  steps = sorted(p.name for p in (tmp_path / 'checkpoints').glob('[0-9]*'))
  assert steps == ['2', '3']


def test_other_settings_and_other_shapes_are_refused(tmp_path):
  with checkpoints.Checkpoints(tmp_path) as saved:
    assert saved.resume(_state(5.0), IDENTITY)[1] == 0
    saved.save(1, _state(1.0), IDENTITY)
    with pytest.raises(ValueError, match='seed is 0 there and 7 here'):
      saved.resume(_state(0.0), {**IDENTITY, 'seed': 7})
    with pytest.raises(
      checkpoints.AnotherRun, match='does not fit this configuration'
    ):
      saved.resume(_state(0.0, n=32), IDENTITY)


def test_the_setting_that_differs_is_named_alone(tmp_path):
  inner = {'model': {'widths': (8, 16), 'fold': 4}, 'name': 'a'}
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, _state(1.0), {'stage': inner})
    other = {'stage': inner | {'model': inner['model'] | {'fold': 2}}}
    with pytest.raises(checkpoints.AnotherRun) as caught:
      saved.resume(_state(0.0), other)
  assert 'stage.model.fold is 4 there and 2 here' in str(caught.value)
  assert 'widths' not in str(caught.value)


def _damage(path):
  """As a disk does that was full, or a copy that was cut short."""
  if path.name == 'metadata':
    path.unlink()
  else:
    path.write_bytes(path.read_bytes()[:7])


@pytest.mark.parametrize('name', ['meta/metadata', 'params/manifest.ocdbt'])
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, name, capsys):
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, _state(1.0), IDENTITY)
    saved.save(2, _state(2.0), IDENTITY)
  newest = tmp_path / 'checkpoints' / '2'
  _damage(newest / name)
  with checkpoints.Checkpoints(tmp_path) as saved:
    restored, done = saved.resume(_state(0.0), IDENTITY)
    assert (done, int(restored.step)) == (1, 1)
    assert float(restored.params['kernel'].min()) == 1.0
    warning, resuming = capsys.readouterr().err.splitlines()
    assert warning.startswith(f'warning: checkpoint {newest} does not fit')
    assert warning.endswith(
      'moved to ' + str(tmp_path) + '/damaged_checkpoints/2_0'
    )
    assert resuming == 'resuming from step 1'
    saved.save(2, _state(3.0), IDENTITY)
  with checkpoints.Checkpoints(tmp_path) as saved:
    assert saved.resume(_state(0.0), IDENTITY)[1] == 2


def test_what_fits_no_checkpoint_moves_none(tmp_path):
  """Other shapes are the configuration's fault, not the checkpoints'."""
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, _state(1.0), IDENTITY)
    saved.save(2, _state(2.0), IDENTITY)
    with pytest.raises(
      checkpoints.AnotherRun, match='checkpoints/2 does not f'
    ):
      saved.resume(_state(0.0, n=32), IDENTITY)
    assert saved.resume(_state(0.0), IDENTITY)[1] == 2
