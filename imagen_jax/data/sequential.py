"""Sources that are read forward only: tf.data and seqio.

What is lost, and said once on standard error: a run that resumes reads again
all that was read before (random access starts at once); every host reads all
of the stream to find its rows; workers cannot share it; the order is that of
the source's own shuffle buffer, not of a permutation of the whole set. What
stays: position p is always the same example, so a resumed run is the same run.

  Forward(name, items, ...).row(position, pictures, seed)
"""

import collections
import itertools
import sys
from collections.abc import Callable, Iterator

import numpy as np

from imagen_jax.data import (
  caption_fields,
  framing,
  images,
  index,
  photographs,
  pipeline,
  shuffling,
)

_TRIES = 200  # bad examples in a row


class Forward:
  """An endless stream of examples, read in order."""

  forward_only = True

  def __init__(
    self,
    name: str,
    items: Callable[[int], Iterator[tuple]],
    reading: photographs.Reading,
  ):
    """`items(epoch)` yields (captions, picture) once through the source."""
    self.name = name
    self._items = items
    self._reading = reading
    self._next = 0  # position of the first in _ahead
    self._ahead = collections.deque()  # (id, captions, picture)
    self._bad = []  # rejected since the last row
    self._stream = None

  def check(self, pictures):
    photographs.check_size(self.name, self._reading, pictures)

  def row(self, position, pictures, seed):
    """The example at a position; positions ascend."""
    self._go_to(position)
    u = shuffling.uniforms(seed, position, 5, shuffling.FRAME)
    for i in range(_TRIES):
      name, captions, picture = self._peek(i)
      try:
        image = framing.decoded(picture, pictures)
      except images.BadPicture as e:
        self._bad.append((name, str(e)))
        continue
      bad, self._bad = self._bad, []
      found = photographs.example(image, captions, pictures, self._reading, u)
      return found, bad
    raise ValueError(
      f'{self.name}: {_TRIES} examples in a row are bad, the last is '
      f'{name} ({self._bad[-1][1]}); mend the data'
    )

  def caption(self, i):
    """The first caption of example i, counted from the start."""
    return self._nth(i, 8)[1][0]

  def example(self, i, resolution):
    """Example i whole, counted from the start; the next where it is bad."""
    name, captions, image = self._nth(i, resolution)
    whole = pipeline.Pictures(resolution=resolution)
    return {
      'image': framing.frame(image, whole),
      'caption': captions[0],
      'id': name,
    }

  def _nth(self, i, resolution):
    """(id, captions, image) of the first usable example from number i."""
    self._go_to(i)
    whole = pipeline.Pictures(resolution=resolution)
    for j in range(_TRIES):
      name, captions, picture = self._peek(j)
      try:
        return name, captions, framing.decoded(picture, whole)
      except images.BadPicture:
        continue
    raise ValueError(f'{self.name}: {_TRIES} bad examples from number {i} on')

  def _go_to(self, position):
    if position < self._next:
      self._restart()
    if position - self._next > 1000:
      print(
        f'{self.name} is read forward only: reading '
        f'{position - self._next:,} examples again; an ArrayRecord set (python '
        '-m imagen_jax.build_tfds) resumes at once',
        file=sys.stderr,
      )
    while self._next < position:
      self._peek(0)
      self._ahead.popleft()
      self._next += 1

  def _restart(self):
    self._next, self._stream = 0, None
    self._ahead.clear()

  def _peek(self, i):
    if self._stream is None:
      self._stream = self._endless()
    while len(self._ahead) <= i:
      self._ahead.append(next(self._stream))
    return self._ahead[i]

  def _endless(self):
    """The usable examples of all epochs: what is no example has no position."""
    for epoch in itertools.count():
      found = collections.Counter()
      for number, (captions, picture) in enumerate(self._items(epoch)):
        name = f'{self.name}/{epoch}/{number}'
        reason = self._unfit(captions, picture)
        found[reason] += 1
        if reason is None:
          yield name, captions, picture
        elif reason:
          self._bad.append((name, reason))
      if not found[None]:  # nor will the next epoch hold one
        found['left out by Filter'] = found.pop('', 0)
        said = index.summary(+found) or 'it is empty'
        raise ValueError(f'{self.name} holds no examples: {said}')

  def _unfit(self, captions, picture):
    """A reason; '' for what the filter leaves out; None = it is fit."""
    if not captions:
      return 'no caption'
    try:
      size = (
        picture.shape[1::-1]
        if isinstance(picture, np.ndarray)
        else images.header(picture)
      )
    except images.BadPicture as e:
      return str(e)
    keep, low = self._reading.keep, min(size)
    narrow = keep.max_aspect is not None and max(size) > keep.max_aspect * low
    return '' if low < keep.min_side or narrow else None


def example(row: dict, image: str, caption: str, name: str) -> tuple:
  """(captions, picture) of a nested row, by the paths of its features."""
  picture = feature(row, image, name)
  if isinstance(picture, np.ndarray) and picture.ndim == 0:
    picture = picture.item()
  captions = feature(row, caption, name)
  try:
    return caption_fields.of_value(captions), picture
  except caption_fields.BadCaption:
    return (), picture


def feature(row, path, name):
  """row['a']['b'] of 'a/b'; raises ValueError listing what there is."""
  found = _at(row, path)
  if found is None:
    raise ValueError(
      f'{name} has no feature {path!r}; there are: '
      f'{", ".join(sorted(paths(row)))}'
    )
  return found


def _at(row, path):
  """None where it is not there; a key may have slashes in it, as in TFDS."""
  if not isinstance(row, dict):
    return None
  if path in row:
    return row[path]
  parts = path.split('/')
  for i in range(1, len(parts)):
    found = _at(row.get('/'.join(parts[:i])), '/'.join(parts[i:]))
    if found is not None:
      return found
  return None


def nested(path, value):
  """{'a': {'b': value}} of 'a/b': what `feature` finds."""
  for part in reversed(path.split('/')):
    value = {part: value}
  return value


def paths(row, prefix=''):
  """'a/b' of every leaf of nested dicts."""
  for key, value in row.items():
    path = f'{prefix}{key}'
    if isinstance(value, dict):
      yield from paths(value, f'{path}/')
    else:
      yield path
