"""Writes the shards of a cache, each whole or not at all.

A shard is written under a temporary name, synced and renamed; killed at any
moment, the directory holds whole shards and at most one temporary file, which
the next run replaces.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from array_record.python import array_record_module

from imagen_jax.text import cache, quantization

LOCK_FILE = '.lock'
# One record a chunk, as reading at random wants it; floats do not compress.
_OPTIONS = 'group_size:1,uncompressed'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
  """One caption of a shard."""

  digest: bytes  # of the caption
  values: np.ndarray  # float32 [n, d], true tokens
  truncated: bool  # whether it was longer than the encoder takes


def own_shards(shards: int, host: int, hosts: int) -> range:
  """The shards that one host of a job makes."""
  return range(host, shards, hosts)


def adopt(directory: str, manifest: cache.Manifest) -> None:
  """Makes `directory` the cache of `manifest`, or checks that it is.

  Raises ValueError naming the first thing that differs.
  """
  path = pathlib.Path(directory)
  path.mkdir(parents=True, exist_ok=True)
  if (path / cache.FILE).exists():
    there = cache.read_manifest(directory)
    found = cache.difference(cache.to_json(there), cache.to_json(manifest))
    if found:
      raise ValueError(
        f'{directory} holds another cache: {found}; give another --out'
      )
  elif any(path.glob('shard_*')):
    raise ValueError(
      f'{directory} holds shards but no {cache.FILE}; give another --out'
    )
  else:
    cache.write_manifest(directory, manifest)


@contextlib.contextmanager
def lock(directory: str, shards: Sequence[int]):
  """Makes the directory, and keeps others from the same shards meanwhile.

  Byte n of the lock file stands for shard n, so that hosts of one job do not
  disturb one another. The system lets go when the process ends, however.
  """
  path = pathlib.Path(directory) / LOCK_FILE
  path.parent.mkdir(parents=True, exist_ok=True)
  with open(path, 'ab') as file:
    for shard in shards:
      try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, shard)
      except (BlockingIOError, PermissionError) as e:
        raise ValueError(
          f'{directory}: another process is writing shard {shard}; wait for '
          'it, or give the hosts of one job different --host and the same '
          '--hosts'
        ) from e
    yield


def missing(directory: str, manifest: cache.Manifest, shards) -> list[int]:
  """Those of `shards` that are not there yet."""
  return [
    shard
    for shard in shards
    if not cache.shard_path(directory, shard, manifest.shards).exists()
  ]


def write_shard(
  directory: str,
  manifest: cache.Manifest,
  shard: int,
  entries: Sequence[Entry],
) -> int:
  """Writes one shard and returns its size in bytes.

  The same entries in any order give the same bytes. Raises ValueError where
  there is no room; what was finished before stays.
  """
  entries = sorted(entries, key=lambda entry: entry.digest)
  divisors = None
  if manifest.dtype == 'int8':
    empty = np.zeros((0, manifest.width), np.float32)
    every = np.concatenate([empty, *(entry.values for entry in entries)])
    divisors = quantization.channel_divisors(every)
  index = cache.Index(
    digests=np.frombuffer(
      b''.join(entry.digest for entry in entries), np.uint8
    ).reshape(-1, cache.DIGEST_BYTES),
    lengths=np.array([len(entry.values) for entry in entries], np.int32),
    truncated=np.array([entry.truncated for entry in entries], bool),
    divisors=divisors,
  )
  path = cache.shard_path(directory, shard, manifest.shards)
  fresh = path.with_name(f'.{path.name}.tmp')
  try:
    writer = array_record_module.ArrayRecordWriter(str(fresh), _OPTIONS)
    for entry in entries:
      writer.write(quantization.encode(entry.values, manifest.dtype, divisors))
    writer.write(cache.pack_index(index, shard, manifest.id))
    writer.close()
    with open(fresh, 'rb') as file:
      os.fsync(file.fileno())
    os.replace(fresh, path)
  except (RuntimeError, OSError) as e:
    fresh.unlink(missing_ok=True)
    reason = str(e).splitlines()[0].split(';')[0]
    raise ValueError(
      f'{path.name} could not be written to {directory}: {reason}; the shards '
      'finished before are whole: make room and run the same command again'
    ) from e
  return path.stat().st_size
