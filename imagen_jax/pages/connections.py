"""Connections to a server: how long each may take, how many there may be.

A browser sends its request at once and leaves, or asks again later. Whoever
connects and says nothing, or a byte a second, holds a thread: each part of a
request has a time in all, and who waits longest makes room for who is new.
"""

import collections
import contextlib
import dataclasses
import io
import socket
import threading
import time

CONNECTIONS = 512  # at a time; a browser keeps up to six open
CLIENT = 128  # of them from one address
IDLE = 30  # seconds from one request to the beginning of the next
HEAD = 10  # seconds in which a request's first lines and headers arrive
SLOWEST = 50_000  # bytes a second that a body needs beside that, either way


def seconds(size: int) -> float:
  """In which a body of so many bytes has to arrive."""
  return HEAD + size / SLOWEST


class Incoming(io.RawIOBase):
  """Reads a socket up to a moment; then TimeoutError."""

  def __init__(self, connection: socket.socket):
    super().__init__()
    self._connection = connection
    self._end = 0.0
    self._later = None  # seconds from the first byte on

  def readable(self):
    return True

  def wait(self, idle: float, head: float) -> None:
    """A request: its first byte after `idle`, the rest `head` later."""
    self._end, self._later = time.monotonic() + idle, head

  def within(self, seconds: float) -> None:
    """Whatever is read from now on has arrived in so many seconds."""
    self._end, self._later = time.monotonic() + seconds, None

  def readinto(self, buffer):
    left = self._end - time.monotonic()
    if left <= 0:
      raise TimeoutError('the request takes too long')
    self._connection.settimeout(left)
    size = self._connection.recv_into(buffer)
    if self._later is not None:
      self.within(self._later)
    return size


class Outgoing(io.BufferedIOBase):
  """Collects an answer; `flush` sends it, within the time for its size."""

  def __init__(self, connection: socket.socket):
    super().__init__()
    self._connection = connection
    self._parts = []

  def writable(self):
    return True

  def write(self, data):
    self._parts.append(bytes(data))
    return len(data)

  def flush(self):
    data, self._parts = b''.join(self._parts), []
    if data:
      self._connection.settimeout(seconds(len(data)))
      self._connection.sendall(data)  # the time is that of all of it


@dataclasses.dataclass(eq=False)
class _Guest:
  connection: socket.socket
  client: str
  is_answered: bool = False  # now


class Room:
  """Who is connected, those that wait longest first.

  Args:
    most: connections at a time.
    each: of one address.
  """

  def __init__(self, most: int, each: int):
    self._most, self._each = most, each
    self._guests = collections.OrderedDict()  # by id of the connection
    self._lock = threading.Lock()

  def enter(self, connection: socket.socket, client: str) -> bool:
    """Lets one in, in the place of one that waits; False = there is no room."""
    with self._lock:
      all_ = list(self._guests.values())
      own = [guest for guest in all_ if guest.client == client]
      for guests, most in ((own, self._each), (all_, self._most)):
        if len(guests) >= most and not self._part_with(guests):
          return False
      self._guests[id(connection)] = _Guest(connection, client)
      return True

  def leave(self, connection: socket.socket) -> None:
    with self._lock:
      self._guests.pop(id(connection), None)

  @contextlib.contextmanager
  def answering(self, connection: socket.socket):
    """While a request is answered its connection makes room for nobody."""
    self._mark(connection, True)
    try:
      yield
    finally:
      self._mark(connection, False)

  def _mark(self, connection, is_answered):
    with self._lock:
      if guest := self._guests.get(id(connection)):
        guest.is_answered = is_answered
        self._guests.move_to_end(id(connection))

  def _part_with(self, guests):
    """Ends the connection of whoever waits longest; whether there was one."""
    for guest in guests:
      if not guest.is_answered and id(guest.connection) in self._guests:
        del self._guests[id(guest.connection)]
        with contextlib.suppress(OSError):  # gone by itself
          guest.connection.shutdown(socket.SHUT_RDWR)  # its thread wakes up
        return True
    return False
