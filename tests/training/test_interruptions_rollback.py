"""What is not finite is no place to go back to."""

import json

import jax.numpy as jnp
import numpy as np

from imagen_jax.training import checkpoints, interruptions, state

IDENTITY = {'seed': 0}


def _state(value):
  params = {'kernel': jnp.full([64, 64], value)}
  return state.TrainState(
    step=jnp.zeros([], jnp.int32), params=params, ema=params, opt=params
  )


def _error():
  return interruptions.NotFinite('bad', first=4, last=6)


def test_goes_back_behind_what_is_not_finite(tmp_path, capsys):
  (tmp_path / 'metrics.jsonl').write_text(
    '{"step": 2, "loss": 0.5}\n{"step": 4, "loss": null}\n{"ste'
  )
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, _state(1.0), IDENTITY)
    saved.save(3, _state(np.nan), IDENTITY)
    found, step = interruptions.roll_back(
      tmp_path, saved, _error(), lambda: saved.resume(_state(0.0), IDENTITY)
    )
    assert saved.latest() == 1 == step
  assert float(found.ema['kernel'].max()) == 1.0
  assert (tmp_path / 'damaged_checkpoints' / '3_0').is_dir()
  report = json.loads((tmp_path / 'stopped.json').read_text())
  assert report['rolled_back_to_step'] == 1
  assert report['bad_batches'] == [3, 5]
  assert report['last_metrics'] == {'step': 2, 'loss': 0.5}
  assert 'rolled back to step 1; the report is in' in capsys.readouterr().err


def test_without_a_checkpoint_there_is_only_a_report(tmp_path):
  with checkpoints.Checkpoints(tmp_path) as saved:
    found = interruptions.roll_back(
      tmp_path, saved, _error(), lambda: saved.resume(_state(0.0), IDENTITY)
    )
  assert found == (None, 0)
  report = json.loads((tmp_path / 'stopped.json').read_text())
  assert report['rolled_back_to_step'] == 0 and report['last_metrics'] is None
