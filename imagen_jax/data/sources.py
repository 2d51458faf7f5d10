"""The sets that people have, each a config that gin binds to `data`.

  pipeline.EmojiScenes   the embedded scenes, drawn
  Folder                 pictures with captions beside them or in one file
  Shards                 tar shards of img2dataset, local or in a bucket
  Tfds                   a TensorFlow data set by name
  SeqioTask              a registered seqio Task or Mixture; read forward only
  Mixture                several of these, by weight

`open(split)` of 'train' or 'validation' gives what `pipeline.Batches` reads.
The first use of a set makes its index (`index`).
"""

import dataclasses
import functools
import os
import pathlib
import sys

from imagen_jax.data import (
  caption_fields,
  folders,
  index,
  indexing,
  mixing,
  photographs,
  pipeline,
  seqio_tasks,
  sequential,
  shards,
  tfds_records,
  tfds_sets,
  tfds_streams,
)
from imagen_jax.files import remote


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
  """A folder: name.jpg + name.txt or .json, or metadata.jsonl/csv/parquet."""

  directory: str
  caption: str | None = None  # key or column; None = .txt, or a usual one
  image: str | None = None  # column of file names; None = a usual one
  lines: bool = False  # whether each line of a .txt is a caption of its own
  index_dir: str | None = None  # None = in the folder itself
  reading: photographs.Reading = photographs.Reading()

  def open(self, split: str) -> photographs.Photographs:
    """A split; the validation share is taken from the folder."""
    fetch = functools.partial(_fetch_file, self.directory, self.image)
    return photographs.Photographs(
      self.open_index(), fetch, self.reading, split
    )

  def open_index(self) -> index.Index:
    """The index, made where there is none."""
    if not os.path.isdir(self.directory):
      raise ValueError(f'folder {self.directory} does not exist')
    fields = _fields(self)
    about = {
      'kind': 'folder',
      'root': self.directory,
      'settings': {**dataclasses.asdict(fields), 'image': self.image},
      'files': [],
    }
    place = pathlib.Path(
      self.index_dir or pathlib.Path(self.directory) / index.FOLDER
    )
    own = place, place.with_name(f'{place.name}.pieces')
    return indexing.open_or_make(
      place,
      about,
      lambda: folders.pieces(self.directory, fields, self.image, own),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shards:
  """Tar shards of jpg + txt + json, as img2dataset writes them."""

  files: str  # a directory, a pattern, or 'gs://b/{00000..00099}.tar'
  caption: str | None = None  # key of the .json; None = .txt, or a usual one
  lines: bool = False  # whether each line of a .txt is a caption of its own
  index_dir: str | None = None  # None = beside the shards, if these are local
  reading: photographs.Reading = photographs.Reading()

  def open(self, split: str) -> photographs.Photographs:
    """A split; the validation share is taken from the shards."""
    found, root, files = self._find()
    fetch = functools.partial(
      _fetch_member, root, files, _unpacked(found.directory)
    )
    return photographs.Photographs(found, fetch, self.reading, split)

  def open_index(self) -> index.Index:
    """The index, made where there is none."""
    return self._find()[0]

  def _find(self):
    """The index, and where the shards are now: they may have moved with it."""
    if self.index_dir is None and remote.is_remote(self.files):
      raise ValueError(
        f"{self.files} is remote: say where its index is kept, as index_dir='"
        "runs/index'"
      )
    # What was unpacked may lie among the shards.
    own = self.index_dir and _unpacked(pathlib.Path(self.index_dir))
    root, files = remote.find(self.files, remote.TARS, own)
    place = pathlib.Path(self.index_dir or pathlib.Path(root) / index.FOLDER)
    fields = _fields(self)
    about = {
      'kind': 'shards',
      'root': root,
      'settings': dataclasses.asdict(fields),
      'files': files,
    }
    found = indexing.open_or_make(
      place,
      about,
      lambda: shards.pieces(root, files, fields, _unpacked(place)),
    )
    return found, root, files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tfds:
  """A TensorFlow data set; ArrayRecord files are read without TensorFlow."""

  name: str  # with its config and version: 'emoji_scenes/lite_64:1.0.0'
  image: str = 'image'  # feature; nested ones with a slash
  caption: str = 'caption'  # feature: 'captions/text' of coco_captions
  train: str = 'train'  # split, or a part of one: 'train[1%:]'
  held_out: str = 'validation'  # likewise: 'train[:1%]'
  data_dir: str | None = None  # None = TFDS's own
  index_dir: str | None = None  # None = beside the files
  reading: photographs.Reading = photographs.Reading()

  def open(self, split: str):
    """A split; stored as TFRecord, it is read forward only."""
    part = {'train': self.train, 'validation': self.held_out}[split]
    name, path = f'tfds:{self.name}/{part}', (self.image, self.caption)
    found = tfds_sets.builder(self.name, self.data_dir)
    tfds_sets.check_features(found, path, f'tfds:{self.name}')
    if not tfds_sets.is_random_access(found):
      _note_forward(name, f'is stored as {found.info.file_format.value}')
      items = tfds_streams.forward_items(self.name, self.data_dir, part, *path)
      return sequential.Forward(name, items, self.reading)
    whole = dataclasses.replace(self.reading, validation=0.0)
    records, opened = self._indexed(found, part)
    return photographs.Photographs(opened, records, whole, 'train')

  def open_index(self) -> index.Index:
    """The index of the training split."""
    found = tfds_sets.builder(self.name, self.data_dir)
    if not tfds_sets.is_random_access(found):
      raise ValueError(
        f'tfds:{self.name} is stored as {found.info.file_format.value} and has '
        'no index; prepare it with --file_format=array_record'
      )
    return self._indexed(found, self.train)[1]

  def _indexed(self, found, part):
    records = tfds_records.Records(
      self.name, self.data_dir, part, self.image, self.caption
    )
    about = {
      'kind': 'tfds',
      'root': f'tfds:{self.name}',
      'settings': {'image': self.image, 'caption': self.caption},
      'files': records.files(),
    }
    base = pathlib.Path(self.index_dir or found.data_path)
    safe = ''.join(c if c.isalnum() else '_' for c in part)
    place = base / f'{index.FOLDER}_{safe}'
    return records, indexing.open_or_make(place, about, records.pieces)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeqioTask:
  """A registered seqio Task or Mixture with a picture and a text feature.

  Import the module that registers it in the gin file.
  """

  task: str
  image: str = 'image'  # feature
  caption: str = 'caption'  # feature
  train: str = 'train'  # split
  held_out: str = 'validation'  # split
  reading: photographs.Reading = photographs.Reading()

  def open(self, split: str) -> sequential.Forward:
    """A split, read forward only."""
    part = {'train': self.train, 'validation': self.held_out}[split]
    name = f'seqio:{self.task}/{part}'
    seqio_tasks.check_task(self.task, part)
    _note_forward(name, 'is a seqio task')
    items = functools.partial(
      seqio_tasks.task_items, self.task, part, self.image, self.caption
    )
    return sequential.Forward(name, items, self.reading)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
  """Several sources in fixed shares of every batch."""

  sources: tuple[pipeline.EmojiScenes | Folder | Shards | Tfds | SeqioTask, ...]
  weights: tuple[float, ...]  # one for each; their sum is what it is

  def __post_init__(self):
    if len(self.sources) != len(self.weights):
      raise ValueError(
        f'Mixture has {len(self.sources)} sources and {len(self.weights)} '
        'weights; give one weight for each'
      )
    mixing.shares(self.weights)

  def open(self, split: str) -> mixing.Mixed:
    """The split of every part."""
    parts = [source.open(split) for source in self.sources]
    return mixing.Mixed(parts, self.weights)


Source = pipeline.EmojiScenes | Folder | Shards | Tfds | SeqioTask | Mixture


def _fields(source):
  return caption_fields.Fields(caption=source.caption, lines=source.lines)


def _fetch_file(directory, image, row, text):
  return folders.fetch(directory, text, row, image)


def _unpacked(place):
  """Where compressed shards are unpacked to, beside the index."""
  return place.with_name(f'{place.name}.unpacked')


def _fetch_member(root, files, unpacked, row, text):
  del text
  return shards.fetch(root, files, row, unpacked)


def _note_forward(name, what):
  print(
    f'{name} {what}: it is read forward only, so that a resumed run reads '
    'again what it had read, each host reads all of it, and it is shuffled '
    'within a buffer',
    file=sys.stderr,
  )
