"""Making an index: piece by piece, by one process, so that a kill costs little.

  open_or_make(directory, about, pieces)   -> `index.Index`

A set is looked through in pieces (a shard, some hundred files), each written
at once when it is done. Beside the index, as long as it is being made:

  NAME.pieces/lock         held (flock) by the process that makes the index
  NAME.pieces/000012.npz   rows, texts and rejects of one piece, and its key

Whoever starts again uses the pieces whose files are still the same. Processes
that find the lock taken wait; it is freed with the process that held it, so
that none waits for a dead one. The index is the same in every case.
"""

import collections
import concurrent.futures
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from imagen_jax.data import index

_THREADS = 8  # pieces looked at together; they wait for the disk, mostly
_BLOCK = 8192  # rows in the digest's turn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
  """A part of a set."""

  state: Callable[[], object]  # JSON-able: files, sizes; another is another key
  scan: Callable[[], Iterable[index.Entry | index.Reject]]


def open_or_make(
  directory, about: dict, pieces: Callable[[], Iterable[Piece]]
) -> index.Index:
  """The index at `directory`; made of `pieces()` where there is none.

  Args:
    directory: of the index.
    about: kind, root, settings and files of the set, JSON-able.
    pieces: the parts of the set, in an order that is always the same.

  Raises ValueError where it is of another set or of other settings.
  """
  directory = pathlib.Path(directory)
  place = directory.with_name(f'{directory.name}.pieces')
  while not (directory / index.FILE).exists():
    lock = _open_lock(place, directory)
    if lock is None:
      continue  # the lock has just been tidied away: look again
    with lock:
      _wait(lock, directory)
      if not (directory / index.FILE).exists():
        _make(directory, place, about, pieces())
  return index.open_checked(directory, about)


def _open_lock(place, directory):
  try:
    place.mkdir(parents=True, exist_ok=True)
    return open(place / 'lock', 'w')
  except FileNotFoundError:
    return None
  except OSError as e:
    raise ValueError(
      f'the index cannot be written to {directory} ({e.strerror}); name '
      "another place, as index_dir='runs/index'"
    ) from e


def _wait(lock, directory):
  """Returns when this process alone makes the index."""
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    print(f'another process makes the index {directory}', file=sys.stderr)
    fcntl.flock(lock, fcntl.LOCK_EX)
  except OSError:
    pass  # no locks on this file system: several may work, to the same end


def _make(directory, place, about, pieces):
  """Collects the pieces, then writes the index from them."""
  print(f'making the index {directory}, once', file=sys.stderr)
  fresh = place / f'index_{uuid.uuid4().hex[:8]}'
  try:
    paths = _collect(place, about, pieces)
    fresh.mkdir()
    counts = _join(paths, fresh)
    if not counts['examples']:
      reasons = index.summary(counts['rejected'])
      raise ValueError(
        f'{about["root"]} holds no examples'
        + (f': {reasons}' if reasons else ', neither pictures nor captions')
      )
    with open(fresh / index.FILE, 'w', encoding='utf-8') as file:
      version = {'format_version': index.FORMAT_VERSION}
      json.dump({**version, **about, **counts}, file, indent=1)
    os.rename(fresh, directory)
  except OSError as e:
    # Without locks another may have been faster, with the same bytes.
    if not (directory / index.FILE).exists():
      raise ValueError(
        f'the index {directory} cannot be written ({e}); make room or name '
        "another place, as index_dir='runs/index'; what is done is kept"
      ) from e
  finally:
    shutil.rmtree(fresh, ignore_errors=True)
  shutil.rmtree(place, ignore_errors=True)


def _collect(place, about, pieces) -> list[pathlib.Path]:
  """The files of all pieces, those made that are not there."""
  base = [index.FORMAT_VERSION, about['kind'], about['settings']]
  paths, pending, shown = [], collections.deque(), time.monotonic()
  examples, kept = 0, 0
  pool = concurrent.futures.ThreadPoolExecutor(_THREADS)
  try:
    coming = iter(pieces)
    while True:
      while len(pending) < 2 * _THREADS and (one := next(coming, None)):
        paths.append(place / f'{len(paths):06d}.npz')
        pending.append(pool.submit(_do, paths[-1], base, one))
      if not pending:
        return paths
      found, was_there = pending.popleft().result()
      examples, kept = examples + found, kept + was_there
      if time.monotonic() - shown > 10:
        shown = time.monotonic()
        before = f', {kept:,} pieces from before' if kept else ''
        print(
          f'index of {about["root"]}: {examples:,} examples{before}',
          file=sys.stderr,
        )
  finally:
    pool.shutdown(cancel_futures=True)


def _do(path, base, piece):
  """(examples of a piece, whether it was there)."""
  raw = json.dumps([base, piece.state()]).encode()
  key = np.frombuffer(hashlib.blake2b(raw, digest_size=16).digest(), np.uint8)
  try:
    with np.load(path, allow_pickle=False) as before:
      if np.array_equal(before['key'], key):
        # Every array is read: a piece that was cut is none.
        return len([before[name] for name in _ARRAYS][0]), True
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    pass
  rows, texts, rejects, offset = [], [], [], 0
  for one in piece.scan():
    if isinstance(one, index.Reject):
      rejects.append(json.dumps(dataclasses.asdict(one)) + '\n')
      continue
    row, text = index.packed(one, offset)
    rows.append(row)
    texts.append(text)
    offset += len(text)
  partial = path.with_name(f'{path.name}.{uuid.uuid4().hex[:8]}')
  with open(partial, 'wb') as file:
    np.savez(
      file,
      key=key,
      rows=np.array(rows, index.ROW),
      texts=np.frombuffer(b''.join(texts), np.uint8),
      rejects=np.frombuffer(''.join(rejects).encode(), np.uint8),
    )
  os.replace(partial, path)
  return len(rows), False


_ARRAYS = ('rows', 'texts', 'rejects')


def _join(paths, fresh) -> dict:
  """Writes the files of the index from those of the pieces; its counts."""
  rejected = collections.Counter()
  examples = offset = 0
  with (
    open(fresh / 'rows.bin', 'wb') as row_file,
    open(fresh / 'texts.bin', 'wb') as text_file,
    open(fresh / 'rejected.jsonl', 'wb') as reject_file,
  ):
    for path in paths:
      with np.load(path, allow_pickle=False) as piece:
        rows, texts, rejects = (piece[name] for name in _ARRAYS)
      rows['text'] += offset
      offset, examples = offset + len(texts), examples + len(rows)
      row_file.write(rows.tobytes())
      text_file.write(texts.tobytes())
      reject_file.write(rejects.tobytes())
      for line in rejects.tobytes().splitlines():
        rejected[json.loads(line)['reason']] += 1
  return {
    'examples': examples,
    'text_bytes': offset,
    'rejected': dict(rejected),
    'digest': _digest(fresh) if examples else '',
  }


def _digest(fresh) -> str:
  """Names the examples and their order, whatever the pieces were."""
  rows = np.memmap(fresh / 'rows.bin', index.ROW, 'r')
  texts = np.memmap(fresh / 'texts.bin', np.uint8, 'r')
  digest = hashlib.blake2b(digest_size=8)
  for part in _blocks(rows):
    start, end = part[0]['text'], part[-1]['text'] + part[-1]['text_size']
    digest.update(texts[int(start) : int(end)])
    digest.update(part.tobytes())
  return digest.hexdigest()


def _blocks(rows) -> Iterator[np.ndarray]:
  for start in range(0, len(rows), _BLOCK):
    yield rows[start : start + _BLOCK]
