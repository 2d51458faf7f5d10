"""Scores that commands left in directories, as tables of what compares.

  evaluate, fid      {protocol_id, protocol, scores...}: a table a protocol
  evaluate --split   {split: {part: {share, interval}}}, settings.json beside
  clip_score         {clip_score, model, sha256...}: a table a model

read(directories) -> (tables, remarks)
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from imagen_jax.evaluation import picture_sets, records
from imagen_jax.files import json_files

FILE = 'scores.json'
_DEPTH = 3  # directories below those given that are looked at
# Settings of `evaluate --split` that are part of what is measured, not how.
_MEASURED = ('cascade',)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """Scores of one protocol."""

  title: str
  protocol: str  # its id
  columns: tuple[str, ...]
  rows: tuple[tuple[str, tuple[str, ...]], ...]  # (whose, a cell a column)
  note: str = ''
  description: Mapping | None = None  # the whole protocol


def read(directories: Sequence[str]) -> tuple[list[Table], list[str]]:
  """The tables of all files, and what one should know, a line each.

  Raises ValueError where a directory is none, or has no scores.
  """
  found, remarks = {}, []
  for given in directories:
    paths = _listing(given)
    for path in paths:
      try:
        tables = _tables(path, _name(path, given))
      except (OSError, ValueError) as e:
        remarks.append(f'scores passed over: {e}')
        continue
      except (TypeError, KeyError, AttributeError, OverflowError) as e:
        remarks.append(f'scores passed over: {path} is damaged ({e!r})')
        continue
      for table in tables:
        key = table.title, table.protocol, table.columns
        found[key] = _joined(found.get(key), table)
  return list(found.values()), remarks


def _listing(given):
  """The files of a directory, nearer ones first."""
  root = pathlib.Path(given)
  if root.is_file():
    return [root]
  if not root.is_dir():
    raise ValueError(
      f'--scores={given} does not exist; give directories that evaluate, fid '
      'or clip_score wrote'
    )
  paths = [
    path
    for depth in range(_DEPTH + 1)
    for path in sorted(root.glob('/'.join(['*'] * depth + [FILE])))
    if path.is_file()  # a pipe would never end
  ]
  if not paths:
    raise ValueError(
      f'--scores={given} has no {FILE}; give directories that evaluate, fid or '
      'clip_score wrote'
    )
  return paths


def _name(path, given):
  """What a result is called: its directory, as far as one needs it."""
  if path == pathlib.Path(given):  # a file was given
    return path.resolve().parent.name
  inner = path.parent.relative_to(given)
  if str(inner) == '.':
    return pathlib.Path(given).resolve().name
  return str(inner)


def _tables(path, name):
  """The tables of one file."""
  found = json_files.read(path)
  if not isinstance(found, dict):
    raise ValueError(f'{path} holds no scores')
  if isinstance(found.get('protocol'), dict):
    return [_of_protocol(path, name, found)]
  if 'clip_score' in found:
    return [_of_clip(name, found)]
  splits = {
    split: parts
    for split, parts in found.items()
    if isinstance(parts, dict) and isinstance(parts.get('n'), int)
  }
  if not splits:
    raise ValueError(f'{path} holds no scores that are known here')
  return [_of_splits(path, name, splits)]


def _of_protocol(path, name, found):
  """Of `evaluate --protocol` and of fid: all numbers that it holds."""
  protocol, said = found['protocol'], str(found.get('protocol_id'))
  identity = picture_sets.identity(protocol)
  if identity != said:
    raise ValueError(
      f'{path} was altered: its protocol has id {identity}, it says {said}; '
      'measure again'
    )
  scores = found.get('scores', found)
  numbers = {
    column: _number(value)
    for column, value in scores.items()
    if isinstance(value, int | float) and not isinstance(value, bool)
  }
  for side in ('images', 'reference'):
    count = found.get(side)
    if isinstance(count, dict) and isinstance(count.get('count'), int):
      numbers[side] = f'{count["count"]:,}'
  cascade = {'cascade': str(found['cascade'])} if 'cascade' in found else {}
  cells = {**cascade, **numbers}
  return Table(
    title=str(found.get('title', 'Pictures against a reference')),
    protocol=said,
    columns=tuple(cells),
    rows=((name, tuple(cells.values())),),
    description=protocol,
  )


def _of_clip(name, found):
  model, sha256 = str(found.get('model')), str(found.get('sha256', ''))
  numbers = {
    column: _number(found[column])
    for column in ('clip_score', 'standard_error', 'cosine', 'n')
    if isinstance(found.get(column), int | float)
  }
  return Table(
    title=f'CLIP score by {model}',
    protocol=sha256[:12],
    columns=tuple(numbers),
    rows=((name, tuple(numbers.values())),),
  )


def _of_splits(path, name, splits):
  """Of `evaluate --split`: shares in percent with their intervals."""
  try:
    settings = json_files.read(path.parent / records.FILE)
  except ValueError as e:
    raise ValueError(
      f'{path} has no readable {records.FILE} beside it, which says how it was '
      'measured'
    ) from e
  about = {k: v for k, v in settings.items() if k not in _MEASURED}
  parts = [
    part
    for part, said in next(iter(splits.values())).items()
    if isinstance(said, dict)
  ]
  rows = tuple(
    (
      f'{name}, {split}',
      (
        str(settings.get('cascade', '')),
        str(found['n']),
        *(_share(found.get(part)) for part in parts),
      ),
    )
    for split, found in splits.items()
  )
  return Table(
    title='Scenes, read back by the checker',
    protocol=picture_sets.identity(about),
    columns=('cascade', 'n', *parts),
    rows=rows,
    note='Percent of pictures right [95% interval]; of emoji scenes, which say '
    'nothing about natural images.',
    description=about,
  )


def _joined(before, table):
  if before is None:
    return table
  return dataclasses.replace(before, rows=(*before.rows, *table.rows))


def _share(said):
  """'12.0 [8.2, 17.2]', or '-' where nothing was asked."""
  if not isinstance(said, dict) or not said.get('asked'):
    return '-'
  low, high = (100 * v for v in said['interval'])
  return f'{100 * said["share"]:.1f} [{low:.1f}, {high:.1f}]'


def _number(value):
  return f'{value:,}' if isinstance(value, int) else f'{value:.6g}'
