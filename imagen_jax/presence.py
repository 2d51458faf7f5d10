"""Who of a job's processes is still there, asked when an exchange has failed.

What JAX says of a lost connection names no process. So a thread of each looks,
at the coordinator of the job, whether somebody asks, and answers; who does not
answer has ended, or its machine is gone. A process that waits for an exchange
answers too.
"""

import threading
import time

import jax

from imagen_jax import coordinator

_LOOKS = 1.0  # seconds between two looks at whether somebody asks
_PATIENCE = 6  # seconds that an answer may take
_LINGERS = 10  # seconds that process 0 waits for others that leave too
_ASKED, _HERE, _TOLD = 'presence/asked/', 'presence/here/', 'presence/told/'


def is_loss(error):
  """Whether an error says that another process cannot be reached any more.

  JAX raises one of its own then, but ValueError where a CPU's exchange fails.
  """
  return isinstance(error, jax.errors.JaxRuntimeError) or 'Gloo ' in str(error)


def answer():
  """Starts the thread; once, in each of several processes."""
  here = (coordinator.client(),)
  threading.Thread(target=_answer, args=here, daemon=True).start()


def _answer(client):
  try:
    while not client.key_value_dir_get(_ASKED):
      time.sleep(_LOOKS)
    _put(client, _HERE)
  except jax.errors.JaxRuntimeError:
    pass  # process 0 has ended: nobody can be asked


def absent():
  """Numbers of the processes that do not answer; takes some seconds."""
  client, others = coordinator.client(), set(range(jax.process_count()))
  try:
    _put(client, _ASKED)
    _put(client, _HERE)
    missing = _wait_for(client, _HERE, others, _PATIENCE)
  except jax.errors.JaxRuntimeError:
    return [0]
  return sorted(missing)


def told(missing):
  """Called by who has said why it leaves; process 0 stays until all have.

  For some seconds, and not for the missing.
  """
  client, others = coordinator.client(), set(range(jax.process_count()))
  try:
    _put(client, _TOLD)
    if jax.process_index() == 0:
      _wait_for(client, _TOLD, others - set(missing), _LINGERS)
  except jax.errors.JaxRuntimeError:
    pass


def _put(client, place):
  client.key_value_set(f'{place}{jax.process_index()}', '', True)


def _wait_for(client, place, processes, seconds):
  """Those of the processes that have not put up anything in time."""
  end = time.monotonic() + seconds
  while True:
    found = client.key_value_dir_get(place)
    missing = processes - {int(key.rpartition('/')[2]) for key, _ in found}
    if not missing or time.monotonic() > end:
      return missing
    time.sleep(_LOOKS / 4)
