"""A disk that alters a checkpoint: told, and the one before is taken."""

import json
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.training import checkpoints, state

IDENTITY = {'seed': 0, 'rate': 0.125}


def _state(seed):
  rng = np.random.default_rng(seed)

  def tree():
    kernel = jnp.asarray(rng.normal(size=[64, 40]), jnp.float32)
    bias = jnp.asarray(rng.normal(size=[7]), jnp.bfloat16)
    return {'kernel': kernel, 'block': {'bias': bias}}

  return state.TrainState(
    step=jnp.zeros([], jnp.int32),
    params=tree(),
    ema=tree(),
    opt=(tree(), {'count': jnp.int32(seed)}),
  )


def _bytes(found):
  arrays = jax.tree.leaves((found.params, found.ema, found.opt))
  return [np.asarray(x).tobytes() for x in arrays]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A work directory with the checkpoints 1 and 2."""
  workdir = tmp_path_factory.mktemp('whole') / 'w'
  with checkpoints.Checkpoints(workdir, best=1) as saved:
    saved.save(1, _state(1), IDENTITY, 0.5)
    saved.save(2, _state(2), IDENTITY, 0.25)
  return workdir


def _flip(path, byte, bit=0):
  data = bytearray(path.read_bytes())
  data[byte % len(data)] ^= 1 << bit
  path.write_bytes(bytes(data))


def _resume(workdir):
  with checkpoints.Checkpoints(workdir, best=1) as saved:
    found, done = saved.resume(_state(0), IDENTITY)
  return _bytes(found), done


@pytest.mark.parametrize('item', ['params', 'ema', 'opt'])
def test_a_flipped_bit_of_an_array_is_told(whole, tmp_path, item, capsys):
  workdir = shutil.copytree(whole, tmp_path / 'w')
  newest = workdir / 'checkpoints' / '2'
  largest = max((newest / item).rglob('d/*'), key=lambda p: p.stat().st_size)
  _flip(largest, largest.stat().st_size // 2)
  assert _resume(workdir) == (_bytes(_state(1)), 1)
  warning, resuming = capsys.readouterr().err.splitlines()
  assert warning.startswith(f'warning: checkpoint {newest} ')
  assert warning.endswith(f'moved to {workdir}/damaged_checkpoints/2_0')
  assert resuming == 'resuming from step 1'


@pytest.mark.parametrize(
  ('item', 'before', 'after'),
  [
    ('data', '"next_batch": 2', '"next_batch": 3'),
    ('data', '"checksums"', '"checksumz"'),
    ('meta', '0.125', '0.375'),
    ('meta', '"seed"', '"seee"'),
  ],
)
def test_an_altered_digit_of_the_rest_is_told(
  whole, tmp_path, item, before, after, capsys
):
  """It would be another batch in silence, or be called another run."""
  workdir = shutil.copytree(whole, tmp_path / 'w')
  newest = workdir / 'checkpoints' / '2'
  path = newest / item / 'metadata'
  text = path.read_text()
  assert before in text
  path.write_text(text.replace(before, after))
  assert _resume(workdir) == (_bytes(_state(1)), 1)
  warning = capsys.readouterr().err.splitlines()[0]
  assert warning.startswith(
    f'warning: checkpoint {newest} is damaged: {item} is not what was saved'
  )


def test_where_all_are_damaged_the_newest_is_named(whole, tmp_path):
  workdir = shutil.copytree(whole, tmp_path / 'w')
  for step in '12':
    path = workdir / 'checkpoints' / step / 'meta' / 'metadata'
    path.write_text(path.read_text().replace('0.125', '0.375'))
  with pytest.raises(checkpoints.Damaged, match='checkpoints/2 is damaged: me'):
    _resume(workdir)
  assert (workdir / 'checkpoints' / '2').is_dir()


def test_a_checkpoint_of_an_older_release_is_taken_with_a_note(
  whole, tmp_path, capsys
):
  workdir = shutil.copytree(whole, tmp_path / 'w')
  path = workdir / 'checkpoints' / '2' / 'data' / 'metadata'
  path.write_text(json.dumps({'next_batch': 2}))
  assert _resume(workdir) == (_bytes(_state(2)), 2)
  note = capsys.readouterr().err.splitlines()[0]
  assert note.startswith('note: checkpoint 2 has no checksums')


def test_a_loss_that_cannot_be_read_hinders_nothing(whole, tmp_path, capsys):
  workdir = shutil.copytree(whole, tmp_path / 'w')
  path = workdir / 'checkpoints' / '1' / 'metrics' / 'metrics'
  _flip(path, 1)
  assert _resume(workdir) == (_bytes(_state(2)), 2)
  assert f'warning: {path} is damaged' in capsys.readouterr().err


def test_no_flipped_bit_goes_unseen(whole, tmp_path, capsys):
  """Anywhere in the newest: all of it is as it was, or the one before."""
  newest = whole / 'checkpoints' / '2'
  files = sorted(p for p in newest.rglob('*') if p.is_file())
  chance = random.Random(0)
  found = {1: 0, 2: 0}
  for number, file in enumerate(files):
    size = file.stat().st_size
    workdir = shutil.copytree(whole, tmp_path / str(number))
    if size:
      place = chance.randrange(size)
      _flip(workdir / file.relative_to(whole), place, chance.randrange(8))
    arrays, done = _resume(workdir)
    assert arrays == _bytes(_state(done)), file
    assert ('moved to' in capsys.readouterr().err) == (done == 1), file
    found[done] += 1
  assert found[1] >= 3
