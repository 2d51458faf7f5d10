"""Files of this machine or of a bucket: found, and read in part.

  find('shards/{00000..00099}.tar')   a directory, a pattern, or braces
  read(path, offset, size)            bytes; never fewer than asked for
  folder('gs://bucket/path')          a `Folder`, whose files are read by name

Remote paths (gs://, s3://) go through fsspec, which is imported for them alone.
What a disk or a bucket refuses for a moment is asked for again when shards are
read. Arrays that TensorStore opens by itself get a spec of the same place.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import glob
import itertools
import os
import pathlib
import re
import urllib.parse

from imagen_jax.files import hub, plain, retrying

TARS = ('.tar', '.tar.gz', '.tgz')  # endings of shards
_ASKED = 32  # sizes in a bucket at the same time: 40,000 shards in a minute
_LOGIN = {
  'gs': 'log in by: gcloud auth application-default login, or set '
  'GOOGLE_APPLICATION_CREDENTIALS to a key file',
  's3': 'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
}


def find(
  pattern: str, suffix: tuple[str, ...], without: str | None = None
) -> tuple[str, list[tuple[str, int, str]]]:
  """(directory, [(name below it, bytes, stamp)]) of all files that are meant.

  The stamp is another one where a file of the same name and size is another:
  its time of change in nanoseconds, or what a bucket gives for it. Files of
  this machine in the directory `without` are not meant.

  Raises ValueError where there are none.
  """
  paths = [path for part in expand(pattern) for path in _match(part, suffix)]
  if without is not None and not is_remote(pattern):
    own = os.path.join(os.path.realpath(without), '')
    paths = [
      path for path in paths if not os.path.realpath(path).startswith(own)
    ]
  if not paths:
    raise ValueError(f'{pattern}: there is no file *{" or *".join(suffix)}')
  [(path, times)] = collections.Counter(paths).most_common(1)
  if times > 1:
    raise ValueError(f'{pattern} names {path} twice')
  root = os.path.commonpath([os.path.dirname(p) for p in paths])
  if is_remote(pattern):  # commonpath makes gs:/ of gs://
    root = root.replace(':/', '://', 1)
  names = sorted(path[len(root) :].lstrip('/') for path in paths)
  found = _abouts([join(root, name) for name in names])
  return root, [(name, *about) for name, about in zip(names, found)]


def expand(pattern: str) -> list[str]:
  """Braces of numbers: 'a{08..10}' -> a08, a09, a10."""
  parts = re.split(r'(\{\d+\.\.\d+\})', pattern)
  choices = []
  for part in parts:
    match = re.fullmatch(r'\{(\d+)\.\.(\d+)\}', part)
    if match is None:
      choices.append([part])
      continue
    first, last = match.groups()
    choices.append(
      [f'{i:0{len(first)}d}' for i in range(int(first), int(last) + 1)]
    )
  return [''.join(choice) for choice in itertools.product(*choices)]


def is_remote(path: str) -> bool:
  return '://' in path


def join(root: str, name: str) -> str:
  return f'{root.rstrip("/")}/{name}' if root else name


def size(path: str) -> int:
  """Bytes of a file."""
  return _about(path)[0]


# What buckets tell of a file that is another for each of its contents.
_STAMPS = ('generation', 'md5Hash', 'etag', 'ETag', 'mtime', 'LastModified',
           'updated', 'created')  # fmt: skip


def _about(path):
  """(bytes, stamp) of a file."""
  if is_remote(path):
    about = _remote(path, lambda system, inner: system.info(inner))
    stamp = next((about[name] for name in _STAMPS if about.get(name)), '')
    return int(about['size']), str(stamp)
  found = _local(path, lambda: os.stat(path))
  return found.st_size, str(found.st_mtime_ns)


def _abouts(paths):
  """Of many files; a bucket is asked for some at a time, not one by one."""
  if not is_remote(paths[0]):
    return [_about(path) for path in paths]
  with concurrent.futures.ThreadPoolExecutor(_ASKED) as pool:
    return list(pool.map(_about, paths))


def open_file(path: str):
  """The file, for reading from its start to its end with few seeks."""
  if is_remote(path):
    return _remote(
      path, lambda system, inner: system.open(inner, 'rb', block_size=8 << 20)
    )
  return _local(path, lambda: plain.opened(path, buffering=1 << 20))


def read(path: str, offset: int, count: int, stamp: str = '') -> bytes:
  """Bytes [offset, offset + count); raises ValueError where some are gone.

  Or where a file of this machine was written since `find` gave its `stamp`.
  """
  if is_remote(path):
    data = _remote(
      path,
      lambda system, inner: system.cat_file(
        inner, start=offset, end=offset + count
      ),
    )
  else:
    # Opened each time: threads share nothing, and a file that was replaced or
    # deleted is noticed. It costs 20 microseconds.
    data, now = _local(path, lambda: _pread(path, offset, count))
  if len(data) != count:
    raise ValueError(
      f'{path} has shrunk: bytes {offset:,} to {offset + count:,} were there '
      f'when the index was made, {len(data):,} of {count:,} are; put the file '
      'back and run the same command again'
    )
  if stamp and not is_remote(path) and stamp != now:
    raise ValueError(
      f'{path} was written again since the index was made; run the same '
      'command again, which renews the index'
    )
  return data


def _pread(path, offset, count):
  """(bytes, when the file was written)."""
  descriptor = plain.descriptor_of(path)
  try:
    stamp = str(os.fstat(descriptor).st_mtime_ns)
    return os.pread(descriptor, count, offset), stamp
  finally:
    os.close(descriptor)


def _match(pattern, suffix):
  if is_remote(pattern):
    scheme = pattern.partition('://')[0]

    def listed(system, inner):
      if any(letter in inner for letter in '*?['):
        return system.glob(inner)
      if inner.endswith(suffix):
        return [inner]
      root = _bare(inner)
      return [
        p
        for p in system.find(inner)
        if _is_meant(_bare(p).removeprefix(root), suffix)
      ]

    found = _remote(pattern, listed)
    # Listings have paths without their scheme.
    return [
      path if is_remote(path) else f'{scheme}://{path.lstrip("/")}'
      for path in found
    ]
  if os.path.isdir(pattern):
    below = pathlib.Path(pattern)
    return [
      str(path)
      for path in sorted(below.rglob('*'))
      if _is_meant(path.relative_to(below).as_posix(), suffix)
      and not path.is_dir()
    ]
  if any(letter in pattern for letter in '*?['):
    return sorted(glob.glob(pattern, recursive=True))
  return [pattern]  # whether it is there is told when it is looked at


def _bare(path):
  """A path or URL without scheme and slashes around it."""
  return path.rpartition('://')[2].strip('/')


def _is_meant(name, suffix):
  """Whether a file has the ending, and no part of its name is hidden."""
  hidden = any(part.startswith('.') for part in name.split('/'))
  return name.lower().endswith(suffix) and not hidden


def _local(path, function):
  try:
    return retrying.patiently(function, path)
  except FileNotFoundError as e:
    raise ValueError(
      f'{path} is not there; put it back and run the same command again'
    ) from e
  except OSError as e:
    raise ValueError(f'{path} cannot be read: {e.strerror}') from e


def _remote(path, function):
  """function(file system, path in it), its errors on one line."""
  system, inner = _system(path)
  try:
    # OSError: of the net, and most of what buckets say when they are busy.
    return retrying.patiently(lambda: _ask(function, system, inner), path)
  except FileNotFoundError as e:
    raise ValueError(
      f'{path} is not there; put it back and run the same command again'
    ) from e
  except Exception as e:  # each file system has errors of its own
    raise ValueError(_refused(path, e)) from e


def _ask(function, system, inner):
  try:
    return function(system, inner)
  except OSError as e:
    # What gcsfs says of a bucket that is not for us; waiting will not help.
    if str(e).lower().startswith(('forbidden', 'anonymous')):
      raise PermissionError(str(e)) from e
    raise


def _system(path):
  """fsspec's file system of a URL, and the path in it."""
  try:
    return _open_system(path.partition('://')[0]), path
  except ImportError as e:  # fsspec itself, or what a scheme needs: gcsfs, s3fs
    raise ValueError(
      f"{path} is remote ({e}): pip install 'imagen-jax[data]', or copy it to "
      'this machine'
    ) from e
  except Exception as e:  # of credentials, whatever kind they are
    raise ValueError(_refused(path, e)) from e


@functools.cache
def _open_system(scheme):
  import fsspec  # not in the core

  return fsspec.filesystem(scheme)


def _refused(path, error):
  lines = str(error).strip().splitlines() or ['no reason given']
  scheme = path.partition('://')[0]
  remedy = _LOGIN.get(scheme, 'check the address and your credentials')
  return (
    f'{path} cannot be read ({type(error).__name__}: {lines[0][:160]}); '
    f'{remedy}'
  )


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
    with plain.opened(pathlib.Path(self.place) / name) as file:
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
  """The folder of a path or URL; of the Hub (hf://) as its cache has it."""
  text = str(hub.local(source) if hub.is_address(source) else source)
  if '://' in text:
    return Folder(place=text.rstrip('/'))
  return Folder(place=str(pathlib.Path(text).expanduser()))
