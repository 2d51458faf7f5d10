"""Reads a cache of embeddings: captions -> text [b, l, d] and mask [b, l].

Shards are opened when first asked for, and the index of each is kept; records
are read at random, checked by the checksum that ArrayRecord keeps of each.
"""

import collections
import pathlib
import threading
from collections.abc import Iterator, Sequence

import ml_dtypes
import numpy as np
from array_record.python import array_record_module

from imagen_jax.text import cache, quantization

_OPEN_SHARDS = 256  # files held open, below the usual limit of 1,024
_OPTIONS = 'readahead_buffer_size:0'  # records are asked for in any order


class Reader:
  """An open cache directory; safe to use from several threads."""

  def __init__(self, directory: str):
    """Opens a complete cache; raises ValueError with one line otherwise."""
    self.directory = pathlib.Path(directory)
    self.manifest = cache.read_manifest(directory)
    there = {path.name for path in self.directory.iterdir()}
    shards = self.manifest.shards
    missing = [n for n in range(shards) if self._path(n).name not in there]
    if missing:
      raise ValueError(
        f'{directory} is not complete: {len(missing)} of {shards} shards are '
        f'missing, the first is {self._path(missing[0]).name}; run the same '
        'python -m imagen_jax.embed again, it goes on where it stopped'
      )
    self._lock = threading.Lock()
    self._open = collections.OrderedDict()  # shard -> reader, oldest first
    self._indices = {}  # shard -> Index

  def records(
    self, captions: Sequence[str]
  ) -> list[tuple[bytes, np.ndarray | None]]:
    """Each caption's (bytes, divisors of its shard), as they are stored.

    Raises ValueError naming the first caption that is not in the cache.
    """
    names = [cache.digest(caption) for caption in captions]
    rows_of = collections.defaultdict(list)  # shard -> rows of `captions`
    for row, name in enumerate(names):
      rows_of[cache.shard_of(name, self.manifest.shards)].append(row)
    found = [None] * len(names)
    for shard, rows in rows_of.items():
      index = self.index(shard)
      wanted = b''.join(names[row] for row in rows)
      wanted = np.frombuffer(wanted, np.uint8).reshape(len(rows), -1)
      places = _places(_names(wanted), _names(index.digests))
      if (places < 0).any():
        self._refuse(captions[rows[int(np.argmin(places))]])
      records = self._read(shard, places.tolist())
      for row, record in zip(rows, records):
        found[row] = record, index.divisors
    return found

  def read(self, captions: Sequence[str]) -> list[np.ndarray]:
    """Each caption's embedding [n, d], as many tokens as it has.

    bfloat16, or float32 where the cache is int8.
    """
    m = self.manifest
    return [
      quantization.decode(record, m.width, m.dtype, divisors)
      for record, divisors in self.records(captions)
    ]

  def batch(
    self, captions: Sequence[str], length: int | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """text bfloat16 [b, l, d], zero at padding, and mask bool [b, l].

    `length` is l; None = the cache's own limit.
    """
    length = self.manifest.max_length if length is None else length
    shape = (len(captions), length, self.manifest.width)
    text = np.zeros(shape, ml_dtypes.bfloat16)
    mask = np.zeros(shape[:2], bool)
    for row, values in enumerate(self.read(captions)):
      text[row, : len(values)] = values
      mask[row, : len(values)] = True
    return text, mask

  def columns(
    self, captions: Sequence[str], length: int | None = None
  ) -> dict[str, np.ndarray]:
    """The text columns of a batch as they are stored, zero at padding.

    mask bool [b, l] and, from a bfloat16 cache, text [b, l, d]; from an int8
    one what `quantization.dequantize` takes: codes [b, l, d], scales
    [b, l, blocks] and divisors [b, 1, d]. Decoding them is left to the device,
    which is fast at it, and half as much goes there.
    """
    m = self.manifest
    if m.dtype == 'bfloat16':
      text, mask = self.batch(captions, length)
      return {'text': text, 'mask': mask}
    shape = (len(captions), m.max_length if length is None else length)
    codes = np.zeros((*shape, m.width), np.int8)
    scales = np.zeros((*shape, quantization.blocks(m.width)), np.float16)
    divisors = np.empty((shape[0], 1, m.width), np.float32)
    mask = np.zeros(shape, bool)
    for row, (record, of_shard) in enumerate(self.records(captions)):
      some, their_scales = quantization.parts(record, m.width)
      codes[row, : len(some)] = some
      scales[row, : len(some)] = their_scales
      divisors[row] = of_shard
      mask[row, : len(some)] = True
    return {
      'codes': codes,
      'scales': scales,
      'divisors': divisors,
      'mask': mask,
    }

  def indices(self) -> Iterator[cache.Index]:
    """The index of every shard, in order."""
    for shard in range(self.manifest.shards):
      yield self.index(shard)

  def index(self, shard: int) -> cache.Index:
    """The index of one shard, read once."""
    if shard not in self._indices:
      path = self._path(shard)
      last = self._reader(shard).num_records() - 1
      if last < 0:
        raise ValueError(f'{path} is truncated; {cache.REMEDY}')
      (record,) = self._read(shard, [last])
      index = cache.unpack_index(record, shard, self.manifest.id, path)
      if len(index.digests) != last:
        raise ValueError(
          f'{path} holds {last} captions, its index {len(index.digests)}; '
          f'{cache.REMEDY}'
        )
      self._indices[shard] = index
    return self._indices[shard]

  def size(self) -> int:
    """Bytes of all shards."""
    shards = range(self.manifest.shards)
    return sum(self._path(shard).stat().st_size for shard in shards)

  def _path(self, shard):
    return cache.shard_path(self.directory, shard, self.manifest.shards)

  def _read(self, shard, places):
    try:
      return self._reader(shard).read(places)
    except (RuntimeError, IndexError, ValueError) as e:
      reason = str(e).splitlines()[0][:120]
      raise ValueError(
        f'{self._path(shard)} is damaged ({reason}); {cache.REMEDY}'
      ) from e

  def _reader(self, shard):
    with self._lock:
      if shard in self._open:
        self._open.move_to_end(shard)
      else:
        try:
          opened = array_record_module.ArrayRecordReader(
            str(self._path(shard)), _OPTIONS
          )
        except (RuntimeError, ValueError) as e:
          reason = str(e).splitlines()[0][:120]
          raise ValueError(
            f'{self._path(shard)} cannot be read ({reason}); {cache.REMEDY}'
          ) from e
        self._open[shard] = opened
        if len(self._open) > _OPEN_SHARDS:
          self._open.popitem(last=False)
      return self._open[shard]

  def _refuse(self, caption):
    shown = caption if len(caption) <= 80 else f'{caption[:77]}...'
    raise ValueError(
      f'caption {shown!r} is not in the cache {self.directory}, made of '
      f'{self.manifest.lines:,} captions; make another with python -m '
      'imagen_jax.embed --captions=FILE and this caption in the file'
    )


def _names(digests):
  """uint8 [n, 16] -> [n] byte strings, which NumPy can order."""
  return digests.view(f'S{cache.DIGEST_BYTES}')[:, 0]


def _places(wanted, names):
  """Place of each of `wanted` in the ascending `names`, -1 = not there."""
  if not len(names):
    return np.full(len(wanted), -1)
  places = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
  return np.where(names[places] == wanted, places, -1)
