"""Cascade directories: the manifest, its checksums, appearing whole.

Not in the paper. A *cascade directory* holds 1 to 3 stage directories
(`stages`), a text directory (`text.encoders`) and the manifest that binds them:

  format_version   of this file
  stages           names of the stage directories, lowest resolution first
  text             name of the text directory
  layout           name of the layout stage directory; left out where none is
  words            the words the cascade was trained on, or null: no claim
  checksums        sha256 of every file by its path inside the directory
  id               short hash of the checksums: names the cascade in pictures
  licence          of the weights, in words; absent: nothing is said
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import uuid

from imagen_jax.files import json_files

FORMAT_VERSION = 1
FILE = 'cascade.json'
_LATER = {'layout', 'licence'}  # fields that a manifest may lack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """What cascade.json says."""

  stages: tuple[str, ...]  # names of sub-directories, lowest resolution first
  text: str  # name of the text directory
  words: tuple[str, ...] | None  # the claimed vocabulary; None = no claim
  checksums: dict[str, str]  # path inside the directory -> sha256
  id: str  # see `identity`
  layout: str | None = None  # name of the layout stage directory; None = none
  licence: str | None = None  # of the weights, in words; None = not said


def make(directory, *, stages, text, words, layout=None, licence=None):
  """The manifest of the files that lie in `directory`."""
  directory = pathlib.Path(directory)
  checksums = {
    path.relative_to(directory).as_posix(): sha256(path)
    for name in (*stages, text, *([layout] if layout else []))
    for path in sorted((directory / name).iterdir())
  }
  return Manifest(
    stages=tuple(stages),
    text=text,
    words=None if words is None else tuple(sorted(set(words))),
    checksums=checksums,
    id=identity(checksums),
    layout=layout,
    licence=licence,
  )


def licences(directories):
  """What the cascades that directories lie in say of their weights; or None.

  Each licence once: weights keep theirs in whatever they are bound into.
  """
  found = []
  for directory in directories:
    parent = pathlib.Path(directory).absolute().parent
    if (parent / FILE).is_file():
      found.append(read(parent).licence)
  return '\n'.join(dict.fromkeys(filter(None, found))) or None


def to_json(manifest):
  """`manifest` as a JSON-able dict."""
  fields = dataclasses.asdict(manifest)
  for name in _LATER:  # left out as in all manifests before there were any
    if fields[name] is None:
      del fields[name]
  return {'format_version': FORMAT_VERSION, **fields}


def read(directory):
  """Reads cascade.json; raises ValueError with one line and the remedy."""
  path = pathlib.Path(directory) / FILE
  if not path.parent.is_dir():
    raise ValueError(f'cascade directory {path.parent} does not exist')
  fields = json_files.read(
    path,
    f'{path.parent} is no cascade directory: it has no {FILE}; make one with '
    'python -m imagen_jax.bind',
  )
  return _from_json(fields, path)


def _from_json(fields, path):
  version = (
    fields.pop('format_version', None) if isinstance(fields, dict) else None
  )
  if version != FORMAT_VERSION:
    raise ValueError(
      f'{path}: format_version {version}, this release reads '
      f'{FORMAT_VERSION}; update imagen_jax or bind the cascade again'
    )
  known = {f.name for f in dataclasses.fields(Manifest)}
  if set(fields) | _LATER != known:
    raise ValueError(
      f'{path} has fields {sorted(fields)}, this release reads '
      f'{sorted(known)}; bind the cascade again'
    )
  _check_names(fields, path)
  words = fields['words']
  return Manifest(
    stages=tuple(fields['stages']),
    text=fields['text'],
    words=None if words is None else tuple(words),
    checksums=dict(fields['checksums']),
    id=fields['id'],
    layout=fields.get('layout'),
    licence=fields.get('licence'),
  )


def _check_names(fields, path):
  """Raises ValueError for what is no name, or leads out of the directory."""

  def strings(value, kind):
    return isinstance(value, kind) and all(isinstance(v, str) for v in value)

  stages, text, sums = fields['stages'], fields['text'], fields['checksums']
  layout = fields.get('layout')
  if not (
    strings(stages, list)
    and isinstance(text, str)
    and isinstance(layout, str | None)
    and (fields['words'] is None or strings(fields['words'], list))
    and strings(sums, dict)
    and strings([*sums.values()], list)
    and isinstance(fields.get('licence'), str | None)
  ):
    raise ValueError(
      f'{path} is altered: not all names are text; copy it again'
    )
  names = [*stages, text, *([] if layout is None else [layout])]
  for name in names:
    if not re.fullmatch(r'\w[\w.-]*', name):
      raise ValueError(
        f'{path}: {name!r} is no name of a directory beside it; bind again'
      )
  for name in sums:
    folder, _, file = name.partition('/')
    if folder not in names or not re.fullmatch(r'\w[\w.-]*', file):
      raise ValueError(
        f'{path}: checksum of {name!r}, which is in none of the directories '
        f'{names}; bind again'
      )


def verify(directory, manifest):
  """Raises ValueError naming the first file that is not what was bound."""
  directory = pathlib.Path(directory)
  for name in (*manifest.stages, manifest.text, manifest.layout):
    if name is not None and not any(
      path.startswith(f'{name}/') for path in manifest.checksums
    ):
      raise ValueError(
        f'{directory / FILE} is altered: {name} has no checksums; copy it again'
      )
  for name, expected in manifest.checksums.items():
    path = directory / name
    if not path.is_file():
      raise ValueError(f'{path} is missing; copy the cascade directory again')
    try:
      found = sha256(path)
    except OSError as e:
      raise ValueError(f'{path} cannot be read: {e.strerror}') from e
    if found != expected:
      raise ValueError(
        f'{path} is truncated or altered: its sha256 is {found[:12]}, '
        f'{FILE} says {expected[:12]}; copy it again, or bind again if you '
        'changed it'
      )
  if identity(manifest.checksums) != manifest.id:
    raise ValueError(
      f'{directory / FILE} is altered: its id is {manifest.id}, its checksums '
      f'give {identity(manifest.checksums)}; copy it again'
    )


def check_out(out, replace):
  """Raises ValueError where something at `out` would be lost."""
  if not out.exists():
    return
  if not replace or not out.is_dir():
    raise ValueError(
      f'--out={out} exists; add --replace if it is a cascade directory'
    )
  for path in out.iterdir():
    if path.is_dir() and not re.fullmatch(r'stage_\d+|text|layout', path.name):
      raise ValueError(
        f'--out={out} holds the directory {path.name}, which no cascade has; '
        'give another --out'
      )


@contextlib.contextmanager
def appearing(out):
  """A fresh directory that becomes `out` when the block ends well.

  Files at the top of an older `out` are carried over: a model card, pictures.
  """
  out = out.absolute()  # "." has no name of its own
  out.parent.mkdir(parents=True, exist_ok=True)
  mark = uuid.uuid4().hex[:8]
  fresh = out.with_name(f'.{out.name}.{mark}')
  old = out.with_name(f'.{out.name}.{mark}.old')
  fresh.mkdir()
  try:
    yield fresh
    if out.exists():
      for path in out.iterdir():
        if path.is_file() and path.name != FILE:
          shutil.copy2(path, fresh / path.name)
      os.rename(out, old)
    os.rename(fresh, out)
    shutil.rmtree(old, ignore_errors=True)
  finally:
    if old.exists() and not out.exists():
      os.rename(old, out)
    shutil.rmtree(fresh, ignore_errors=True)


def identity(checksums):
  """Twelve hexadecimal digits that name these files with these contents."""
  lines = [f'{name} {checksums[name]}\n' for name in sorted(checksums)]
  return hashlib.sha256(''.join(lines).encode()).hexdigest()[:12]


def sha256(path):
  """The checksum of a file, in hexadecimal."""
  with open(path, 'rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()


def words_in(text):
  """The words of a caption, in lower case: 'A T-shirt.' -> ['a', 't-shirt']."""
  return re.findall(r'[^\W_]+(?:[-\'][^\W_]+)*', text.lower())
