"""The processes of one job, one on each host: joining, agreeing, leaving.

The same command runs on every host. On Cloud TPU, GKE and Slurm JAX knows the
others; elsewhere each is told:

  --coordinator=HOST:PORT --num_processes=4 --process_id=I

Process 0 alone writes metrics, pictures and stage files.
"""

import collections
import contextlib
import functools
import os
import signal
import socket
import sys
import traceback

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from imagen_jax import flags, roll_call

_LAG = 2  # steps after which all know what one process said
# Seconds that processes wait at the end for the one that still draws.
_LEAVING = 1800
_LINE = 400  # bytes of a problem that are told to the others


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
  # On CPUs two programs may run at once, and exchange in another order than
  # those of the other processes: all would wait for ever.
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


def leave(code):
  """Ends this process; one of several at once.

  Leaving in an orderly way waits for the others, and these wait for it.
  """
  if jax.distributed.is_initialized():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


def leave_in_error():
  """Called for an error that nobody expected: ends one process of several.

  Mostly it is that another one has ended, which says why.
  """
  if not jax.distributed.is_initialized():
    return
  traceback.print_exc()
  print(
    f'error: process {jax.process_index()} of {jax.process_count()} stops for '
    'the error above; if it tells of a lost connection, another process ended '
    'first and its log says why. The same command on all hosts goes on from '
    'the last checkpoint',
    file=sys.stderr,
  )
  leave(1)


def is_first():
  """Whether this process writes what only one is to write."""
  return jax.process_index() == 0


def agree(problem=None):
  """Raises ValueError on all processes where one of them has a problem.

  All of them call it; `problem` is a line of text or None.
  """
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    line = (problem or '').encode()[:_LINE]
    mine = np.zeros(_LINE, np.uint8)
    mine[: len(line)] = np.frombuffer(line, np.uint8)
    for index, row in enumerate(multihost_utils.process_allgather(mine)):
      if row.any():
        said = bytes(row).rstrip(b'\0').decode(errors='replace')
        raise ValueError(f'{said} (process {index})')
  elif problem:
    raise ValueError(problem)


def fail_to_meet():
  """Meets others where they wait for all: AssertionError for them.

  Where nobody is waiting there, all come here and nothing is raised.
  """
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    with contextlib.suppress(AssertionError):
      multihost_utils.sync_global_devices('failed')


class Agreement:
  """A number from each process; the largest is known to all a little later.

  All processes ask once a step and get the same answer at the same step. The
  answer is some steps old, so that nobody waits for a step that is still
  running.
  """

  def __init__(self):
    self._pending = collections.deque()
    self._sent = {}  # value -> the array that says it

  def largest(self, value):
    """The largest of the values given `_LAG` calls ago, 0 before that."""
    if jax.process_count() == 1:
      return value
    if value not in self._sent:
      self._sent[value] = _one_each(value)
    self._pending.append(_largest()(self._sent[value]))
    if len(self._pending) <= _LAG:
      return 0
    return int(self._pending.popleft())


@functools.cache
def _all_devices():
  return jax.make_mesh(
    (jax.device_count(),),
    ('all',),
    devices=jax.devices(),
    axis_types=(jax.sharding.AxisType.Auto,),
  )


def _one_each(value):
  """int32 [devices], those of this process with `value`."""
  sharding = NamedSharding(_all_devices(), PartitionSpec('all'))
  return jax.make_array_from_callback(
    (jax.device_count(),), sharding, lambda _: np.full([1], value, np.int32)
  )


@functools.cache
def _largest():
  replicated = NamedSharding(_all_devices(), PartitionSpec())
  return jax.jit(jnp.max, out_shardings=replicated)


def name():
  """Which process this is, in words."""
  if jax.process_count() == 1:
    return socket.gethostname()
  return (
    f'process {jax.process_index()} of {jax.process_count()} '
    f'({socket.gethostname()})'
  )


class Board:
  """Short texts that processes leave for one another, while devices hang.

  The coordinator of the job keeps them; JAX has no public way to it.
  """

  def __init__(self, title):
    from jax._src import distributed

    self._title = title
    self._client = distributed.global_state.client  # None = one process

  def write(self, text):
    """Puts up the text of this process, in the place of its last."""
    if self._client is not None:
      place = f'{self._title}/{jax.process_index()}'
      self._client.key_value_set(place, text, allow_overwrite=True)

  def read(self):
    """{process: text} of those that have put up one."""
    if self._client is None:
      return {}
    found = self._client.key_value_dir_get(f'{self._title}/')
    return {int(place.rpartition('/')[2]): text for place, text in found}


def whole(tree):
  """The tree with each array whole, on process 0; None on the others.

  All processes call it. Array by array: all at once may be more than a device
  can hold.
  """
  if jax.process_count() == 1:
    return tree
  arrays = jax.tree.map(_gathered, tree)
  return arrays if is_first() else None


def _gathered(x):
  """One array as numpy on process 0."""
  if not x.is_fully_replicated:
    x = _replicate(NamedSharding(x.sharding.mesh, PartitionSpec()))(x)
    # All wait: on CPUs a process that runs ahead exchanges in another order.
    x.block_until_ready()
  return np.asarray(x.addressable_data(0)) if is_first() else None


@functools.cache
def _replicate(sharding):
  return jax.jit(lambda x: x, out_shardings=sharding)
