"""What may pass is tried again, what lasts is not."""

import errno

import pytest

from imagen_jax.files import retrying


@pytest.fixture
def waited(monkeypatch):
  """Seconds that were slept."""
  slept = []
  monkeypatch.setattr(retrying.time, 'sleep', slept.append)
  return slept


def _failing(times, error):
  def do():
    nonlocal times
    times -= 1
    if times >= 0:
      raise error
    return 'done'

  return do


def test_each_try_is_later_than_the_last(waited, capsys):
  do = _failing(3, OSError(errno.EIO, 'Input/output error'))
  assert retrying.patiently(do, 'disk') == 'done'
  assert waited == [1, 4, 16]
  said = capsys.readouterr().err.splitlines()
  assert said[1] == (
    'warning: disk: [Errno 5] Input/output error; trying again in 4 s'
  )


def test_the_last_failure_is_raised(waited):
  with pytest.raises(OSError):
    retrying.patiently(_failing(5, OSError(errno.ENOSPC, 'full')), 'disk')
  assert waited == list(retrying.WAITS)


@pytest.mark.parametrize(
  'error',
  [
    FileNotFoundError('gs://bucket/a'),
    OSError(errno.EACCES, 'no'),
    OSError(errno.EROFS, 'read only'),
  ],
)
def test_what_lasts_is_raised_at_once(waited, error):
  with pytest.raises(type(error)):
    retrying.patiently(_failing(1, error), 'disk')
  assert waited == []


def test_errors_of_other_kinds_are_none_of_its_business(waited):
  with pytest.raises(KeyError):
    retrying.patiently(_failing(1, KeyError('x')), 'disk')
  assert waited == []
