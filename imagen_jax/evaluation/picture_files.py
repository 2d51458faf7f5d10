"""The pictures of a directory, in the order of their names.

  listing(DIR)            paths of all pictures in it and below it
  read(path, crop)        uint8 [h, w, 3]
  in_batches(...)         some at a time, the next ones read meanwhile

What the sampler writes beside its pictures (a contact sheet, strips of how
they came about) is passed over. A file that cannot be read is an error: the
score of the others would be that of another set.
"""

import collections
import concurrent.futures
import functools
import hashlib
import json
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import PIL.Image

from imagen_jax.data import images

# What commands write beside samples; a bedsheet.jpg may be one of these.
_BESIDE = re.compile(r'(.*_)?sheet\.png|.*_(steps|chart)\.png')


def listing(directory) -> list[pathlib.Path]:
  """Paths of the pictures, by name; raises ValueError where there is none."""
  root = pathlib.Path(directory)
  if not root.is_dir():
    raise ValueError(f'{directory} is no directory of pictures')
  found = [
    path
    for path in root.rglob('*')
    if path.suffix.lower().lstrip('.') in images.EXTENSIONS
    and not _BESIDE.fullmatch(path.name)
    and not any(part.startswith('.') for part in path.relative_to(root).parts)
    and not path.is_dir()  # what is no file otherwise is told when it is read
  ]
  if not found:
    raise ValueError(
      f'{directory} has no pictures ({", ".join(images.EXTENSIONS)})'
    )
  return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def identity(directory, paths: Sequence[pathlib.Path]) -> str:
  """Sixteen digits that change with the files' names and contents.

  Every file is read, as it is again to be measured: pictures that were drawn
  anew may have the names, the sizes and, where disks are shared, the times of
  those before. Raises ValueError where one cannot be.
  """
  digest = hashlib.sha256()
  with concurrent.futures.ThreadPoolExecutor() as pool:
    for path, content in zip(paths, pool.map(_content, paths)):
      name = path.relative_to(directory).as_posix()
      digest.update(json.dumps([name, content]).encode())
  return digest.hexdigest()[:16]


def _content(path):
  return hashlib.sha256(_bytes(path)).hexdigest()


def _bytes(path):
  try:
    return images.read(path)
  except (images.BadPicture, OSError) as e:
    reason = getattr(e, 'strerror', None) or e
    raise ValueError(f'{path} cannot be read: {reason}') from e


def read(path: pathlib.Path, crop: int | None = None) -> np.ndarray:
  """A picture, uint8 [h, w, 3].

  Args:
    path: the file.
    crop: pixels of a side; the largest square in the middle is resized to it
      (bicubic, with smoothing). None = as it is.
  """
  data = _bytes(path)
  try:
    if images.profile_of(data) == 'ignored':
      _tell_profile(path)
    image = images.decode(data)
  except images.BadPicture as e:
    raise ValueError(f'{path} cannot be read: {e}') from e
  if crop is not None:
    side = min(image.size)
    image = centre(image, side)
    if side != crop:
      image = image.resize((crop, crop), PIL.Image.Resampling.BICUBIC)
  return np.asarray(image)


@functools.cache
def _note_profiles():
  """One note stands for all of a process."""
  return []


def _tell_profile(path):
  if not _note_profiles():
    _note_profiles().append(path)
    print(
      f'note: the colour profile of {path}, and maybe of others, is damaged or '
      'of another kind of picture; its colours are taken as sRGB',
      file=sys.stderr,
    )


def centre(image: PIL.Image.Image, side: int) -> PIL.Image.Image:
  """The square of `side` pixels in the middle."""
  left, top = ((n - side) // 2 for n in image.size)
  return image.crop((left, top, left + side, top + side))


def in_batches(
  load: Callable, items: Sequence, size: int
) -> Iterator[tuple[Sequence, list]]:
  """Yields (items, [load(item), ...]), `size` at a time, loaded by threads."""
  with concurrent.futures.ThreadPoolExecutor() as pool:
    try:
      ahead = collections.deque()
      for first in range(0, len(items), size):
        part = items[first : first + size]
        ahead.append((part, [pool.submit(load, item) for item in part]))
        if len(ahead) > 1:
          yield _done(*ahead.popleft())
      while ahead:
        yield _done(*ahead.popleft())
    finally:
      pool.shutdown(wait=False, cancel_futures=True)


def _done(items, futures):
  return items, [future.result() for future in futures]
