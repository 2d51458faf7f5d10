"""The history on the disk: finished pictures in a folder.

File names begin with the time, so that they sort by it. A file is whole or not
there; its recipe is in its metadata.
"""

import pathlib
import tempfile
import time

from imagen_jax import pictures


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

  def store(self, job) -> None:
    """Writes a finished `drawing.Job`; raises ValueError where it cannot."""
    now = time.strftime('%Y%m%d-%H%M%S')
    name = f'{now}_{pictures.slug(job.order.prompt)}_seed{job.order.seed}'
    path, n = self.path / f'{name}.png', 2
    while path.exists():
      path, n = self.path / f'{name}_{n}.png', n + 1
    try:
      pictures.write(path, job.png)
    except OSError as e:
      raise ValueError(
        f'the picture is not in {self.path}, save it here: {e.strerror or e}'
      ) from e
