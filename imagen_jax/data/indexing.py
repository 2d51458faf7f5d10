"""Making an index: piece by piece, by one process, so that a kill costs little.

  open_or_make(directory, about, pieces)   -> `index.Index`

A set is looked through in pieces (a shard, some hundred files), each written
at once when it is done. Beside the index, as long as it is being made:

  NAME.pieces/lock         held (flock) by the process that makes the index
  NAME.pieces/000012.npz   rows, texts and rejects of one piece, and its key

Whoever starts again uses the pieces whose files are still the same. Processes
that find the lock taken wait; it is freed with the process that held it, so
that none waits for a dead one. The index is the same in every case.

An index knows the files of each piece, by name, size and time of change. When
it is opened these are looked at, and where some are other ones now it is
renewed, from the pieces of the old one that still hold and the others.
"""

import collections
import concurrent.futures
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from imagen_jax.data import index, index_parts

_THREADS = 8  # pieces looked at together; they wait for the disk, mostly
_BLOCK = 8192  # rows in the digest's turn
_REASONS = 100  # that are counted apart: some name what a file has


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
  """A part of a set."""

  state: Callable[[], object]  # JSON-able: files, sizes; another is another key
  scan: Callable[[], Iterable[index.Entry | index.Reject | index.Passed]]
  file: int = 0  # number in the set's `files` of what it is of


def open_or_make(
  directory, about: dict, pieces: Callable[[], Iterable[Piece]]
) -> index.Index:
  """The index at `directory`, made or renewed where it has to be.

  Args:
    directory: of the index.
    about: kind, root, settings and files of the set, JSON-able.
    pieces: the parts of the set, in an order that is always the same.

  Raises ValueError where it is of another set or of other settings.
  """
  directory = pathlib.Path(directory)
  place = directory.with_name(f'{directory.name}.pieces')
  while True:
    found = index.opened(directory)
    if found is not None:
      index.check(found, about)
      if found.about['state'] == _state(about, pieces()):
        return found
    lock = _open_lock(place, directory)
    if lock is None:
      continue  # the lock has just been tidied away: look again
    with lock:
      _wait(lock, directory)
      if not _is_there(lock, place / 'lock'):
        continue  # who held it has tidied it away
      found = index.opened(directory)  # another process may have made it
      if found is None or found.about['state'] != _state(about, pieces()):
        _make(directory, place, about, pieces(), found)
      return index.Index(directory)


def _state(about, pieces) -> str:
  """Names the files that all pieces depend on, as they are now."""
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    keys = pool.map(functools.partial(_key, _base(about)), pieces)
    return _joined_keys(key.hex() for key in keys)


def _joined_keys(keys):
  digest = hashlib.blake2b(digest_size=16)
  for key in keys:
    digest.update(key.encode())
  return digest.hexdigest()


def _base(about):
  return [index.FORMAT_VERSION, about['kind'], about['settings']]


def _key(base, piece) -> bytes:
  raw = json.dumps([base, piece.state()]).encode()
  return hashlib.blake2b(raw, digest_size=16).digest()


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


def _is_there(lock, path):
  try:
    return os.path.samestat(os.fstat(lock.fileno()), os.stat(path))
  except FileNotFoundError:
    return False


def _wait(lock, directory):
  """Returns when this process alone makes the index."""
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    print(f'another process makes the index {directory}', file=sys.stderr)
    fcntl.flock(lock, fcntl.LOCK_EX)
  except OSError:
    pass  # no locks on this file system: several may work, to the same end


def _make(directory, place, about, pieces, before):
  """Collects the pieces, then writes the index from them.

  `before` is the index of an older state of the set, or None.
  """
  _say_why(directory, about, before)
  fresh = place / f'index_{uuid.uuid4().hex[:8]}'
  try:
    paths = _collect(place, about, pieces, before)
    fresh.mkdir()
    counts = _join(paths, fresh)
    if not counts['examples']:
      raise ValueError(f'{about["root"]} holds no examples{_nothing(counts)}')
    with open(fresh / index.FILE, 'w', encoding='utf-8') as file:
      version = {'format_version': index.FORMAT_VERSION}
      json.dump({**version, **about, **counts}, file, indent=1)
    if (directory / index.FILE).exists():
      os.rename(directory, place / f'old_{uuid.uuid4().hex[:8]}')
    os.rename(fresh, directory)
  except OSError as e:
    # Without locks another may have been faster, with the same bytes.
    if before is not None or not (directory / index.FILE).exists():
      raise ValueError(
        f'the index {directory} cannot be written ({e}); make room or name '
        "another place, as index_dir='runs/index'; what is done is kept"
      ) from e
  finally:
    shutil.rmtree(fresh, ignore_errors=True)
  shutil.rmtree(place, ignore_errors=True)
  _say_what(about, counts, before)


def _say_why(directory, about, before):
  if before is None:
    print(f'making the index {directory}, once', file=sys.stderr)
    return
  here = json.loads(json.dumps(about['files']))
  print(
    f'the index {directory} is of an older state of {about["root"]} '
    f'({index.change(before.about["files"], here)}): it is renewed',
    file=sys.stderr,
  )


def _say_what(about, counts, before):
  """What is left out, and how a renewed index differs from the old one."""
  root = about['root']
  if before is not None:
    print(
      f'{root}: {before.about["examples"]:,} examples before, '
      f'{counts["examples"]:,} now',
      file=sys.stderr,
    )
  rejected = {
    reason: [n, counts['such'][reason]]
    for reason, n in counts['rejected'].items()
  }
  for what, some in (('rejected', rejected), ('passed over', counts['passed'])):
    if some:
      print(f'{root}: {what}: {index.told(some)}', file=sys.stderr)


def _nothing(counts):
  """Why there are no examples, in words."""
  said = index.summary(counts['rejected'])
  if counts['passed']:
    said += f'{", " if said else ""}passed over: {index.told(counts["passed"])}'
  return f': {said}' if said else ', neither pictures nor captions'


def _collect(place, about, pieces, before) -> list[tuple[pathlib.Path, int]]:
  """(path, file) of all pieces, those made that are not there."""
  base, old = _base(about), index_parts.Old(before)
  paths, pending, shown = [], collections.deque(), time.monotonic()
  examples, kept = 0, 0
  pool = concurrent.futures.ThreadPoolExecutor(_THREADS)
  try:
    coming = iter(pieces)
    while True:
      while len(pending) < 2 * _THREADS and (one := next(coming, None)):
        path = place / f'{len(paths):06d}.npz'
        paths.append((path, one.file))
        pending.append(pool.submit(_do, path, base, one, old))
      if not pending:
        return paths
      found, was_there = pending.popleft().result()
      examples, kept = examples + found, kept + was_there
      if time.monotonic() - shown > 10:
        shown = time.monotonic()
        earlier = f', {kept:,} pieces from before' if kept else ''
        print(
          f'index of {about["root"]}: {examples:,} examples{earlier}',
          file=sys.stderr,
        )
  finally:
    pool.shutdown(cancel_futures=True)


def _do(path, base, piece, old):
  """(examples of a piece, whether it was there)."""
  key = _key(base, piece)
  found = index_parts.read(path, key)
  if found is not None:
    return len(found.rows), True
  found = old.find(key.hex())
  part = index_parts.scanned(piece.scan()) if found is None else found
  index_parts.write(path, key, part)
  return len(part.rows), found is not None


def _join(paths, fresh) -> dict:
  """Writes the files of the index from those of the pieces; its counts."""
  rejected, such, passed = collections.Counter(), {}, {}
  examples = offset = 0
  keys = []
  with (
    open(fresh / 'rows.bin', 'wb') as row_file,
    open(fresh / 'texts.bin', 'wb') as text_file,
    open(fresh / 'rejected.jsonl', 'wb') as reject_file,
    open(fresh / index.PIECES, 'w', encoding='utf-8') as piece_file,
  ):
    for path, number in paths:
      with np.load(path, allow_pickle=False) as piece:
        key = piece['key'].tobytes().hex()
        arrays = {name: piece[name] for name in index_parts.ARRAYS}
      part = index_parts.Part(**arrays)
      part.rows['text'] += np.uint64(offset)
      part.rows['file'] = number
      offset, examples = offset + len(part.texts), examples + len(part.rows)
      row_file.write(part.rows.tobytes())
      text_file.write(part.texts.tobytes())
      reject_file.write(part.rejects.tobytes())
      keys.append(key)
      beside = json.loads(part.passed.tobytes())
      piece_file.write(json.dumps(index_parts.sizes(key, part, beside)) + '\n')
      for line in part.rejects.tobytes().splitlines():
        one = json.loads(line)
        reason = one['reason']
        if reason not in rejected and len(rejected) >= _REASONS:
          reason = 'other reasons'
        rejected[reason] += 1
        such.setdefault(reason, one['id'])
      for reason, (n, name) in beside.items():
        count, first = passed.get(reason, (0, name))
        passed[reason] = [count + n, first]
  return {
    'examples': examples,
    'text_bytes': offset,
    'rejected': dict(rejected),
    'such': such,
    'passed': passed,
    'state': _joined_keys(keys),
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
