"""The index of a set: made once (`indexing`), then any example is found.

A directory, in the set itself where nothing else is said:

  index.json       what it is of: kind, settings, files with their sizes, counts
  rows.bin         `ROW` an example: place, size in bytes and in pixels
  texts.bin        the id, path and captions of each, in JSON
  rejected.jsonl   what is no example: {"id", "reason"}

Both .bin files are mapped, not read: a set of 400 million examples opens as
fast as one of 400. The directory appears whole or not at all.
"""

import dataclasses
import hashlib
import json
import os
import pathlib

import numpy as np

FORMAT_VERSION = 1
FILE = 'index.json'
FOLDER = '.imagen_jax_index'  # beside the examples
ROW = np.dtype(
  [
    ('text', '<u8'),  # offset into texts.bin,
    ('text_size', '<u4'),  # and bytes there
    ('file', '<u4'),  # number in `files`, of a shard
    ('offset', '<u8'),  # of the picture in its file, or its number
    ('size', '<u8'),  # bytes of the picture
    ('width', '<u4'),  # upright
    ('height', '<u4'),
    ('hash', '<u4'),  # of the id: decides the split
  ]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
  """One example as a set's scan finds it."""

  id: str
  captions: tuple[str, ...]
  width: int
  height: int
  size: int  # bytes of the picture
  path: str | None = None  # of its own file, below the set's directory
  file: int = 0
  offset: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reject:
  """Something that is no example, and why."""

  id: str
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
  """What the index knows of an example besides numbers."""

  id: str
  captions: tuple[str, ...]
  path: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter:
  """Which examples of an index are trained on."""

  min_side: int = 64  # pixels of the shorter side
  max_aspect: float | None = 3.0  # longer over shorter side; None = any
  max_rejected: float = 0.05  # share of the set; above it nothing starts


class Index:
  """An open index directory."""

  def __init__(self, directory):
    self.directory = pathlib.Path(directory)
    self.about = _read_about(self.directory / FILE)
    n = self.about['examples']
    self.rows = self._map('rows.bin', n * ROW.itemsize, ROW)
    self._texts = self._map('texts.bin', self.about['text_bytes'], np.uint8)

  def __reduce__(self):
    """Other processes map the files themselves; nothing is sent."""
    return Index, (self.directory,)

  def __len__(self):
    return self.about['examples']

  def text(self, row) -> Text:
    """The id, path and captions of a row."""
    start = int(row['text'])
    raw = bytes(self._texts[start : start + int(row['text_size'])])
    name, path, captions = json.loads(raw)
    return Text(id=name, path=path, captions=tuple(captions))

  def rejected(self) -> list[dict]:
    """The rejected, with their reasons."""
    path = self.directory / 'rejected.jsonl'
    with open(path, encoding='utf-8') as lines:
      return [json.loads(line) for line in lines]

  def select(self, keep: Filter) -> np.ndarray:
    """Numbers of the rows that the filter keeps, ascending."""
    self._check_rejected(keep)
    # Half the memory, which counts from 10^8 examples on.
    kind = np.uint32 if len(self.rows) < 1 << 32 else np.int64
    found = []
    for start in range(0, len(self.rows), 1 << 20):
      part = self.rows[start : start + (1 << 20)]
      sides = np.stack([part['width'], part['height']])
      low, high = sides.min(0), sides.max(0)
      good = low >= keep.min_side
      if keep.max_aspect is not None:
        good &= high <= keep.max_aspect * low.astype(np.float64)
      found.append((start + np.flatnonzero(good)).astype(kind))
    kept = np.concatenate(found)
    if not len(kept):
      low = np.minimum(self.rows['width'], self.rows['height'])
      raise ValueError(
        f'{self.about["root"]}: none of {len(self):,} examples has a side of '
        f'{keep.min_side} pixels and an aspect up to {keep.max_aspect} (the '
        f'largest short side is {low.max()}); change Filter'
      )
    return kept

  def _check_rejected(self, keep):
    bad = sum(self.about['rejected'].values())
    share = bad / (bad + len(self))
    if share > keep.max_rejected:
      raise ValueError(
        f'{self.about["root"]}: {bad:,} of {bad + len(self):,} files '
        f'({share:.1%}) are no examples, Filter.max_rejected is '
        f'{keep.max_rejected:.1%}: {summary(self.about["rejected"])}; they are '
        f'listed in {self.directory / "rejected.jsonl"}; mend them, delete the '
        'index and run again, or raise max_rejected'
      )

  def _map(self, name, size, dtype):
    path = self.directory / name
    there = path.stat().st_size if path.exists() else 0
    if there != size:
      raise ValueError(
        f'{path} has {there} bytes, {FILE} says {size}; delete '
        f'{self.directory}, it is made again'
      )
    # As a plain array: NumPy's class for maps makes every access slower.
    return np.memmap(path, dtype, 'r').view(np.ndarray)


def split(rows: np.ndarray, kept: np.ndarray, share: float, name: str):
  """The numbers in `kept` of a split: 'validation' is the share of it with the
  lowest hash of their ids, at least one example; 'train' is the rest."""
  if name not in ('train', 'validation'):
    raise ValueError(f"unknown split {name!r}: 'train' or 'validation'")
  if not share:
    return kept if name == 'train' else kept[:0]
  count = max(1, round(share * len(kept)))
  hashes = rows['hash'][kept]
  last = np.partition(hashes, count - 1)[count - 1]  # of validation
  held = hashes < last
  ties = np.flatnonzero(hashes == last)
  held[ties[: count - held.sum()]] = True
  return kept[held if name == 'validation' else ~held]


def summary(counts: dict[str, int]) -> str:
  """'12 truncated, 3 no caption', the most frequent first."""
  ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
  return ', '.join(f'{n:,} {reason}' for reason, n in ordered[:6])


def packed(entry: Entry, offset: int) -> tuple[tuple, bytes]:
  """A row of `ROW` and its text, which lies at `offset`."""
  text = json.dumps([entry.id, entry.path, entry.captions]).encode()
  row = (
    offset,
    len(text),
    entry.file,
    entry.offset,
    entry.size,
    entry.width,
    entry.height,
    _hash(entry.id),
  )
  return row, text


def _hash(name):
  raw = hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=4)
  return int.from_bytes(raw.digest(), 'little')


def _read_about(path):
  try:
    about = json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError) as e:
    raise ValueError(
      f'{path} cannot be read ({e}); delete {path.parent}, it is made again'
    ) from e
  version = about.get('format_version')
  if version != FORMAT_VERSION:
    raise ValueError(
      f'{path} is of format {version}, this release reads {FORMAT_VERSION}; '
      f'delete {path.parent}, it is made again'
    )
  return about


def open_checked(directory, about: dict) -> Index:
  """The index at `directory`.

  Raises ValueError where it is of another set or of other settings.
  """
  found = Index(directory)
  if _is_other(about['kind'], found.about['root'], about['root']):
    raise ValueError(
      f'the index {directory} is of {found.about["root"]}, this run has '
      f'{about["root"]}; name another by index_dir'
    )
  for name in ('kind', 'settings', 'files'):
    there, here = found.about[name], json.loads(json.dumps(about[name]))
    if there == here:
      continue
    if name == 'files':
      raise ValueError(_changed(about['root'], there, here, directory))
    raise ValueError(
      f'the index {directory} has {name} {there}, this run has {here}; delete '
      'it, or name another by index_dir'
    )
  return found


def _is_other(kind, there, here):
  """Whether two sets differ that may look alike. A folder may have moved."""
  if kind == 'folder':
    return os.path.exists(there) and not os.path.samefile(there, here)
  if kind != 'tfds':
    return False
  # What one name leaves out, config or version, may be as the other says.
  return any(a and b and a != b for a, b in zip(_named(there), _named(here)))


def _named(root):
  """(name, config, version) of 'tfds:name/config:1.0.0', '' where not said."""
  full, _, version = root.removeprefix('tfds:').partition(':')
  name, _, config = full.partition('/')
  return name, config, version


def _changed(root, there, here, directory):
  """Names the first file that is not as it was."""
  now = dict(here)
  for name, size in there:
    if now.get(name) != size:
      what = f'has {now[name]:,} bytes' if name in now else 'is gone'
      return (
        f'{root}: {name} {what}, it had {size:,} when the index was made; '
        f'put it back, or delete {directory} (a new index is another stream)'
      )
  extra = sorted(set(now) - dict(there).keys())
  return (
    f'{root} has {len(extra)} new files, the first is {extra[0]}; move them '
    f'away, or delete {directory} (a new index is another stream)'
  )
