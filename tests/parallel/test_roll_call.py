"""Processes that come are let go on; those that do not are named."""

import socket
import threading

import pytest

from imagen_jax.parallel import roll_call


def _free_port():
  with socket.create_server(('', 0)) as server:
    return server.getsockname()[1]


def _attend(processes, timeout=20):
  """What each of (count, index) got: None or the problem, in order."""
  place, found = f'localhost:{_free_port()}', [None] * len(processes)

  def attend(i, count, index):
    try:
      roll_call.attend(place, count, index, timeout)
    except ValueError as e:
      found[i] = str(e)

  threads = [
    threading.Thread(target=attend, args=(i, *process))
    for i, process in enumerate(processes)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return found


def test_all_are_there_in_any_order():
  assert _attend([(3, 2), (3, 0), (3, 1)]) == [None, None, None]


def test_the_port_is_free_afterwards():
  place = f'localhost:{_free_port()}'
  for _ in range(2):
    other = threading.Thread(target=roll_call.attend, args=(place, 2, 1, 20))
    other.start()
    roll_call.attend(place, 2, 0, 20)
    other.join()


def test_who_never_joins_is_named_to_all():
  for said in _attend([(4, 0), (4, 2)], timeout=2):
    assert 'of 4 processes these did not join within 2 s: 1, 3;' in said


def test_a_coordinator_that_never_comes():
  (said,) = _attend([(2, 1)], timeout=1)
  assert said.startswith('process 0 could not be reached at localhost:')
  assert 'within 1 s' in said


def test_numbers_that_do_not_fit():
  assert 'told of 4 processes, process 0 of 3' in _attend([(3, 0), (4, 1)])[0]
  said = _attend([(3, 0), (3, 1), (3, 1)], timeout=4)
  assert 'process 1 is there twice' in said[0]


def test_a_stranger_at_the_port_does_not_count():
  port = _free_port()

  def attend():
    with pytest.raises(ValueError, match='did not join within 2 s: 1'):
      roll_call.attend(f'localhost:{port}', 2, 0, 2)

  thread = threading.Thread(target=attend)
  thread.start()
  for _ in range(100):
    try:
      with socket.create_connection(('localhost', port)) as one:
        one.sendall(b'GET / HTTP/1.1\r\n\r\n')
      break
    except OSError:
      thread.join(0.02)
  thread.join()


@pytest.mark.parametrize('text', ['localhost', ':80', 'host:99999', 'host:x'])
def test_what_is_no_address(text):
  with pytest.raises(ValueError, match='write HOST:PORT'):
    roll_call.address(text)


@pytest.mark.parametrize('text', [b'[' * 9_000, b'{"a":' * 1_900, b'\xff', b''])
def test_a_line_that_is_none_is_no_process(text):
  ours, theirs = socket.socketpair()
  with ours, theirs:
    theirs.sendall(text + b'\n')
    assert roll_call._line(ours) is None
