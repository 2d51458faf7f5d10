"""A checkpoint that cannot be written is written later, or ends the run."""

import json

import pytest

from imagen_jax.files import retrying
from imagen_jax.training import checkpoints, saving
from tests.support import failing_disk, spawning


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
    while step > 1 and not run.is_due_again():
      assert run.finished() is None
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


PASSING = [
  'second_refuses_once',
  'first_makes_no_directory',
  pytest.param('second_refuses_twice', marks=pytest.mark.slow),
  pytest.param('first_refuses_once', marks=pytest.mark.slow),
]
LASTING = [
  'second_refuses',
  pytest.param('first_refuses', marks=pytest.mark.slow),
]


@pytest.fixture(scope='module')
def scenarios(request, tmp_path_factory):
  """What two processes told of each scenario that is asked for."""
  asked = [getattr(item, 'callspec', None) for item in request.session.items]
  names = {one.params.get('scenario') for one in asked if one} - {None}
  directory = tmp_path_factory.mktemp('disk')
  codes = spawning.launch(
    'tests.support.failing_disk',
    2,
    [f'--workdir={directory}', f'--scenarios={",".join(sorted(names))}'],
    log=directory,
  )
  assert codes == [0, 0], (directory / 'log_0.txt').read_text()[-4000:]
  paths = [directory / f'{i}.json' for i in (0, 1)]
  return [json.loads(path.read_text()) for path in paths]


@pytest.mark.parametrize('scenario', PASSING)
def test_both_processes_try_again_at_one_step(scenarios, scenario):
  """Whichever of them failed; and nothing half written is left."""
  one, other = (found[scenario] for found in scenarios)
  tries = failing_disk.SCENARIOS[scenario][2]
  assert one['begun'] == other['begun'] and len(one['begun']) == tries + 1
  assert one['given_up'] is None and other['given_up'] is None
  assert one['newest'] == other['newest'] == one['begun'][-1]
  assert one['names'] == sorted(['1', str(one['begun'][-1])])


@pytest.mark.parametrize('scenario', LASTING)
def test_both_processes_give_up_at_one_step(scenarios, scenario):
  """In bounded time, saying who could not write; what was saved stays."""
  one, other = (found[scenario] for found in scenarios)
  struck = failing_disk.SCENARIOS[scenario][0]
  assert one['begun'] == other['begun']
  assert len(one['begun']) == 1 + len(failing_disk.WAITS)
  assert one['given_up'][0] == other['given_up'][0]
  for index, found in enumerate((one, other)):
    said = found['given_up'][1]
    assert 'File too large' in said and '\n' not in said
    assert (f'process {struck}: ' in said) == (index != struck)
  assert one['newest'] == other['newest'] == 1 and '1' in one['names']
  assert max(one['seconds'], other['seconds']) < 60
