"""Captioned picture files as a source: section 2.5 for the crops.

  Photographs(...).row(position, pictures, seed)
    -> {'image': uint8 [c, c, 3], 'caption': str}, [(id, reason) of bad ones]

What stands at a position of the endless stream depends on (seed, position)
alone: which example, which of its captions, which crop. An example that proves
bad is replaced by one drawn for (seed, position, attempt).
"""

import dataclasses
from collections.abc import Callable

from imagen_jax.data import framing, images, index, pipeline, shuffling

_ATTEMPTS = 50  # in a set with half of it bad, one position in 10^15 fails


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
  """How the examples of a set become training examples."""

  keep: index.Filter = index.Filter()
  place: str = 'random'  # of the square on the long side; or 'centre'
  validation: float = 0.01  # share of the examples kept for it
  enlarge: bool = False  # pictures smaller than the stage's resolution

  def __post_init__(self):
    if self.place not in ('random', 'centre'):
      raise ValueError(
        f"Reading.place is {self.place!r}: choose 'random' or 'centre'"
      )
    if not 0 <= self.validation < 1:
      raise ValueError(
        f'Reading.validation is {self.validation}; it is a share, below 1'
      )


class Photographs:
  """The examples of one split of an index."""

  def __init__(
    self, found: index.Index, fetch: Callable, reading: Reading, split: str
  ):
    """`fetch(row, text)` gives a picture's bytes, or raises BadPicture."""
    self._index = found
    self.fetch = fetch
    self._reading = reading
    self._split = split
    self.name = f'{found.about["root"]} ({split})'
    kept = found.select(reading.keep)
    self._rows = index.split(found.rows, kept, reading.validation, split)
    if not len(self._rows):
      raise ValueError(
        f'{self.name} is empty: of {len(kept)} examples Reading.validation '
        f'{reading.validation} keeps none for it; change it'
      )

  def __reduce__(self):
    """Other processes open the index themselves; little is sent."""
    return Photographs, (self._index, self.fetch, self._reading, self._split)

  def __len__(self):
    return len(self._rows)

  @property
  def fingerprint(self) -> str:
    """Names the examples and their order."""
    return self._index.about['digest']

  def rejected(self) -> list[dict]:
    """What the index left out: {'id', 'reason'} of each."""
    return self._index.rejected()

  def caption(self, i: int) -> str:
    """The first caption of the example that `example(i)` shows."""
    return self._text(self._usable(i, 8)[0]).captions[0]

  def captions(self):
    """Every caption of the split."""
    for i in range(len(self)):
      yield from self._text(i).captions

  def example(self, i: int, resolution: int) -> dict:
    """Example i whole, its square from the centre; the next where it is bad."""
    i, image = self._usable(i, resolution)
    return {
      'image': framing.frame(image, pipeline.Pictures(resolution=resolution)),
      'caption': self._text(i).captions[0],
      'id': self._text(i).id,
    }

  def entry(self, i: int):
    """The row of the index, and its text, of example i."""
    row = self._index.rows[self._rows[i]]
    return row, self._index.text(row)

  def check(self, pictures):
    """Raises ValueError where pictures would be enlarged unasked."""
    check_size(self.name, self._reading, pictures)

  def row(self, position: int, pictures, seed: int):
    """The training example of a position, and the bad ones met on the way."""
    bad, n, uniforms = [], len(self), shuffling.uniforms
    for attempt in range(_ATTEMPTS):
      if attempt == 0:
        i = shuffling.index(seed, position, n)
      else:
        i = int(
          uniforms(seed, position, 1, shuffling.REPLACEMENT, attempt)[0] * n
        )
      row, text = self.entry(i)
      try:
        image = self._decode(row, text, pictures)
      except images.BadPicture as e:
        bad.append((text.id, str(e)))
        continue
      u = uniforms(seed, position, 5, shuffling.FRAME, attempt)
      return example(image, text.captions, pictures, self._reading, u), bad
    raise ValueError(
      f'{self.name}: {_ATTEMPTS} examples in a row are bad, the last is '
      f'{bad[-1][0]} ({bad[-1][1]}); mend the data'
    )

  def _usable(self, i, resolution):
    """(number, picture) of the first example from i on that can be decoded."""
    for j in range(_ATTEMPTS):
      number = (i + j) % len(self)
      try:
        whole = pipeline.Pictures(resolution=resolution)
        return number, self._decode(*self.entry(number), whole)
      except images.BadPicture:
        continue
    raise ValueError(f'{self.name}: {_ATTEMPTS} bad examples from {i} on')

  def _text(self, i):
    return self._index.text(self._index.rows[self._rows[i]])

  def _decode(self, row, text, pictures):
    data = self.fetch(row, text)
    return framing.decoded(data, pictures)


def example(image, captions, pictures, reading, u):
  """The training example of a picture with its captions.

  Five numbers in [0, 1) decide: two where the square lies, two where the crop,
  one which caption.
  """
  if reading.place == 'centre':
    u = (0.5, 0.5, *u[2:])
  return {
    'image': framing.frame(image, pictures, u[:4]),
    'caption': captions[int(u[4] * len(captions))],
  }


def check_size(name, reading, pictures):
  """Raises ValueError where small pictures would be enlarged unasked."""
  low = reading.keep.min_side
  if low < pictures.resolution and not reading.enlarge:
    raise ValueError(
      f'{name}: Filter.min_side {low} is below the resolution '
      f'{pictures.resolution}, small pictures would be enlarged; set '
      f'Filter.min_side={pictures.resolution}, or Reading.enlarge=True'
    )
