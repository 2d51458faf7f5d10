"""Alignment on emoji_scenes: the share of pictures that show what was asked.

Not in the paper, which asks human raters (section 4.3). Every picture is read
back by the checker of the data set and judged part by part; a share comes
with its Wilson 95% interval and with the checker's own ceiling, which is its
share on pictures drawn by the data set itself. It says nothing about natural
images.

  verdicts of n pictures -> {part: Share}, table of splits
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from imagen_jax.data.emoji_scenes import checker, drawing, scenes

PARTS = ('objects', 'colours', 'count', 'relation', 'place', 'all')
_QUANTILE = 1.959964  # of the normal distribution, for 95%


@dataclasses.dataclass(frozen=True, kw_only=True)
class Share:
  """So many right of those that were asked."""

  right: int
  asked: int

  @property
  def value(self) -> float:
    """In [0, 1]; NaN where nothing was asked."""
    return self.right / self.asked if self.asked else math.nan

  @property
  def interval(self) -> tuple[float, float]:
    return wilson(self.right, self.asked)


def wilson(right: int, asked: int) -> tuple[float, float]:
  """Score interval of a proportion at 95% (Wilson 1927, equation 3)."""
  if not asked:
    return 0.0, 1.0
  share, square = right / asked, _QUANTILE**2
  centre = (share + square / (2 * asked)) / (1 + square / asked)
  half = (
    _QUANTILE
    * math.sqrt(share * (1 - share) / asked + square / (4 * asked**2))
    / (1 + square / asked)
  )
  return max(0.0, centre - half), min(1.0, centre + half)


def judge(image: np.ndarray, scene: scenes.Scene, vocabulary: str) -> dict:
  """Judges a picture: a record of plain values for JSON.

  Args:
    image: uint8 [r, r, 3], r at least 64.
    scene: what was asked.
    vocabulary: 'lite' or 'full'.
  Returns:
    'verdict' and 'ceiling', {part: bool or None}, the ceiling's for the data
    set's own picture of the scene at the same size; 'read', what was seen.
  """
  reading = checker.read(image, vocabulary)
  own = drawing.draw(scene, image.shape[0])
  return {
    'verdict': dataclasses.asdict(checker.compare(reading, scene)),
    'ceiling': dataclasses.asdict(checker.check(own, scene, vocabulary)),
    'read': {
      'background': reading.background,
      'found': [_rounded(found) for found in reading.found],
    },
  }


def _rounded(found):
  values = dataclasses.asdict(found)
  return {
    key: round(value, 3) if isinstance(value, float) else value
    for key, value in values.items()
  }


def shares(verdicts: Iterable[Mapping]) -> dict[str, Share]:
  """Counts what is right, part by part; None was not asked."""
  verdicts = list(verdicts)
  counted = {}
  for part in PARTS:
    asked = [v[part] for v in verdicts if v[part] is not None]
    counted[part] = Share(right=sum(asked), asked=len(asked))
  return counted


def table(rows: Sequence[tuple[str, Sequence[Mapping]]]) -> str:
  """Text table: a line for each (name, records), percent [95% interval].

  The number asked stands behind a share when it is not the line's own n.
  """
  lines = [('split', 'n', *PARTS, 'ceiling')]
  for name, records in rows:
    counted = shares(record['verdict'] for record in records)
    ceiling = shares(record['ceiling'] for record in records)['all']
    cells = [_cell(counted[part], len(records)) for part in PARTS]
    lines.append((name, str(len(records)), *cells, _cell(ceiling, None)))
  widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
  return '\n'.join(
    '  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
    for line in lines
  )


def _cell(share, n):
  """'83 [72, 90]', of 40 where that is not n; the share alone for None."""
  if not share.asked:
    return '-'
  if n is None:
    return f'{100 * share.value:.0f}'
  low, high = (100 * end for end in share.interval)
  of = '' if share.asked == n else f' of {share.asked}'
  return f'{100 * share.value:.0f} [{low:.0f}, {high:.0f}]{of}'


def summary(records: Sequence[Mapping]) -> dict:
  """The table's line as plain values for JSON, shares in [0, 1]."""
  ceiling = shares(record['ceiling'] for record in records)
  values = {'n': len(records)}
  for part, share in shares(record['verdict'] for record in records).items():
    low, high = share.interval
    values[part] = {
      'right': share.right,
      'asked': share.asked,
      'share': round(share.value, 4) if share.asked else None,
      'interval': [round(low, 4), round(high, 4)],
      'ceiling': round(ceiling[part].value, 4) if share.asked else None,
    }
  return values
