"""The index of a set: made once (`indexing`), then any example is found.

A directory, in the set itself where nothing else is said:

  index.json       what it is of: kind, settings, files with their sizes, counts
  rows.bin         `ROW` an example: place, size in bytes and in pixels
  texts.bin        the id, path and captions of each, in JSON
  rejected.jsonl   what is no example: {"id", "reason"}
  pieces.jsonl     the parts it was made of, by what their files were like

Both .bin files are mapped, not read: a set of 400 million examples opens as
fast as one of 400. The directory appears whole or not at all; one that was
renewed takes the place of the one before.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib

import numpy as np

from imagen_jax.config import terminal

FORMAT_VERSION = 2
FILE = 'index.json'
FOLDER = '.imagen_jax_index'  # beside the examples
PIECES = 'pieces.jsonl'
_TRIES = 5  # of opening one that is renewed meanwhile
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
class Passed:
  """A file that nobody takes for an example: told, but no fault of the set."""

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

  def __init__(self, directory, digest: str | None = None):
    """`digest`: which of several that were there one after another; None = any.

    Raises ValueError where there is no whole one, or another.
    """
    self.directory = pathlib.Path(directory)
    for left in reversed(range(_TRIES)):
      self.about = _read_about(self.directory / FILE)
      try:
        self._open()
      except (ValueError, FileNotFoundError):
        if not left or self._is_current():
          raise
      if self._is_current():
        break
    if digest not in (None, self.about['digest']):
      raise ValueError(
        f'the index {directory} was renewed while it was in use, for its files '
        'have changed; run the same command again'
      )

  def __reduce__(self):
    """Other processes map the files themselves; nothing is sent."""
    return Index, (self.directory, self.about['digest'])

  def _open(self):
    n = self.about['examples']
    self.rows = self._map('rows.bin', n * ROW.itemsize, ROW)
    self._texts = self._map('texts.bin', self.about['text_bytes'], np.uint8)

  def _is_current(self):
    """Whether no other index has taken the place of the one just opened."""
    return _read_about(self.directory / FILE) == self.about

  def __len__(self):
    return self.about['examples']

  def text(self, row) -> Text:
    """The id, path and captions of a row."""
    start = int(row['text'])
    raw = bytes(self._texts[start : start + int(row['text_size'])])
    name, path, captions = json.loads(raw)
    return Text(id=name, path=path, captions=tuple(captions))

  def rejected(self, most: int | None = None) -> list[dict]:
    """The rejected, with their reasons; the first `most`, None = all."""
    path = self.directory / 'rejected.jsonl'
    with open(path, encoding='utf-8') as lines:
      return [json.loads(line) for line in itertools.islice(lines, most)]

  def pieces(self) -> list[dict]:
    """What it was made of: key, and numbers of rows and bytes, of each."""
    with open(self.directory / PIECES, encoding='utf-8') as lines:
      return [json.loads(line) for line in lines]

  def part(self, rows: slice, texts: slice) -> tuple[np.ndarray, np.ndarray]:
    """(rows, bytes of the texts) of a part; its offsets begin at 0."""
    part = self.rows[rows].copy()
    part['text'] -= np.uint64(texts.start)
    return part, np.array(self._texts[texts])

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
        f'listed in {self.directory / "rejected.jsonl"}; mend them and run the '
        'same command again, or raise max_rejected'
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


def spelled(name: str) -> str:
  """A name from outside as a line of a terminal may show it, not too long."""
  plain = terminal.escaped(name).replace('\n', '\\n').replace('\t', '\\t')
  return plain if len(plain) <= 120 else f'{plain[:117]}...'


def told(counts: dict[str, list]) -> str:
  """'3 hidden (such as .a.jpg), 1 ...' of reason -> [number, an example]."""
  ordered = sorted(counts.items(), key=lambda item: (-item[1][0], item[0]))
  return ', '.join(
    f'{n:,} {spelled(reason)} (such as {spelled(name)})'
    for reason, (n, name) in ordered[:6]
  )


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
    version = about.get('format_version')
  except (OSError, ValueError, AttributeError, RecursionError) as e:
    raise ValueError(
      f'{path} cannot be read ({e}); delete {path.parent}, it is made again'
    ) from e
  if version != FORMAT_VERSION:
    raise _OtherFormat(
      f'{path} is of format {version}, this release reads {FORMAT_VERSION}; '
      f'delete {path.parent}, it is made again'
    )
  return about


class _OtherFormat(ValueError):
  """An index of another release."""


def opened(directory) -> Index | None:
  """The index there; None where there is none, or one of an older release."""
  path = pathlib.Path(directory) / FILE
  try:
    return Index(directory) if path.exists() else None
  except _OtherFormat:
    about = json.loads(path.read_text(encoding='utf-8'))
    if about.get('format_version') not in range(1, FORMAT_VERSION):
      raise
    return None


def check(found: Index, about: dict) -> None:
  """Raises ValueError where it is of another set or of other settings."""
  directory, there = found.directory, found.about
  if _is_other(about, there):
    raise ValueError(
      f'the index {directory} is of {there["root"]}, this run has '
      f'{about["root"]}; name another by index_dir'
    )
  for name in ('kind', 'settings'):
    here = json.loads(json.dumps(about[name]))
    if there[name] != here:
      raise ValueError(
        f'the index {directory} has {name} {there[name]}, this run has {here}; '
        'delete it, or name another by index_dir'
      )


def _is_other(here, there):
  """Whether two sets differ that may look alike. A folder may have moved."""
  if here['kind'] != there['kind']:
    return False  # which is told by itself
  if here['kind'] == 'folder':
    root = there['root']
    return os.path.exists(root) and not os.path.samefile(root, here['root'])
  if here['kind'] == 'shards':
    common = {name for name, *_ in there['files']}
    return here['root'] != there['root'] and common.isdisjoint(
      name for name, *_ in here['files']
    )
  if here['kind'] != 'tfds':
    return False
  # What one name leaves out, config or version, may be as the other says.
  pairs = zip(_named(there['root']), _named(here['root']))
  return any(a and b and a != b for a, b in pairs)


def _named(root):
  """(name, config, version) of 'tfds:name/config:1.0.0', '' where not said."""
  full, _, version = root.removeprefix('tfds:').partition(':')
  name, _, config = full.partition('/')
  return name, config, version


def change(there: list, here: list) -> str:
  """Names the first of a set's [name, bytes, ...] that is not as it was."""
  now = {name: about for name, *about in here}
  for name, *about in there:
    if name not in now:
      return f'{spelled(name)} is gone'
    if now[name][0] != about[0]:
      return f'{spelled(name)} has {now[name][0]:,}, it had {about[0]:,}'
    if list(now[name]) != list(about):
      return f'{spelled(name)} was written again'
  extra = sorted(set(now) - {name for name, *_ in there})
  if extra:
    return f'{len(extra)} new, the first is {spelled(extra[0])}'
  return 'files were added, written or removed'
