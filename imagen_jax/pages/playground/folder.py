"""The history on the disk: finished pictures in a folder.

File names begin with the time, so that they sort by it. A file is whole or not
there; its recipe is in its metadata, and brings it back into the history when
the server is started again.
"""

import pathlib
import sys
import tempfile
import time

from imagen_jax.data import images
from imagen_jax.files import pictures, plain
from imagen_jax.pages.playground import drawing, orders
from imagen_jax.sampling import recipes

# Of a picture that is shown: more than the largest that the page draws, one of
# 4,096 pixels a side.
_PIXELS = 2 * 4096**2
_BYTES = 3 * _PIXELS


class Folder:
  """A directory for pictures; raises ValueError where it cannot be written."""

  def __init__(self, path):
    self.path = pathlib.Path(path)
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      tempfile.TemporaryFile(dir=self.path).close()
    except OSError as e:
      raise ValueError(
        f'--out={path} cannot be written: {e.strerror}; give another directory'
      ) from e
    pictures.sweep_up(self.path)

  def read(self, cascade, most: int) -> list[drawing.Job]:
    """The last pictures there that this cascade drew for a page.

    What is none is passed over, and told where it looks like one.
    """
    found, unusable = [], []
    for path in sorted(self.path.glob('[0-9]*.png'), reverse=True):
      if len(found) == most:
        break
      try:
        png, size = _picture(path)
      except (OSError, ValueError) as e:
        unusable.append(f'{path.name!r}: {getattr(e, "strerror", None) or e}')
        continue
      try:
        text = pictures.read_text(path)
        order = orders.again(recipes.read(text or {}, path), cascade)
      except ValueError:  # of another cascade, or no picture of ours
        continue
      shown = cascade.stages[len(order.plan) - 1].resolution
      found.append(
        drawing.Job(
          order=order, state='done', png=png, seen={shown: png}, size=size
        )
      )
    if unusable:
      print(
        f'note: passed over in {self.path}: {len(unusable):,} files that are '
        f'no pictures to show, such as {unusable[0]}',
        file=sys.stderr,
      )
    return found[::-1]

  def store(self, job: drawing.Job) -> None:
    """Writes a finished picture; raises ValueError where it cannot."""
    now = time.strftime('%Y%m%d-%H%M%S')
    name = f'{now}_{pictures.slug(job.order.title)}_seed{job.order.seed}'
    path, n = self.path / f'{name}.png', 2
    while path.exists():
      path, n = self.path / f'{name}_{n}.png', n + 1
    try:
      pictures.write(path, job.png)
    except OSError as e:
      raise ValueError(
        f'the picture is not in {self.path}, save it here: {e.strerror or e}'
      ) from e


def _picture(path):
  """(bytes, (height, width)) of a file that may be anything; none is decoded.

  Raises ValueError or OSError where it cannot be shown.
  """
  png = plain.read(path, _BYTES)
  width, height = images.header(png)
  if width * height > _PIXELS:
    raise ValueError(f'{width} x {height}, more than {_PIXELS:,} pixels')
  return png, (height, width)
