"""Checkpoints: whole or not there, and only for the run they belong to."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.parallel import partitioning
from imagen_jax.training import checkpoints, state
from tests.support import full_disk, saved_state, spawning

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
      checkpoints.AnotherRun, match=r'kernel is \(64, 64\) in it and \(32, 32\)'
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


def test_a_checkpoint_whose_parameters_were_named_otherwise(tmp_path):
  """As a release may have done before this one."""
  old = {'block': {'weight': jnp.ones([8, 8])}}
  new = {'block': {'kernel': jnp.ones([8, 8])}}
  step = jnp.zeros([], jnp.int32)
  before, now = (
    state.TrainState(step=step, params=tree, ema=tree, opt=tree)
    for tree in (old, new)
  )
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, before, IDENTITY)
  with checkpoints.Checkpoints(tmp_path) as saved:
    with pytest.raises(checkpoints.AnotherRun) as caught:
      saved.resume(now, IDENTITY)
  said = str(caught.value)
  assert (
    'checkpoints/1 is of another model, optimizer or release: parameter'
    in (said)
  )
  assert 'block/kernel is not there in it and (8, 8) here; give' in said
  assert '\n' not in said


def test_another_run_goes_on_when_it_is_told_to(tmp_path, capsys):
  other = {'seed': 7, 'sizes': (1, 2), 'batch_size': 8}
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, _state(1.0), {'seed': 0, 'sizes': (1, 3), 'batch_size': 4})
    with pytest.raises(
      checkpoints.AnotherRun,
      match=r'batch_size is 4 there and 8 here, seed is 0 there and 7 here, '
      r'sizes is \[1, 3\] there and \[1, 2\] here; give .*allow_changes=True',
    ):
      saved.resume(_state(0.0), other)
    capsys.readouterr()
    assert saved.resume(_state(0.0), other, allow_changes=True)[1] == 1
    note, resuming = capsys.readouterr().err.splitlines()
    assert note.startswith('note: changed on resuming: batch_size is 4 there')
    assert resuming == 'resuming from step 1'


def test_a_half_written_checkpoint_does_not_count(tmp_path):
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, _state(1.0), IDENTITY)
    saved.save(2, _state(2.0), IDENTITY)
  directory = tmp_path / 'checkpoints'
  # As a kill during the writing of step 3 leaves it.
  shutil.copytree(directory / '2', directory / '3.orbax-checkpoint-tmp')
  with checkpoints.Checkpoints(tmp_path) as saved:
    assert saved.resume(_state(0.0), IDENTITY)[1] == 2
    saved.save(3, _state(3.0), IDENTITY)
    assert saved.resume(_state(0.0), IDENTITY)[1] == 3
  assert sorted(p.name for p in directory.glob('*')) == ['2', '3']


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
      checkpoints.AnotherRun, match='checkpoints/2 is of another model'
    ):
      saved.resume(_state(0.0, n=32), IDENTITY)
    assert saved.resume(_state(0.0), IDENTITY)[1] == 2


def test_a_step_is_saved_when_it_is_on_disk_and_not_before(
  tmp_path, monkeypatch
):
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, _state(1.0), IDENTITY)
    busy = saved._manager.is_saving_in_progress
    saved.start(2, _state(2.0), IDENTITY)
    monkeypatch.setattr(saved._manager, 'is_saving_in_progress', lambda: True)
    assert saved.finished() is None and saved.latest() == 1
    monkeypatch.setattr(saved._manager, 'is_saving_in_progress', busy)
    while (step := saved.finished()) is None:
      pass
    assert step == 2 == saved.latest()
    assert (tmp_path / 'checkpoints' / '2' / 'params').is_dir()
    assert saved.finished() is None


def test_what_happens_to_the_state_later_is_not_saved(tmp_path):
  """The next step is given the memory of the arrays that are being written."""
  spoil = jax.jit(
    lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0
  )
  large = {'kernel': jnp.ones([2048, 2048])}
  trees = [jax.tree.map(jnp.copy, large) for _ in range(3)]
  tree = state.TrainState(
    step=jnp.zeros([], jnp.int32), params=trees[0], ema=trees[1], opt=trees[2]
  )
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.start(1, tree, IDENTITY)
    spoiled = spoil(tree)
    jax.block_until_ready(spoiled)
    saved.wait()
    restored, _ = saved.resume(spoiled, IDENTITY)
  assert float(restored.params['kernel'].min()) == 1.0
  assert float(restored.opt['kernel'].min()) == 1.0


def test_keeps_the_newest_every_kth_and_the_best(tmp_path):
  losses = [None, 0.5, 0.1, np.nan, 0.3, 0.4, None, 0.2, 0.9]
  with checkpoints.Checkpoints(tmp_path, keep=2, every=5, best=2) as saved:
    for step, loss in enumerate(losses):
      if step:
        saved.save(step, _state(float(step)), IDENTITY, loss)
  # What was the best is known to the next process too.
  with checkpoints.Checkpoints(tmp_path, keep=2, every=5, best=2) as saved:
    saved.save(9, _state(9.0), IDENTITY, 0.8)
  steps = sorted(p.name for p in (tmp_path / 'checkpoints').glob('[0-9]*'))
  assert steps == ['2', '5', '7', '8', '9']


def test_a_write_that_fails_is_told_later_and_can_be_repeated(tmp_path):
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(1, _state(1.0), IDENTITY)
    rng = np.random.default_rng(0)
    noise = {'kernel': jnp.asarray(rng.normal(size=[512, 512]))}
    large = state.TrainState(
      step=jnp.zeros([], jnp.int32), params=noise, ema=noise, opt=noise
    )
    with pytest.raises(checkpoints.Unwritten, match='step 2 could not be wri'):
      with full_disk.beyond(100_000):
        saved.start(2, large, IDENTITY)
        while saved.finished() is None:
          pass
    assert saved.latest() == 1
    saved.save(2, large, IDENTITY)
    assert saved.latest() == 2


def _on(devices, fsdp):
  config = partitioning.MeshConfig(data=-1, fsdp=fsdp)
  return partitioning.make_mesh(config, jax.devices()[:devices])


def _run(do, workdir, step, count=2):
  return spawning.launch(
    'tests.support.saved_state',
    count,
    [f'--workdir={workdir}', '--fsdp=4', f'--do={do}', f'--step={step}'],
  )


def test_resumes_on_other_meshes_and_in_other_processes(tmp_path, capfd):
  """One device, eight with fsdp=4, and two processes with fsdp=4."""
  with checkpoints.Checkpoints(tmp_path) as saved:
    saved.save(7, saved_state.state(_on(1, 1)), saved_state.IDENTITY)
  with checkpoints.Checkpoints(tmp_path) as saved:
    start = saved_state.state(_on(8, 4), factor=0.0)
    found, step = saved.resume(start, saved_state.IDENTITY)
  assert step == 7
  assert 'fsdp' in str(found.params['kernel'].sharding.spec)
  saved_state.check(found, 7)
  assert _run('check', tmp_path, 7) == [0, 0]
  # And what two processes wrote, one device reads.
  assert _run('save', tmp_path, 8) == [0, 0]
  with checkpoints.Checkpoints(tmp_path) as saved:
    start = saved_state.state(_on(1, 1), factor=0.0)
    found, step = saved.resume(start, saved_state.IDENTITY)
  assert step == 8
  saved_state.check(found, 8)


@pytest.mark.slow
def test_damage_that_one_process_sees_is_damage_to_all(tmp_path, capfd):
  """Each file in turn is cut short: both fall back to the one before."""
  whole = tmp_path / 'whole'
  assert _run('save', whole, 1) == _run('save', whole, 2) == [0, 0]
  newest = whole / 'checkpoints' / '2' / 'params'
  files = sorted(p for p in newest.rglob('d/*') if p.stat().st_size > 7)
  back = []
  for number, path in enumerate(files):
    copy = tmp_path / f'copy_{number}'
    shutil.copytree(whole, copy)
    _damage(copy / path.relative_to(whole))
    assert _run('check', copy, 0) == [0, 0], path
    if (copy / 'damaged_checkpoints' / '2_0').is_dir():
      back.append(path.parent.parent.name)
  assert {'ocdbt.process_1', 'params'} <= set(back), (files, back)
