"""The processes of one job, one on each host: joining, naming, leaving.

The same command runs on every host. On Cloud TPU, GKE and Slurm JAX knows the
others; elsewhere each is told:

  --coordinator=HOST:PORT --num_processes=4 --process_id=I

Process 0 alone writes metrics, pictures and stage files.

What JAX says of a lost connection names no process. So a thread of each looks,
at the coordinator of the job, whether somebody asks, and answers; who does not
answer has ended, or its machine is gone. A process that waits for an exchange
answers too. `roll_call` asks the same before JAX waits for all of them.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import traceback

import jax

from imagen_jax.config import flags
from imagen_jax.files import retrying
from imagen_jax.parallel import roll_call

# Seconds that processes wait at the end for the one that still draws.
_LEAVING = 1800
_LOOKS = 1.0  # seconds between two looks at whether somebody asks
_PATIENCE = 6  # seconds that an answer may take
_LINGERS = 10  # seconds that process 0 waits for others that leave too
_ASKED, _HERE, _TOLD = 'presence/asked/', 'presence/here/', 'presence/told/'


def add_flags(parser):
  """The flags of a job of several processes."""
  group = parser.add_argument_group(
    'several hosts', 'found out on Cloud TPU, GKE and Slurm; else all three'
  )
  group.add_argument(
    '--coordinator',
    metavar='HOST:PORT',
    help='where process 0 listens (default: found out, or one process)',
  )
  group.add_argument(
    '--num_processes',
    type=flags.whole('processes', 1, 1 << 20),
    metavar='N',
    help='processes of the job (default: found out, or 1)',
  )
  group.add_argument(
    '--process_id',
    type=flags.whole('number of a process', 0, 1 << 20),
    metavar='I',
    help='number of this one, from 0 (default: found out, or 0)',
  )
  group.add_argument(
    '--join_timeout',
    type=flags.whole('seconds', 1, 86_400),
    default=300,
    metavar='S',
    help='seconds until a process that does not come is named and the job '
    'ends (default: 300)',
  )


def join(args):
  """Joins the other processes, if there are any; before JAX is used.

  Raises ValueError naming what is missing: a flag, or a process.
  """
  given = (args.coordinator, args.num_processes, args.process_id)
  devices = None
  if given == (None, None, None):
    try:
      given, devices = _detected(args.join_timeout)
    except (ImportError, AttributeError, TypeError):
      return _join_as_jax_does(args.join_timeout)
    if given is None:
      return
  elif None in given:
    raise ValueError(
      '--coordinator, --num_processes and --process_id go together; '
      f'{_flag(given.index(None))} is missing'
    )
  address, count, index = given
  roll_call.address(address)
  if index >= count:
    raise ValueError(
      f'--process_id={index} of --num_processes={count}: they count from 0, '
      f'the last is {count - 1}'
    )
  if count == 1:
    return
  roll_call.attend(address, count, index, args.join_timeout)
  # See `agreements.settle`.
  jax.config.update('jax_cpu_enable_async_dispatch', False)
  jax.distributed.initialize(
    address,
    count,
    index,
    local_device_ids=devices,
    cluster_detection_method='deactivate',
    initialization_timeout=args.join_timeout,
    shutdown_timeout_seconds=_LEAVING,
  )
  _joined()


def _joined():
  # XLA now has a handler that swallows the signal. Until a run listens there is
  # nothing to save, and a process may go.
  with contextlib.suppress(ValueError):  # not the main thread
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
  answer()


def _flag(place):
  return ('--coordinator', '--num_processes', '--process_id')[place]


def _detected(timeout):
  """((coordinator, processes, number), devices) of this cluster; None = none.

  JAX has no public way to ask this without joining; raises ImportError,
  AttributeError or TypeError where a release of JAX has another than this one.
  """
  from jax._src import clusters

  *found, devices = clusters.ClusterEnv.auto_detect_unset_distributed_params(
    None, None, None, None, None, timeout
  )
  return (None if None in found else tuple(found)), devices


def _join_as_jax_does(timeout):
  """Joins by the public way: without a roll call who is missing has no name."""
  jax.config.update('jax_cpu_enable_async_dispatch', False)
  try:
    jax.distributed.initialize(
      initialization_timeout=timeout, shutdown_timeout_seconds=_LEAVING
    )
  except ValueError:  # it has found no cluster: one process
    jax.config.update('jax_cpu_enable_async_dispatch', True)
    return
  _joined()


def leave(code, missing=()):
  """Ends this process; one of several without JAX's own farewell.

  That would wait for the others, and these may wait for it in an exchange. But
  process 0 gives those who leave too some seconds to say why: JAX ends them
  where it is gone. `missing` are the numbers of those who are not there.
  """
  if jax.distributed.is_initialized():
    sys.stdout.flush()
    sys.stderr.flush()
    told(missing)
    os._exit(code)
  sys.exit(code)


def leave_in_error(error):
  """Called for an error that nobody expected: ends one process of several.

  Mostly it is that another one has ended: then that one is named.
  """
  if not jax.distributed.is_initialized():
    return
  here = f'process {jax.process_index()} of {jax.process_count()}'
  missing = absent()
  lost = missing and is_loss(error)
  if lost:
    names = ', '.join(map(str, missing))
    print(
      f'error: {here} stops: these do not answer any more: {names}; look at '
      'their hosts and logs. The same command on all hosts goes on from the '
      f'last checkpoint ({retrying.first_line(error)})',
      file=sys.stderr,
    )
  else:
    traceback.print_exception(error)
    print(
      f'error: {here} stops for the error above. The same command on all hosts '
      'goes on from the last checkpoint',
      file=sys.stderr,
    )
  leave(1, missing)


def is_first():
  """Whether this process writes what only one is to write."""
  return jax.process_index() == 0


def name():
  """Which process this is, in words."""
  if jax.process_count() == 1:
    return socket.gethostname()
  return (
    f'process {jax.process_index()} of {jax.process_count()} '
    f'({socket.gethostname()})'
  )


def coordinator():
  """The client of the job's coordinator; None = one process.

  Process 0 runs the coordinator, which keeps short texts (key_value_set,
  wait_at_barrier, ...); all reach it though their devices hang. JAX has no
  public way to it: where it is not found, one process does without, and several
  get a ValueError.
  """
  if not jax.distributed.is_initialized():
    return None
  try:
    from jax._src import distributed

    return distributed.global_state.client
  except (ImportError, AttributeError) as e:
    raise ValueError(
      f'jax {jax.__version__} keeps what several processes share where this '
      'release does not look for it; install a jax of before, or run one '
      'process'
    ) from e


def is_loss(error):
  """Whether an error says that another process cannot be reached any more.

  JAX raises one of its own then, but ValueError where a CPU's exchange fails.
  """
  return isinstance(error, jax.errors.JaxRuntimeError) or 'Gloo ' in str(error)


def answer():
  """Starts the thread; once, in each of several processes."""
  here = (coordinator(),)
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
  client, others = coordinator(), set(range(jax.process_count()))
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
  client, others = coordinator(), set(range(jax.process_count()))
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
