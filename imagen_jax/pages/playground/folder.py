"""The history on the disk: finished pictures in a folder.

File names begin with the time, so that they sort by it. A file is whole or not
there; its recipe is in its metadata, and brings it back into the history when
the server is started again.
"""

import pathlib
import tempfile
import time

from imagen_jax.data import images
from imagen_jax.files import pictures
from imagen_jax.pages.playground import drawing, orders
from imagen_jax.sampling import recipes


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
    """The last pictures there that this cascade drew for a page."""
    found = []
    for path in sorted(self.path.glob('[0-9]*.png'), reverse=True):
      if len(found) == most:
        break
      text = pictures.read_text(path)
      try:
        order = orders.again(recipes.read(text or {}, path), cascade)
        png = images.read(path)
        width, height = images.header(png)
      except (ValueError, OSError):  # of another cascade, or no such picture
        continue
      size = cascade.stages[len(order.plan) - 1].resolution
      found.append(
        drawing.Job(
          order=order,
          state='done',
          png=png,
          seen={size: png},
          size=(height, width),
        )
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
