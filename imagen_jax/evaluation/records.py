"""What an evaluation keeps on disk, so that it can be interrupted at will.

DIR/settings.json        what the pictures depend on; another is refused
DIR/SPLIT.jsonl          one record a picture, appended; the last one counts
DIR/SPLIT/00007.png      the pictures, never drawn twice
"""

import json
import os
import pathlib
from collections.abc import Mapping

from imagen_jax.files import json_files

FILE = 'settings.json'


def claim(directory: pathlib.Path, settings: Mapping) -> None:
  """Takes the directory for these settings, or finds that it is theirs.

  Raises:
    ValueError: it holds pictures of other settings.
  """
  path = directory / FILE
  settings = json.loads(json.dumps(settings))
  if not path.exists():
    directory.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix('.new')
    fresh.write_text(json.dumps(settings, indent=2) + '\n')
    os.replace(fresh, path)
    return
  remedy = 'give another --out directory'
  before = json_files.read(path, remedy=remedy)
  if not isinstance(before, dict):
    raise ValueError(f'{path} holds no settings; {remedy}')
  for key in settings | before:
    if before.get(key) != settings.get(key):
      raise ValueError(
        f'--out={directory} holds pictures of {key} {before.get(key)!r}, not '
        f'{settings.get(key)!r}; give another directory or the same settings'
      )


def read(path: pathlib.Path) -> dict[int, dict]:
  """Records of a split by index; a line cut off by a kill is passed over."""
  if not path.exists():
    return {}
  found = {}
  for line in path.read_text(encoding='utf-8', errors='replace').split('\n'):
    try:
      record = json_files.parse(line, path)
    except ValueError:
      continue
    if isinstance(record, dict) and type(record.get('index')) is int:
      found[record['index']] = record
  return found


def append(path: pathlib.Path, record: Mapping) -> None:
  """Adds a record, on a line of its own even behind a cut-off one."""
  with open(path, 'ab+') as f:
    if f.tell():
      f.seek(-1, os.SEEK_END)
      if f.read(1) != b'\n':
        f.write(b'\n')
    f.write(json.dumps(record).encode() + b'\n')


def picture_path(directory: pathlib.Path, split: str, index: int):
  return directory / split / f'{index:05d}.png'
