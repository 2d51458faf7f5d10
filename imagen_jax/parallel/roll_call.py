"""Who of a job's processes is there, asked before JAX waits for all of them.

JAX's own wait for the processes of a job ends, when its time is up, in an abort
that names no one. So process 0 listens for a moment where its coordinator is
about to, the others report there, and whoever is missing is named to all.

  attend('10.0.0.2:8476', 4, 1, timeout=300)
"""

import json
import selectors
import socket
import time

from imagen_jax.files import json_files

_PAUSE = 0.5  # seconds between two tries to reach process 0


def attend(coordinator, count, index, timeout):
  """Returns when all processes are there; all of them call it.

  Args:
    coordinator: HOST:PORT of process 0.
    count: processes of the job.
    index: number of this one.
    timeout: seconds.

  Raises ValueError, on every process that is there, naming the missing.
  """
  host, port = address(coordinator)
  if index == 0:
    problem = _call(port, count, timeout)
  else:
    problem = _report((host, port), count, index, timeout)
  if problem:
    raise ValueError(problem)


def address(text):
  """'HOST:PORT' -> (host, port)."""
  host, _, port = text.rpartition(':')
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise ValueError(
      f'{text!r} is no address of a coordinator; write HOST:PORT, such as '
      '10.0.0.2:8476'
    )
  return host.strip('[]'), int(port)


def _call(port, count, timeout):
  """Process 0: waits for the others, tells them what it found."""
  try:
    server = socket.create_server(('', port))
  except OSError as e:
    return f'port {port} of process 0 cannot be listened on: {e}; give another'
  end, problem = time.monotonic() + timeout, None
  there, answered = set(), []
  waiting = selectors.DefaultSelector()
  with server, waiting:
    server.setblocking(False)
    waiting.register(server, selectors.EVENT_READ)
    while len(there) < count - 1 and problem is None:
      if (left := end - time.monotonic()) <= 0:
        problem = _missing(set(range(1, count)) - there, count, timeout)
      for key, _ in waiting.select(max(0.0, left)):
        if key.fileobj is server:
          one, _ = server.accept()
          one.settimeout(5)
          waiting.register(one, selectors.EVENT_READ, data='')
          continue
        one, said = key.fileobj, _line(key.fileobj)
        waiting.unregister(one)
        if said is None:  # gone again, or not one of ours
          one.close()
          continue
        problem = _unfit(said, count, there)
        there.add(said['index'])
        answered.append(one)
    for one in answered:
      with one:
        _tell(one, problem)
  return problem


def _missing(absent, count, timeout):
  names = ', '.join(map(str, sorted(absent)))
  return (
    f'of {count} processes these did not join within {timeout} s: {names}; '
    'look at their hosts and logs, then start all of them again'
  )


def _unfit(said, count, there):
  """What is wrong with the report of a process, or None."""
  index, host = said['index'], said['host']
  if said['count'] != count:
    return (
      f'process {index} on {host} was told of {said["count"]} processes, '
      f'process 0 of {count}; give all the same number'
    )
  if index in there:
    return (
      f'process {index} is there twice, the second time on {host}; give each '
      'a number of its own'
    )
  return None


def _report(place, count, index, timeout):
  """Another process: reports, and hears what process 0 found."""
  end, reason = time.monotonic() + timeout, 'no answer'
  hello = {'index': index, 'count': count, 'host': socket.gethostname()}
  while (left := end - time.monotonic()) > 0:
    try:
      with socket.create_connection(place, timeout=min(5, left)) as one:
        one.sendall(json.dumps(hello).encode() + b'\n')
        # Process 0 may have started first: its time is up before ours.
        one.settimeout(left + 10)
        if said := _line(one):
          return said['problem']
    except OSError as e:
      reason = str(e)
    time.sleep(min(_PAUSE, max(0.0, left)))
  return (
    f'process 0 could not be reached at {place[0]}:{place[1]} within '
    f'{timeout} s ({reason}); it did not join, or the address is another'
  )


def _line(one):
  """The JSON object that the other side sends; None where it sends none."""
  try:
    text = one.makefile('rb').readline(10_000)
    said = json_files.parse(text, 'a line')  # bounds how deep it is
    return said if isinstance(said, dict) else None
  except (OSError, ValueError):
    return None


def _tell(one, problem):
  try:
    one.sendall(json.dumps({'problem': problem}).encode() + b'\n')
    one.shutdown(socket.SHUT_WR)
    one.settimeout(2)
    one.recv(1)  # the other side closes first: the port is free at once
  except OSError:
    pass  # it has gone; JAX's own wait will tell
