"""What the processes of one job tell one another, and when.

agree(problem)          all stop where one of them has to
together(errors)        a block that all leave alike
Meetings(title)         where one can say that it will not come
Agreement().largest(n)  one number from each, without waiting
Board(title)            short texts, while devices hang
whole(tree)             arrays whole on process 0
settle(tree)            one program after the other, where that is needed
"""

import collections
import contextlib
import functools
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from imagen_jax.parallel import processes

_PATIENCE = 3600  # seconds that processes wait for one that compiles
_LAG = 2  # steps after which all know what one process said
_LINE = 400  # bytes of a problem that are told to the others
_POLLS = (0.01, 0.5)  # seconds between two looks, at first and at most

_meetings = itertools.count()


def agree(problem=None):
  """Raises Problem on all processes where one of them has a problem.

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
        raise Problem(f'{said} (process {index})')
  elif problem:
    raise Problem(problem)


def fail_to_meet():
  """Meets others where they wait for all: AssertionError for them.

  Where nobody is waiting there, all come here and nothing is raised.
  """
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    with contextlib.suppress(AssertionError):
      multihost_utils.sync_global_devices('failed')


class Problem(ValueError):
  """What one process told, so that all of them stop."""


class Missed(ValueError):
  """Another process has failed, so that all of them have to stop."""


@contextlib.contextmanager
def together(errors):
  """Used by all processes: where one raises of `errors`, none goes on.

  The others get Missed. In the block they may meet by JAX's
  `sync_global_devices`, as orbax does: who fails there meets them.
  """
  if jax.process_count() == 1:
    yield
    return
  from jax.experimental import multihost_utils

  try:
    yield
    multihost_utils.sync_global_devices('together')
  except errors as e:
    if not processes.is_loss(e):  # else there is nobody to meet
      fail_to_meet()
    raise
  except AssertionError as e:
    raise Missed('another process could not do its part') from e


class Meetings:
  """Meetings of all processes in one undertaking after the other.

  For threads: no device takes part. Who can come to no more meetings of an
  undertaking says so, and the others do not wait.
  """

  def __init__(self, title):
    self._client = processes.coordinator()  # None = one process
    self._title = f'imagen_jax/{title}/{next(_meetings)}'
    self._number = 0

  def _place(self, number):
    return f'{self._title}/{number}/'

  def begin(self):
    """The next undertaking; no thread is in one before it."""
    self._number += 1
    # One may still look at the meetings of the last, none at those before.
    if self._client is not None and self._number > 2 and processes.is_first():
      self._client.key_value_delete(self._place(self._number - 2))

  def meet(self, name, seconds):
    """Returns when all are here; raises Missed where one will not come."""
    if self._client is None:
      return
    place, number = self._place(self._number), jax.process_index()
    self._client.key_value_set(f'{place}{name}/{number}', '')
    end, (pause, longest) = time.monotonic() + seconds, _POLLS
    while True:
      found = dict(self._client.key_value_dir_get(place))
      here = [key for key in found if key.startswith(f'{place}{name}/')]
      if len(here) == jax.process_count():
        return
      for key, reason in found.items():
        if key.startswith(f'{place}failed/'):
          raise Missed(f'process {key.rpartition("/")[2]}: {reason}')
      if time.monotonic() > end:
        raise Missed(f'only {len(here)} processes came within {seconds:.0f} s')
      time.sleep(pause)
      pause = min(longest, 1.5 * pause)

  def fail(self, reason):
    """Says that this process will not come to meetings of this undertaking."""
    if self._client is not None:
      key = f'{self._place(self._number)}failed/{jax.process_index()}'
      self._client.key_value_set(key, reason, allow_overwrite=True)


def meet():
  """Returns when all processes are here; no device takes part.

  On CPUs the first exchange among some devices fails where another process
  comes half a minute later: one that compiles on a busy machine.
  """
  client = processes.coordinator()
  if client is not None:
    name = f'imagen_jax/{next(_meetings)}'
    client.wait_at_barrier(name, timeout_in_ms=1000 * _PATIENCE)


def compiled(function, *args):
  """A jitted function that all processes have compiled for these arguments."""
  if jax.process_count() == 1:
    return function
  function = function.lower(*args).compile()
  meet()
  return function


def settle(tree):
  """Returns the tree; on CPUs in several processes, when it is there.

  There two programs may run at once although they were called one after the
  other (the first may wait for its input to be copied), and exchange in another
  order than those of the other processes: all would wait for ever, or take one
  number for another.
  """
  if jax.process_count() > 1 and jax.default_backend() == 'cpu':
    jax.block_until_ready(tree)
  return tree


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
    self._pending.append(settle(_largest()(self._sent[value])))
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


class Board:
  """Short texts that processes leave for one another, while devices hang.

  The coordinator of the job keeps them.
  """

  def __init__(self, title):
    self._title = title
    self._client = processes.coordinator()  # None = one process

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
  return arrays if processes.is_first() else None


def _gathered(x):
  """One array as numpy on process 0."""
  if not x.is_fully_replicated:
    x = _replicate(NamedSharding(x.sharding.mesh, PartitionSpec()))(x)
    settle(x)
  return np.asarray(x.addressable_data(0)) if processes.is_first() else None


@functools.cache
def _replicate(sharding):
  return jax.jit(lambda x: x, out_shardings=sharding)
