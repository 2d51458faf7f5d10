"""Examples that proved bad while training: counted, listed, never fatal alone.

  <workdir>/quarantine.jsonl   {"id", "reason"}, each file once

What the index rejected is listed at the start. A file that cannot be decoded
is replaced by another example (`photographs`); here it is written down, and
the run stops where too many are bad.
"""

import collections
import json
import pathlib
import sys

from imagen_jax.files import json_files
from imagen_jax.files import lines as lines_lib

_FEW = 200  # examples before a share of them means anything


class Quarantine:
  """The list of one process of a run."""

  def __init__(self, workdir, max_share, host=0, hosts=1):
    """`max_share` is of the examples read since the start of this process."""
    name = 'quarantine.jsonl'
    if hosts > 1:
      name = f'quarantine_{host:05d}-of-{hosts:05d}.jsonl'
    self.path = pathlib.Path(workdir) / name
    self._lines = lines_lib.Lines(self.path)
    self._max_share = max_share
    self._known = set(_ids(self.path))
    self._read = self._bad = 0
    self._reasons = collections.Counter()

  def count(self, read, bad):
    """Notes that `read` examples were asked for and `bad` were replaced.

    Args:
      read: positions of the stream.
      bad: (id, reason) of each example that was tried in vain.

    Raises ValueError where the share of bad ones is too high.
    """
    self._read += read
    fresh = []
    for name, reason in bad:
      self._bad += 1
      self._reasons[reason] += 1
      if name not in self._known:
        self._known.add(name)
        fresh.append(json.dumps({'id': name, 'reason': reason}))
    if fresh:
      self._append(fresh)
    tried = self._read + self._bad
    if self._bad > self._max_share * max(tried, _FEW):
      reasons = ', '.join(f'{n} {r}' for r, n in self._reasons.most_common(5))
      raise ValueError(
        f'{self._bad} of {tried} examples could not be used, more than '
        f'Loading.max_bad {self._max_share:.1%}: {reasons}; they are listed in '
        f'{self.path}; mend the data, or raise max_bad, and run the same '
        'command again'
      )

  def adopt(self, rejected):
    """Lists what the index of a source left out: {'id', 'reason'} of each.

    It is no example, so that it does not count here; `index.Filter` bounds it.
    """
    fresh = []
    for one in rejected:
      if one['id'] not in self._known:
        self._known.add(one['id'])
        line = {'id': one['id'], 'reason': one['reason']}
        fresh.append(json.dumps(line))
    if fresh:
      self._append(fresh)

  def _append(self, lines):
    if len(self._known) == len(lines):
      print(f'bad examples are listed in {self.path}', file=sys.stderr)
    self.path.parent.mkdir(parents=True, exist_ok=True)
    self._lines.add(*lines)

  def close(self):
    """At the end of a run: what a full disk has not taken yet."""
    self._lines.close()


def _ids(path):
  """Ids in the list; a line cut short by a crash is none."""
  if not path.exists():
    return
  for line in path.read_text(encoding='utf-8').splitlines():
    try:
      yield json_files.parse(line, path)['id']
    except (ValueError, KeyError, TypeError):
      continue
