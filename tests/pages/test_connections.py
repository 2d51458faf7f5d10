"""Silent, slow and leaving clients hold nobody else up."""

import contextlib
import socket
import threading
import time

import pytest

from imagen_jax.pages import connections, server
from tests.pages.test_server import ask, served

LENGTH = b'Content-Length: 900\r\n'
FORM = b'Content-Type: application/x-www-form-urlencoded\r\n'


@pytest.fixture
def quick(monkeypatch):
  """Times of a test: a second in all for a request, half for a silent one."""
  monkeypatch.setattr(connections, 'HEAD', 0.5)
  monkeypatch.setattr(connections, 'IDLE', 1.0)


def _open(address, data=b''):
  link = socket.create_connection(address, timeout=10)
  link.sendall(data.replace(b'HOST', b'Host: 127.0.0.1\r\n'))
  return link


def _answer(link):
  """All that comes until the connection ends."""
  parts = []
  with contextlib.suppress(ConnectionError):
    while part := link.recv(1 << 16):
      parts.append(part)
  return b''.join(parts)


def _trickle(link, piece, seconds):
  """Sends a piece again and again; (seconds until it was cut off, answer)."""
  begun, answer = time.monotonic(), b''
  link.settimeout(0.05)
  while time.monotonic() - begun < seconds:
    try:
      link.sendall(piece)
      part = link.recv(1 << 16)
    except TimeoutError:
      continue
    except OSError:
      break
    if not part:
      break
    answer += part
  return time.monotonic() - begun, answer


def test_a_silent_connection_ends(quick):
  with served() as address:
    begun = time.monotonic()
    assert _answer(_open(address)) == b''
    assert 0.3 < time.monotonic() - begun < 3


def test_one_that_asked_may_ask_again_a_little_longer(quick):
  request = b'GET / HTTP/1.1\r\nHOST\r\n'
  with served() as address:
    link = _open(address, request)
    assert link.recv(1 << 16).endswith(b'GET / ')
    time.sleep(0.7)
    link.sendall(request.replace(b'HOST', b'Host: localhost\r\n'))
    assert link.recv(1 << 16).endswith(b'GET / ')


@pytest.mark.parametrize(
  'start', [b'', b'GET / HTTP/1.1\r\nHOSTX-Long: '], ids=['line', 'headers']
)
def test_headers_have_a_time_in_all(quick, start):
  """However often another byte of them comes."""
  with served() as address:
    took, _ = _trickle(_open(address, start), b'a', 10)
    assert took < 4


def test_a_body_has_a_time_in_all(quick):
  head = b'POST / HTTP/1.1\r\nHOST' + FORM + LENGTH + b'\r\n'
  with served() as address:
    took, answer = _trickle(_open(address, head), b'a', 15)
    assert took < 10
    assert answer.startswith(b'HTTP/1.1 408 ')
    assert answer.endswith(b'error: the form came too slowly\n')


def test_the_time_of_a_body_grows_with_its_size():
  assert connections.seconds(0) == connections.HEAD
  assert connections.seconds(8 << 20) > 120


def test_who_reads_nothing_is_let_go(quick, monkeypatch):
  monkeypatch.setattr(connections, 'SLOWEST', 1e9)
  large = server.Response(body=b'x' * (64 << 20))
  with served(lambda _: large) as address:
    link = _open(address, b'GET / HTTP/1.1\r\nHOST\r\n')
    time.sleep(2)
    assert len(_answer(link)) < 64 << 20


@pytest.mark.parametrize(
  'data',
  [
    b'GET / HTTP/1.1\r\nHOST\r\n',
    b'POST / HTTP/1.1\r\nHOST' + FORM + LENGTH + b'\r\nprompt',
    b'POST / HTTP/1.1\r\nHost: evil.example\r\n' + LENGTH + b'\r\nprompt',
    b'POST / HTT',
  ],
  ids=['answer', 'body', 'refused', 'line'],
)
@pytest.mark.parametrize('reset', [False, True])
def test_clients_that_leave_are_not_an_error(data, reset, capfd):
  with served() as address:
    for _ in range(20):
      link = _open(address, data)
      if reset:  # no goodbye
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0' * 2)
      link.close()
    time.sleep(0.3)
    assert ask(address)[0] == 200
  assert capfd.readouterr().err == ''


def test_silent_connections_shut_nobody_out(monkeypatch):
  monkeypatch.setattr(connections, 'CLIENT', 8)
  with served() as address:
    links = [_open(address) for _ in range(40)]
    assert ask(address)[0] == 200
    links[0].settimeout(10)
    assert links[0].recv(1) == b''  # the first were let go, not the last
    links[-1].sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    assert links[-1].recv(1 << 16).startswith(b'HTTP/1.1 200 ')


def test_slow_bodies_shut_nobody_out(monkeypatch):
  monkeypatch.setattr(connections, 'CLIENT', 8)
  head = b'POST / HTTP/1.1\r\nHOST' + FORM + LENGTH + b'\r\na'
  with served() as address:
    links = [_open(address, head) for _ in range(20)]
    assert ask(address)[0] == 200
    assert len(links) == 20


def test_who_is_answered_is_not_let_go(monkeypatch):
  """More than there may be are turned away while all are at work."""
  monkeypatch.setattr(connections, 'CLIENT', 2)
  goes_on, begun = threading.Event(), threading.Semaphore(0)

  def page(request):
    begun.release()
    goes_on.wait(10)
    return server.Response(body=b'done')

  with served(page) as address:
    busy = [_open(address, b'GET / HTTP/1.1\r\nHOST\r\n') for _ in range(2)]
    assert begun.acquire(timeout=10) and begun.acquire(timeout=10)
    assert _answer(_open(address)) == b''
    goes_on.set()
    for link in busy:
      assert link.recv(1 << 16).endswith(b'done')


def test_addresses_have_their_own_share():
  room = connections.Room(most=4, each=2)
  ends = [socket.socketpair() for _ in range(7)]
  mine = [end for end, _ in ends]
  assert room.enter(mine[0], 'a') and room.enter(mine[1], 'a')
  with room.answering(mine[0]):
    assert room.enter(mine[2], 'a')  # in the place of mine[1]
    assert ends[1][1].recv(1) == b''
    with room.answering(mine[2]):
      assert not room.enter(mine[3], 'a')
      assert room.enter(mine[3], 'b') and room.enter(mine[4], 'b')
      assert room.enter(mine[5], 'c')  # whoever waits longest leaves
      assert ends[3][1].recv(1) == b''
  room.leave(mine[0])
  room.leave(mine[0])
  for pair in ends:
    for end in pair:
      end.close()


def test_two_hosts_are_refused():
  request = b'GET / HTTP/1.1\r\nHOSTHost: evil.example\r\n'
  with served() as address:
    link = _open(address, request + b'Connection: close\r\n\r\n')
    assert _answer(link).startswith(b'HTTP/1.1 400 ')


def test_a_body_of_a_get_is_no_request():
  """Behind a proxy it could be another visitor's."""
  inner = b'GET /inner HTTP/1.1\r\nHOST\r\n'
  length = b'Content-Length: %d\r\n\r\n' % (len(inner) + 11)
  with served() as address:
    link = _open(address, b'GET /outer HTTP/1.1\r\nHOST' + length + inner)
    assert _answer(link).count(b'HTTP/1.1 ') == 1
