"""The metadata tables of a folder and of the folders in it.

  Table(root, fields, image).of(below, names)   what the table of a folder says

A table speaks for its own folder and all below, but for those that have one of
their own. Rows of one picture, wherever they stand, are captions of it.
"""

import dataclasses
import os
import pathlib
import unicodedata

from imagen_jax.data import caption_fields, index, tables

NAMES = tuple(f'metadata.{kind}' for kind in tables.KINDS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """A picture, and where its captions are."""

  path: str  # below the folder
  captions: tuple[str, ...] = ()  # of the metadata
  beside: str | None = None  # or in this file


def is_one(name: str) -> bool:
  """Whether a file is metadata, by its name."""
  return name.lower() in NAMES


class Table:
  """All tables of a folder, met one after another."""

  def __init__(self, root, fields: caption_fields.Fields, image: str | None):
    self._root, self._fields, self._image = root, fields, image
    self._folders, self._named = set(), set()

  def governs(self, below: pathlib.Path) -> bool:
    """Whether a table speaks for the pictures of this folder."""
    return below in self._folders or not self._folders.isdisjoint(below.parents)

  def names(self, path: str) -> bool:
    """Whether a row names this picture."""
    return path in self._named

  def of(self, below: pathlib.Path, names):
    """`Found` and `index.Reject` of the table among `names`, if there is one.

    Raises ValueError where there are several.
    """
    some = sorted(name for name in names if is_one(name))
    if len(some) > 1:
      raise ValueError(
        f'{self._root / below} has {" and ".join(some)}; keep one of them'
      )
    if some:
      self._folders.add(below)
      yield from self._read(below, below / some[0])

  def _read(self, below, table):
    pictures, rejects, checked = {}, [], False
    wanted = tables.IMAGES if self._image is None else (self._image,)
    for number, row in tables.rows(self._root / table, wanted):
      place = f'{table.as_posix()}:{number}'
      if isinstance(row, str):
        rejects.append(index.Reject(id=place, reason=row))
        continue
      if not checked:
        tables.check(self._root / table, row, self._image, self._fields.caption)
        checked = True
      try:
        path, captions = self._row(below, row)
      except caption_fields.BadCaption as e:
        rejects.append(index.Reject(id=place, reason=str(e)))
        continue
      before = pictures.setdefault(path, [])
      fresh = [caption for caption in captions if caption not in before]
      if captions and not fresh:
        rejects.append(index.Reject(id=place, reason='row occurs twice'))
      before += fresh
    yield from self._found(pictures)
    yield from rejects

  def _found(self, pictures):
    for path, captions in pictures.items():
      if path in self._named:
        yield index.Reject(id=path, reason='picture named twice')
        continue
      self._named.add(path)
      yield Found(path=path, captions=tuple(captions))

  def _row(self, below, row):
    """(path of the picture, captions) of a row; raises BadCaption."""
    path = row.get(tables.chosen(row, self._image))
    if isinstance(path, dict):  # as the Hub writes one: {bytes, path}
      path = path.get('path')
    if not isinstance(path, str) or not path:
      raise caption_fields.BadCaption('no file_name')
    if '\0' in path or any('\ud800' <= c <= '\udfff' for c in path):
      raise caption_fields.BadCaption('file_name is no name of a file')
    path = os.path.normpath(path)
    if path.startswith(('..', '/')):
      raise caption_fields.BadCaption('path leaves the folder')
    path = self._written((below / path).as_posix())
    try:
      key = caption_fields.choose_key(row, self._fields.caption)
    except KeyError:
      return path, ()
    return path, caption_fields.of_value(row[key])

  def _written(self, path):
    """The path with its accents as the disk has them."""
    if path.isascii() or os.path.exists(self._root / path):
      return path
    for form in ('NFC', 'NFD'):
      other = unicodedata.normalize(form, path)
      if os.path.exists(self._root / other):
        return other
    return path
