"""Captions alone, one after another, from where people keep them.

  captions.txt             a text file, UTF-8, one caption a line
  metadata.jsonl           a table (.jsonl, .csv, .tsv, .parquet), by its column
  folder:photos            pictures with captions, as training reads them
  shards:shards/*.tar      tar shards, likewise
  tfds:coco_captions       a TensorFlow data set, prepared beforehand
  scenes:lite/train        the embedded scenes, drawn from nothing

Each source is iterated as often as needed and gives the same captions, in the
same order: of pictures, those that training meets.
"""

import dataclasses
import functools
import itertools
import pathlib
import sys
from collections.abc import Iterator

from imagen_jax.data import caption_fields, sources, tables, tfds_streams
from imagen_jax.data.emoji_scenes import source
from imagen_jax.files import plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
  """One caption a line; an empty line is the empty caption."""

  path: str

  def __iter__(self) -> Iterator[str]:
    try:
      with plain.opened(self.path) as file:
        # Lines of bytes end at \n alone: a caption may hold U+2028 and such.
        lines = plain.lines(file, caption_fields.MOST)
        for number, line in enumerate(lines, start=1):
          yield self._decode(line, number)
    except OSError as e:
      raise ValueError(
        f'captions file {self.path} cannot be read: {e.strerror}'
      ) from e

  def _decode(self, line, number):
    if line is None:
      raise ValueError(
        f'{self.path}: line {number} has more than {caption_fields.MOST:,} '
        'bytes; give a file of one caption a line'
      )
    try:
      text = line.decode('utf-8-sig' if number == 1 else 'utf-8')
    except UnicodeDecodeError as e:
      raise ValueError(
        f'{self.path}: line {number} is not UTF-8 (byte {e.start + 1} is '
        f'0x{line[e.start]:02x}); convert the file, for example by iconv -f '
        'latin1 -t utf-8'
      ) from e
    return text.removesuffix('\n').removesuffix('\r')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """A column of a table, as of the metadata of a folder; lists too."""

  path: str
  caption: str | None = None  # column; None = a usual one

  def __iter__(self) -> Iterator[str]:
    wanted = caption_fields.KEYS if self.caption is None else (self.caption,)
    missing, checked = [], False
    for number, row in tables.rows(self.path, wanted):
      if not checked and isinstance(row, dict):
        checked = True
        try:
          caption_fields.choose_key(row, self.caption)
        except KeyError as e:
          raise ValueError(f'{self.path}: {e.args[0]}') from e
      try:
        key = caption_fields.choose_key(row, self.caption)
        captions = caption_fields.of_value(row[key])
      except (KeyError, TypeError, caption_fields.BadCaption):
        captions = ()
      if not captions:
        missing.append(number)
      yield from captions
    _tell_missing(self.path, len(missing), tuple(missing[:1]))


@functools.cache  # a source is gone through several times
def _tell_missing(path, count, first):
  if count:
    print(
      f'{path}: {count:,} rows without a caption, the first is row {first[0]}',
      file=sys.stderr,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tfds:
  """A text feature of a TensorFlow data set; several texts an example too."""

  name: str  # with its config: 'emoji_scenes/lite_64'
  split: str = 'train'
  feature: str = 'caption'  # nested ones with a slash: 'captions/text'
  data_dir: str | None = None  # None = TFDS's own

  def __iter__(self) -> Iterator[str]:
    found = tfds_streams.stored_captions(
      self.name, self.data_dir, self.split, self.feature
    )
    return itertools.chain.from_iterable(found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Indexed:
  """All captions of a folder or of shards, which training may meet."""

  source: sources.Folder | sources.Shards

  def __iter__(self) -> Iterator[str]:
    found = self.source.open_index()
    for row in found.rows:
      yield from found.text(row).captions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenes:
  """Captions of the first scenes of a split."""

  vocabulary: str = 'lite'
  split: str = 'train'
  count: int | None = None  # scenes; None = all, for a finite split

  def __iter__(self) -> Iterator[str]:
    scenes = source.EmojiScenes(self.split, self.vocabulary)
    try:
      size = len(scenes)
    except TypeError as e:  # endless
      if self.count is None:
        raise ValueError(
          f'scenes:{self.vocabulary}/{self.split} is endless: say how many '
          'with --count, as many as steps x batch_size'
        ) from e
      size = self.count
    for index in range(min(size, self.count or size)):
      yield scenes.caption(index)


def parse(
  text: str,
  *,
  split: str = 'train',
  feature: str | None = None,
  data_dir: str | None = None,
  index_dir: str | None = None,
  count: int | None = None,
  image: str | None = None,
  lines: bool = False,
) -> File | Table | Tfds | Indexed | Scenes:
  """The source that a command line names; the rest is for its kind."""
  kind, _, name = text.partition(':')
  if kind == 'tfds':
    return Tfds(
      name=name, split=split, feature=feature or 'caption', data_dir=data_dir
    )
  how = {'caption': feature, 'index_dir': index_dir, 'lines': lines}
  if kind == 'folder':
    return Indexed(source=sources.Folder(directory=name, image=image, **how))
  if kind == 'shards':
    return Indexed(source=sources.Shards(files=name, **how))
  if kind == 'scenes':
    vocabulary, _, part = name.partition('/')
    return Scenes(
      vocabulary=vocabulary or 'lite', split=part or 'train', count=count
    )
  if not pathlib.Path(text).is_file():
    raise ValueError(
      f'captions file {text} does not exist; give a file, folder:DIR, '
      'shards:PATTERN, tfds:NAME or scenes:VOCABULARY/SPLIT'
    )
  if tables.kind_of(text):
    return Table(path=text, caption=feature)
  return File(path=text)


def chain(sources: list) -> Iterator[str]:
  """The captions of all sources in turn."""
  return itertools.chain.from_iterable(sources)
