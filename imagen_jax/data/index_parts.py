"""What a piece of a set holds, found by a scan or in an index of before.

scanned(ones)        entries, rejects and passed ones -> `Part`
read(path, key)      the part in a file, if it is whole and of this key
Old(index).find(key) the part of an index that is being renewed
"""

import dataclasses
import json
import os
import uuid
import zipfile

import numpy as np

from imagen_jax.data import index

ARRAYS = ('rows', 'texts', 'rejects', 'passed')


@dataclasses.dataclass(kw_only=True)
class Part:
  """What a piece holds, as it lies in its file."""

  rows: np.ndarray  # [n] `index.ROW`, text offsets from 0
  texts: np.ndarray  # [bytes] uint8
  rejects: np.ndarray  # [bytes] uint8, lines of JSON
  passed: np.ndarray  # [bytes] uint8, JSON of reason -> [number, an example]


class Old:
  """The pieces of an index that is renewed, by their keys."""

  def __init__(self, before):
    self._before, self._places = before, {}
    try:
      if before is not None:
        self._read(before)
    except (OSError, ValueError, KeyError, TypeError):
      self._places = {}  # a damaged list: all is looked through again

  def _read(self, before):
    rejects = (before.directory / 'rejected.jsonl').read_bytes()
    self._rejects = np.frombuffer(rejects, np.uint8)
    starts = [0, 0, 0]
    for one in before.pieces():
      ends = [s + one[n] for s, n in zip(starts, ('rows', 'texts', 'rejects'))]
      places = [slice(*ends_of) for ends_of in zip(starts, ends)]
      self._places[one['key']] = places, one['passed']
      starts = ends

  def find(self, key: str) -> Part | None:
    """The piece of a key, where it is there."""
    if key not in self._places:
      return None
    (rows, texts, rejects), passed = self._places[key]
    rows, texts = self._before.part(rows, texts)
    return Part(
      rows=rows,
      texts=texts,
      rejects=self._rejects[rejects],
      passed=_letters(json.dumps(passed)),
    )


def scanned(ones) -> Part:
  """Of what a scan yields."""
  rows, texts, rejects, passed, offset = [], [], [], {}, 0
  for one in ones:
    if isinstance(one, index.Passed):
      count, first = passed.get(one.reason, (0, one.id))
      passed[one.reason] = [count + 1, first]
    elif isinstance(one, index.Reject):
      rejects.append(json.dumps(dataclasses.asdict(one)) + '\n')
    else:
      row, text = index.packed(one, offset)
      rows.append(row)
      texts.append(text)
      offset += len(text)
  return Part(
    rows=np.array(rows, index.ROW),
    texts=np.frombuffer(b''.join(texts), np.uint8),
    rejects=_letters(''.join(rejects)),
    passed=_letters(json.dumps(passed)),
  )


def _letters(text):
  return np.frombuffer(text.encode(), np.uint8)


def read(path, key=None) -> Part | None:
  """A piece; None where it is not there, cut, or of another key."""
  try:
    with np.load(path, allow_pickle=False) as before:
      if key is None or before['key'].tobytes() == key:
        # Every array is read: a piece that was cut is none.
        return Part(**{name: before[name] for name in ARRAYS})
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    pass
  return None


def write(path, key: bytes, part: Part) -> None:
  """Writes the file of a part; whole or not at all."""
  partial = path.with_name(f'{path.name}.{uuid.uuid4().hex[:8]}')
  with open(partial, 'wb') as file:
    arrays = {name: getattr(part, name) for name in ARRAYS}
    np.savez(file, key=np.frombuffer(key, np.uint8), **arrays)
  os.replace(partial, path)


def sizes(key: str, part: Part, passed: dict) -> dict:
  """A line of an index' list of its pieces."""
  lengths = {name: len(getattr(part, name)) for name in ARRAYS[:3]}
  return {'key': key, **lengths, 'passed': passed}
