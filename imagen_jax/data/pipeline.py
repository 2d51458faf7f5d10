"""Examples -> training batches; section 2.4 and 2.5 for the crops.

Batch k depends on (seed, k) alone: a source is addressed by index, and every
random choice comes from a counter-based generator keyed by what it is for.
A batch is a dict of host arrays:

  image    uint8 [b, r, r, 3]      the target, whole or a crop
  low_res  uint8 [b, r/f, r/f, 3]  super-resolution only: its x f box average
  tokens   int32 [b, l], mask bool [b, l], to be encoded; or
  text     bfloat16 [b, l, d], mask, where embeddings come from a cache
"""

import concurrent.futures
import dataclasses

import numpy as np

from imagen_jax.data.emoji_scenes import source as scenes_source


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmojiScenes:
  """The embedded scenes as a training set."""

  vocabulary: str = 'lite'  # 'lite' or 'full'

  def open(self, split):
    """The index-addressed source of a split."""
    return scenes_source.EmojiScenes(split=split, vocabulary=self.vocabulary)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
  """How a source's pictures become targets."""

  resolution: int  # pixels of the whole picture
  crop: int | None = None  # pixels of a random crop; None = whole pictures
  low_res_factor: int | None = None  # target over low-res pixels; None = base
  on_objects: float = 0.75  # share of crops placed on an object, if known


class Batches:
  """The endless (or, for a finite split, wrapping) stream of batches.

  `feed.columns(captions)` gives the text columns; `text.feeds` has two such.
  """

  def __init__(self, source, feed, pictures, batch_size, seed=0):
    self._source = source
    self._feed = feed
    self._pictures = pictures
    self._batch_size = batch_size
    self._seed = seed
    try:
      self._size = len(source)
    except TypeError:  # endless
      self._size = None

  def batch(self, k):
    """Batch k as a dict of numpy arrays."""
    first = k * self._batch_size
    rows = [self._example(first + i) for i in range(self._batch_size)]
    image = np.stack([row['image'] for row in rows])
    text = self._feed.columns([row['caption'] for row in rows])
    batch = {'image': image, **text}
    if self._pictures.low_res_factor:
      batch['low_res'] = box_average(image, self._pictures.low_res_factor)
    return batch

  def _example(self, position):
    p = self._pictures
    index = position % self._size if self._size else position
    crop = None
    if p.crop is not None and p.crop < p.resolution:
      crop = self._crop(position, index)
    return self._source.example(index, p.resolution, crop=crop)

  def _crop(self, position, index):
    """(top, left, height, width), aligned to the low-res pixels."""
    p = self._pictures
    u = uniforms(self._seed, position, 4)
    room = p.resolution - p.crop
    y, x = u[0] * room, u[1] * room
    items = self._source.scene(index).items
    if items and u[2] < p.on_objects:
      item = items[int(u[3] * len(items))]
      side = item.side * p.resolution
      y = (item.y * p.resolution) + (u[0] - 0.5) * side - p.crop / 2
      x = (item.x * p.resolution) + (u[1] - 0.5) * side - p.crop / 2
    grid = p.low_res_factor or 1
    top, left = (int(np.clip(v, 0, room)) // grid * grid for v in (y, x))
    return top, left, p.crop, p.crop


def prefetch(batch, start, ahead=4):
  """Yields batch(start), batch(start + 1), ... made ahead in a thread."""
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    pending = [pool.submit(batch, start + i) for i in range(ahead)]
    following = start + ahead
    try:
      while True:
        ready = pending.pop(0).result()
        pending.append(pool.submit(batch, following))
        yield ready
        following += 1
    finally:
      for future in pending:
        future.cancel()


def uniforms(seed, index, n):
  """n float64 in [0, 1) from raw counter-based words keyed (seed, index)."""
  words = np.random.Philox(key=[seed, index]).random_raw(n)
  return (words >> np.uint64(11)) * 2.0**-53


def box_average(images, factor):
  """[b, h, w, c] uint8 -> [b, h/f, w/f, c] uint8, mean of f x f pixels.

  Area averaging needs no pixels from outside a crop, so that crops and whole
  pictures agree.
  """
  b, h, w, c = images.shape
  blocks = images.reshape(b, h // factor, factor, w // factor, factor, c)
  sums = blocks.sum(axis=(2, 4), dtype=np.uint32)
  half = factor * factor // 2
  return ((sums + half) // (factor * factor)).astype(np.uint8)
