"""Batches made ahead: by threads of this process, or by Grain's processes.

Neither decides what is in a batch. `pipeline.Batches` answers for any row at
any time, so a run that resumes at batch k asks for batch k, and there is no
state of a loader to save and nothing to replay. Of Grain this takes the layer
of random access alone (MapDataset, and its worker processes with shared
memory): its own shuffling and batching keep positions of their own, which
would have to agree across hosts and be restored.

  stream(batches, start, loading)   yields batch start, start + 1, ...
"""

import concurrent.futures
import dataclasses
import itertools
import os

import absl.flags

from imagen_jax.data import pipeline

_ENDLESS = 1 << 60  # rows; Grain wants a length
_MAX_THREADS = 16  # more wait for the interpreter; use workers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loading:
  """How fast batches are made; not what is in them."""

  threads: int = 0  # that decode, in each process; 0 = one a core, up to 16
  workers: int = 0  # processes that decode, by Grain; 0 = threads alone
  ahead: int = 4  # batches made before they are asked for
  max_bad: float = 0.01  # share of examples that may be bad before it stops

  def __post_init__(self):
    if min(self.threads, self.workers) < 0 or self.ahead < 1:
      raise ValueError(
        f'Loading threads={self.threads}, workers={self.workers}, '
        f'ahead={self.ahead}: at least 0, 0 and 1'
      )


def stream(batches: pipeline.Batches, start: int, loading: Loading):
  """Yields the batches from number `start` on, without end."""
  if loading.workers and batches.random_access:
    rows = _by_workers(batches, start * len(batches), loading)
    return _collated(batches, rows)
  if batches.threaded:
    rows = _by_threads(batches, start * len(batches), loading)
    return _collated(batches, rows)
  return pipeline.prefetch(batches.batch, start, loading.ahead)


def _collated(batches, rows):
  try:
    while True:
      yield batches.collate(list(itertools.islice(rows, len(batches))))
  finally:
    rows.close()


def _by_threads(batches, first, loading):
  """Rows in order, made by several threads."""
  threads = loading.threads or min(_MAX_THREADS, len(os.sched_getaffinity(0)))
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    ahead = loading.ahead * len(batches)
    pending = [pool.submit(batches.row, first + i) for i in range(ahead)]
    following = first + ahead
    try:
      while True:
        ready = pending.pop(0).result()
        pending.append(pool.submit(batches.row, following))
        following += 1
        yield ready
    finally:
      for future in pending:
        future.cancel()


def _by_workers(batches, first, loading):
  """Rows in order, made by several processes."""
  try:
    import grain  # with its processes, more than a laptop needs
  except ImportError as e:
    raise ValueError(
      f'Loading.workers={loading.workers} needs Grain: pip install '
      "'imagen-jax[data]', or set workers=0 for threads"
    ) from e
  if not absl.flags.FLAGS.is_parsed():  # Grain's own, which no one gives
    absl.flags.FLAGS.mark_as_parsed()
  ahead = max(1, loading.ahead * len(batches) // loading.workers)
  options = grain.ReadOptions(
    num_threads=loading.threads or 1, prefetch_buffer_size=ahead
  )
  rows = grain.MapDataset.source(_Rows(batches.maker()))
  rows = rows.slice(slice(first, None)).to_iter_dataset(options)
  rows = rows.mp_prefetch(
    grain.MultiprocessingOptions(
      num_workers=loading.workers, per_worker_buffer_size=ahead
    )
  )
  yield from rows


@dataclasses.dataclass(frozen=True)
class _Rows:
  """All rows from 0 on, as the random access that Grain expects."""

  maker: pipeline.RowMaker

  def __len__(self):
    return _ENDLESS

  def __getitem__(self, number):
    return self.maker.row(int(number))
