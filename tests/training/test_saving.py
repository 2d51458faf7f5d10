"""A checkpoint that cannot be written is written later, or ends the run."""

import pytest

from imagen_jax import retrying
from imagen_jax.training import checkpoints, saving


class Disk:
  """Checkpoints on a disk that refuses some of the writes."""

  def __init__(self, refusals):
    self._refusals = refusals
    self._saving = None
    self.saved = []

  def latest(self):
    return self.saved[-1] if self.saved else None

  def start(self, step, state, identity, loss):
    self._saving = step

  def finished(self):
    return self.wait()

  def wait(self):
    step, self._saving = self._saving, None
    if step is not None:
      if self._refusals:
        self._refusals -= 1
        raise checkpoints.Unwritten(f'no room for step {step}')
      self.saved.append(step)
    return step

  def save(self, *arguments):
    self.start(*arguments)
    self.wait()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
  monkeypatch.setattr(retrying, 'WAITS', (0, 0))


def test_the_state_of_a_later_step_is_saved_instead(capsys):
  disk = Disk(refusals=2)
  run = saving.Saving(disk, {})
  for step in (1, 2, 3):
    assert step == 1 or run.is_due_again()
    run.start(step, None)
    saved = run.finished()
  assert saved == 3 and disk.saved == [3] and not run.is_due_again()
  said = capsys.readouterr().err
  assert said.count('warning: no room for step') == 2
  assert 'trying again in 0 s' in said


def test_too_many_refusals_in_a_row_end_the_run():
  run = saving.Saving(Disk(refusals=3), {})
  for step in (1, 2):
    run.start(step, None)
    run.finished()
  run.start(3, None)
  with pytest.raises(checkpoints.Unwritten, match='step 3'):
    run.finished()


def test_the_last_step_is_saved_before_it_ends():
  disk = Disk(refusals=2)
  run = saving.Saving(disk, {})
  run.start(5, None)
  run.finish(5, None)
  assert disk.saved == [5]
  run = saving.Saving(Disk(refusals=9), {})
  run.start(5, None)
  with pytest.raises(checkpoints.Unwritten):
    run.finish(5, None)
