"""Examples -> training batches; section 2.4 and 2.5 for the crops.

Batch k depends on (seed, k) alone: a source is addressed by index, and every
random choice comes from a counter-based generator keyed by what it is for.
A batch is a dict of host arrays:

  image    uint8 [b, r, r, 3]      the target, whole or a crop
  low_res  uint8 [b, r/f, r/f, 3]  super-resolution only: its x f box average
  tokens   int32 [b, l], mask bool [b, l], to be encoded; or
  boxes    float32 [b, n, 6]       of `diffusion.layouts`, where they are told
  text     bfloat16 [b, l, d], mask, where embeddings come from a cache (of
           int8: codes, scales and divisors in its place)
"""

import concurrent.futures
import dataclasses

import numpy as np

from imagen_jax.data import boxes
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
  """How a source's pictures become targets.

  `halve`: files are made smaller by means of 2x2 pixels for as long as twice
  the resolution is there, and by bicubic for the rest, as the code of ADM
  does. It is several times faster than bicubic in one pass, reads every pixel
  of the file once, and is what most pixel-space models were trained on. It is
  for files alone: scenes are drawn at the resolution, and the low-res pictures
  of super-resolution are made from the target.
  """

  resolution: int  # pixels of the whole picture
  crop: int | None = None  # pixels of a random crop; None = whole pictures
  low_res_factor: int | None = None  # target over low-res pixels; None = base
  on_objects: float = 0.75  # share of crops placed on an object, if known
  halve: bool = True  # then bicubic for what is left; False = bicubic alone


class Batches:
  """The endless (or, for a finite split, wrapping) stream of batches.

  `feed.columns(captions)` gives the text columns; `text.feeds` has two such.
  A source with `row(position, pictures, seed)` orders and frames its examples
  by itself; one without, as the scenes, is drawn in order.

  Args:
    rows: numbers of the rows of each global batch that are wanted here, the
      share of this process; None = all.
    quarantine: where bad examples are noted; None = nowhere.
    layout: the `layouts.Layout` whose boxes are given along; None = none are.
  """

  def __init__(
    self,
    source,
    feed,
    pictures,
    batch_size,
    seed=0,
    rows=None,
    quarantine=None,
    layout=None,
  ):
    source = drawn_in_order(source)
    source.check(pictures)
    self._maker = RowMaker(
      source=source,
      pictures=pictures,
      batch_size=batch_size,
      seed=seed,
      rows=tuple(range(batch_size) if rows is None else rows),
    )
    self._feed = feed
    self._pictures = pictures
    self._layout = layout
    self._quarantine = quarantine
    if quarantine is not None:
      quarantine.adopt(getattr(source, 'rejected', list)())
    # Names the examples and their order; None where the config says it all.
    self.fingerprint = getattr(source, 'fingerprint', None)
    # Of what `loading` may do: a stream goes forward only, and drawing holds
    # the interpreter, so that threads gain nothing.
    self.random_access = not getattr(source, 'forward_only', False)
    self.threaded = self.random_access and not isinstance(source, Drawn)

  def __len__(self):
    """Rows of a batch made here."""
    return len(self._maker.rows)

  def batch(self, k):
    """Batch k as a dict of numpy arrays."""
    first = k * len(self)
    return self.collate([self.row(first + i) for i in range(len(self))])

  def row(self, number):
    """(example, bad ones replaced) of the rows made here, one after another."""
    return self._maker.row(number)

  def maker(self):
    """What makes the rows, without the text: it goes to other processes."""
    return self._maker

  def collate(self, rows):
    """The rows of a batch -> its arrays."""
    if self._quarantine is not None:
      bad = [one for _, several in rows for one in several]
      self._quarantine.count(len(rows), bad)
    image = np.stack([row['image'] for row, _ in rows])
    text = self._feed.columns([row['caption'] for row, _ in rows])
    batch = {'image': image, **text}
    if self._layout is not None:
      batch['boxes'] = np.stack(
        [boxes.of_example(self._layout, row) for row, _ in rows]
      )
    if self._pictures.low_res_factor:
      batch['low_res'] = box_average(image, self._pictures.low_res_factor)
    return batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowMaker:
  """Makes single rows of batches, in any order."""

  source: object  # with row(position, pictures, seed)
  pictures: Pictures
  batch_size: int  # of the global batch
  seed: int
  rows: tuple[int, ...]  # of a global batch, made here

  def row(self, number):
    """(example, bad ones replaced) of row `number` of those made here."""
    k, i = divmod(number, len(self.rows))
    position = k * self.batch_size + self.rows[i]
    return self.source.row(position, self.pictures, self.seed)


def drawn_in_order(source):
  """The source, with `row` and `check` where it has none of its own."""
  return source if hasattr(source, 'row') else Drawn(source)


class Drawn:
  """Pictures drawn for their index, one after another, as the scenes are."""

  def __init__(self, source):
    self._source = source
    try:
      self._size = len(source)
    except TypeError:  # endless
      self._size = None

  def check(self, pictures):
    """Any resolution will do."""

  def row(self, position, p, seed):
    """The example at a position; none is ever bad."""
    index = position % self._size if self._size else position
    crop = None
    if p.crop is not None and p.crop < p.resolution:
      crop = self._crop(position, index, p, seed)
    return self._source.example(index, p.resolution, crop=crop), []

  def _crop(self, position, index, p, seed):
    """(top, left, height, width), aligned to the low-res pixels."""
    u = uniforms(seed, position, 4)
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
