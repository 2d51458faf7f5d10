"""Files of a checkpoint, in a local directory or in a bucket.

A `Folder` is a directory of this machine or a URL (gs://bucket/path). Its
files are read whole or in part, through fsspec where they are remote; arrays
that TensorStore opens by itself get a spec of the same place.
"""

import dataclasses
import json
import pathlib
import urllib.parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
  """A directory: local, or remote where `place` is a URL."""

  place: str  # path or URL, without '/' at its end

  @property
  def remote(self) -> bool:
    return '://' in self.place

  def __str__(self):
    return self.place

  def child(self, name: str) -> 'Folder':
    return Folder(place=f'{self.place}/{name}')

  def parent(self) -> 'Folder':
    return Folder(place=self.place.rpartition('/')[0] or '.')

  def names(self) -> list[str]:
    """Names of the files and directories in it, sorted."""
    if self.remote:
      system, root = self._system()
      if not system.isdir(root):
        raise ValueError(f'directory {self} does not exist or is not readable')
      paths = [path.rstrip('/') for path in system.ls(root, detail=False)]
      return sorted(path.rpartition('/')[2] for path in paths)
    path = pathlib.Path(self.place)
    if not path.is_dir():
      raise ValueError(f'directory {self} does not exist')
    return sorted(entry.name for entry in path.iterdir())

  def size(self, name: str) -> int:
    """Bytes of a file."""
    if self.remote:
      system, root = self._system()
      return system.size(f'{root}/{name}')
    return (pathlib.Path(self.place) / name).stat().st_size

  def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
    """Bytes [start, stop) of a file; None = to its end."""
    if self.remote:
      system, root = self._system()
      return system.cat_file(f'{root}/{name}', start=start, end=stop)
    with open(pathlib.Path(self.place) / name, 'rb') as file:
      file.seek(start)
      return file.read() if stop is None else file.read(stop - start)

  def kvstore(self, path: str) -> dict:
    """TensorStore's spec of `path` below this directory."""
    if not self.remote:
      return {'driver': 'file', 'path': f'{self.place}/{path}/'}
    url = urllib.parse.urlsplit(self.place)
    below = f'{url.path.lstrip("/")}/{path}/'.lstrip('/')
    if url.scheme == 'file':
      return {'driver': 'file', 'path': f'{url.path}/{path}/'}
    if url.scheme in ('gs', 'gcs'):
      return {'driver': 'gcs', 'bucket': url.netloc, 'path': below}
    if url.scheme == 's3':
      return {'driver': 's3', 'bucket': url.netloc, 'path': below}
    raise ValueError(
      f'{self}: arrays are read from gs://, s3:// and local paths, not from '
      f'{url.scheme}://; copy the directory to one of these'
    )

  def _system(self):
    """fsspec's file system of a URL, and the path in it."""
    try:
      import fsspec  # only remote paths need it
    except ImportError as error:
      raise ValueError(
        f"{self} is remote: pip install 'imagen-jax[text]', or copy the "
        'directory to this machine'
      ) from error
    try:
      return fsspec.core.url_to_fs(self.place)
    except (ImportError, ValueError) as error:  # gcsfs or s3fs is not there
      raise ValueError(f'{self} cannot be opened: {error}') from error


def folder(source) -> Folder:
  """The folder of a path or URL."""
  text = str(source)
  if '://' in text:
    return Folder(place=text.rstrip('/'))
  return Folder(place=str(pathlib.Path(text).expanduser()))


def read_json(folder: Folder, name: str) -> dict:
  """A JSON file of the directory."""
  try:
    fields = json.loads(folder.read(name))
  except FileNotFoundError as error:
    raise ValueError(f'{folder}/{name} is missing') from error
  except ValueError as error:
    raise ValueError(
      f'{folder}/{name} is damaged ({error}); copy it again'
    ) from error
  if not isinstance(fields, dict):
    raise ValueError(f'{folder}/{name} holds no object; copy it again')
  return fields
