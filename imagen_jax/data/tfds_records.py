"""Examples of an ArrayRecord set of TFDS by their number, without TensorFlow.

Records(name, data_dir, split, image, caption)(row, text)   a picture
"""

import functools
import pathlib
import threading

import numpy as np

from imagen_jax.data import images, index, indexing, sequential, tfds_sets

_PIECE = 4096  # records looked through together


class Records:
  """The examples of one split of an ArrayRecord set, pictures undecoded."""

  def __init__(self, name, data_dir, split, image, caption):
    self._how = (name, data_dir, split, image, caption)
    self._rows = None
    self._lock = threading.Lock()

  def __reduce__(self):
    return Records, self._how

  def __call__(self, row, text) -> bytes | np.ndarray:
    """The picture of a row of the index."""
    del text
    return self._read(int(row['offset']))[1]

  def pieces(self):
    """What is looked through for the index: some records each."""
    files = self.files()
    [(split, count), *_] = files
    for start in range(0, count, _PIECE):
      stop = min(start + _PIECE, count)
      yield indexing.Piece(
        state=functools.partial(list, (split, start, stop, *files)),
        scan=functools.partial(self._scan, start, stop),
      )

  def _scan(self, start, stop):
    """`index.Entry` and `index.Reject` of examples."""
    split = self._how[2]
    for number in range(start, stop):
      where = f'{split}/{number}'
      captions, picture = self._read(number)
      if not captions:
        yield index.Reject(id=where, reason='no caption')
        continue
      try:
        if isinstance(picture, np.ndarray):
          size, count = picture.shape[1::-1], picture.nbytes
        else:
          size, count = images.header(picture), len(picture)
      except images.BadPicture as e:
        yield index.Reject(id=where, reason=str(e))
        continue
      yield index.Entry(
        id=where,
        captions=captions,
        width=int(size[0]),
        height=int(size[1]),
        size=count,
        offset=number,
      )

  def files(self):
    """[split, examples], and [name, bytes, time of change] of local files."""
    name, data_dir, split, *_ = self._how
    place = pathlib.Path(tfds_sets.builder(name, data_dir).data_path)
    stored = [
      [path.name, about.st_size, str(about.st_mtime_ns)]
      for path in sorted(place.glob('*.array_record*'))
      if (about := path.stat())
    ]
    return [[split, len(self._open())], *stored]

  def _read(self, number):
    name, _, split, image, caption = self._how
    rows = self._open()
    try:
      row = rows[number]
    except (RuntimeError, ValueError, IndexError, OSError) as e:
      what = f'tfds:{name}/{split}, example {number},'
      raise tfds_sets.unreadable(what, e) from e
    return sequential.example(row, image, caption, f'tfds:{name}')

  def _open(self):
    with self._lock:
      if self._rows is None:
        name, data_dir, split, image, caption = self._how
        found = tfds_sets.builder(name, data_dir)
        skip = tfds_sets.undecoded(found, image)
        self._rows = tfds_sets.data_source(found, split, skip, name)
    return self._rows
