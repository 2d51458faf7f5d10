"""The processes of one job, one on each host: joining, naming, leaving.

The same command runs on every host. On Cloud TPU, GKE and Slurm JAX knows the
others; elsewhere each is told:

  --coordinator=HOST:PORT --num_processes=4 --process_id=I

Process 0 alone writes metrics, pictures and stage files.
"""

import contextlib
import os
import signal
import socket
import sys
import traceback

import jax

from imagen_jax import flags, presence, retrying, roll_call

# Seconds that processes wait at the end for the one that still draws.
_LEAVING = 1800


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
    given, devices = _detected(args.join_timeout)
    if given is None:
      return
  elif None in given:
    raise ValueError(
      '--coordinator, --num_processes and --process_id go together; '
      f'{_flag(given.index(None))} is missing'
    )
  coordinator, count, index = given
  roll_call.address(coordinator)
  if index >= count:
    raise ValueError(
      f'--process_id={index} of --num_processes={count}: they count from 0, '
      f'the last is {count - 1}'
    )
  if count == 1:
    return
  roll_call.attend(coordinator, count, index, args.join_timeout)
  # See `exchanges.settle`.
  jax.config.update('jax_cpu_enable_async_dispatch', False)
  jax.distributed.initialize(
    coordinator,
    count,
    index,
    local_device_ids=devices,
    cluster_detection_method='deactivate',
    initialization_timeout=args.join_timeout,
    shutdown_timeout_seconds=_LEAVING,
  )
  # XLA now has a handler that swallows the signal. Until a run listens there is
  # nothing to save, and a process may go.
  with contextlib.suppress(ValueError):  # not the main thread
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
  presence.answer()


def _flag(place):
  return ('--coordinator', '--num_processes', '--process_id')[place]


def _detected(timeout):
  """((coordinator, processes, number), devices) of this cluster; None = none.

  JAX has no public way to ask this without joining.
  """
  from jax._src import clusters

  *found, devices = clusters.ClusterEnv.auto_detect_unset_distributed_params(
    None, None, None, None, None, timeout
  )
  return (None if None in found else tuple(found)), devices


def leave(code, missing=()):
  """Ends this process; one of several without JAX's own farewell.

  That would wait for the others, and these may wait for it in an exchange. But
  process 0 gives those who leave too some seconds to say why: JAX ends them
  where it is gone. `missing` are the numbers of those who are not there.
  """
  if jax.distributed.is_initialized():
    sys.stdout.flush()
    sys.stderr.flush()
    presence.told(missing)
    os._exit(code)
  sys.exit(code)


def leave_in_error(error):
  """Called for an error that nobody expected: ends one process of several.

  Mostly it is that another one has ended: then that one is named.
  """
  if not jax.distributed.is_initialized():
    return
  here = f'process {jax.process_index()} of {jax.process_count()}'
  missing = presence.absent()
  lost = missing and presence.is_loss(error)
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
