"""Lines are whole or not there, whatever the disk says."""

import os

import pytest

from imagen_jax.files import lines, retrying
from tests.support import full_disk


@pytest.fixture
def clock(monkeypatch):
  """A clock that stands still until it is set."""
  now = [1000.0]
  monkeypatch.setattr(lines.time, 'monotonic', lambda: now[0])
  return now


def test_lines_are_there_at_once(tmp_path):
  log = lines.Lines(tmp_path / 'x')
  log.add('one')
  assert (tmp_path / 'x').read_text() == 'one\n'
  log.add('two')
  assert (tmp_path / 'x').read_text() == 'one\ntwo\n'
  log.close()


def test_several_lines_are_added_at_once(tmp_path):
  lines.Lines(tmp_path / 'x').add('one', 'two', '\ud800')
  assert (tmp_path / 'x').read_text() == 'one\ntwo\n?\n'


def test_a_full_disk_costs_no_line_and_leaves_no_half(tmp_path, clock, capsys):
  path = tmp_path / 'x'
  log = lines.Lines(path)
  log.add('a' * 10)
  with full_disk.beyond(25):  # a line and a half
    log.add('b' * 20)
    log.add('c' * 20)
    assert path.read_text() == 'a' * 10 + '\n'
  (warning,) = capsys.readouterr().err.splitlines()
  assert warning.startswith(f'warning: {path} cannot be written: ')
  assert 'free space there' in warning and 'tried again' in warning
  log.add('d')
  assert path.read_text().split() == ['a' * 10, 'b' * 20, 'c' * 20, 'd']
  assert capsys.readouterr().err == (
    f'note: {path} is written again, 3 lines late\n'
  )


def test_the_warning_comes_again_later_and_later(tmp_path, clock, capsys):
  path = tmp_path / 'x'
  log = lines.Lines(path)
  times = []
  with full_disk.beyond(0):
    for second in range(200):
      clock[0] = 1000.0 + second
      log.add('x')
      if capsys.readouterr().err:
        times.append(second)
  assert times == [0, 1, 5, 21, 85, 149]
  log.add('x')
  assert len(path.read_text().splitlines()) == 201


def test_lines_that_wait_are_bounded(tmp_path, clock, monkeypatch, capsys):
  monkeypatch.setattr(lines, '_WAITING', 3)
  log = lines.Lines(tmp_path / 'x')
  with full_disk.beyond(0):
    for number in range(10):
      log.add(str(number))
  log.add('10')
  assert (tmp_path / 'x').read_text().split() == ['8', '9', '10']
  assert '3 lines late; 8 were given up' in capsys.readouterr().err


def test_the_end_waits_a_little(tmp_path, monkeypatch, capsys):
  path = tmp_path / 'away' / 'x'
  log = lines.Lines(path)
  log.add('one')  # the directory is not there

  def come_back(seconds):
    path.parent.mkdir(exist_ok=True)

  monkeypatch.setattr(retrying.time, 'sleep', come_back)
  monkeypatch.setattr(retrying, 'may_pass', lambda error: True)
  log.close()
  assert path.read_text() == 'one\n'
  assert 'trying again in 1 s' in capsys.readouterr().err


def test_what_is_lost_at_the_end_is_told(tmp_path, capsys):
  log = lines.Lines(tmp_path / 'x')
  with full_disk.beyond(0):
    log.add('one')
    log.close()
  said = capsys.readouterr().err
  assert f'warning: {tmp_path / "x"} lacks its last 1 lines' in said


def test_a_line_goes_behind_one_that_was_cut_short(tmp_path):
  (tmp_path / 'x').write_text('whole\nha')
  lines.Lines(tmp_path / 'x').add('new')
  assert (tmp_path / 'x').read_text() == 'whole\nha\nnew\n'


def test_a_file_that_was_removed_is_made_anew(tmp_path):
  log = lines.Lines(tmp_path / 'x')
  log.add('one')
  os.remove(tmp_path / 'x')
  log.add('two')
  assert (tmp_path / 'x').read_text() == 'two\n'
