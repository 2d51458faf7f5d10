"""Captions alone, one after another, from where people keep them.

  captions.txt             a text file, UTF-8, one caption a line
  tfds:coco_captions       a TensorFlow data set, prepared beforehand
  scenes:lite/train        the embedded scenes, drawn from nothing

Each source is iterated as often as needed and gives the same captions, in the
same order. TensorFlow is imported when such a data set is read.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator

import numpy as np

from imagen_jax.data import sequential
from imagen_jax.data.emoji_scenes import source, tfds_builder


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
  """One caption a line; an empty line is the empty caption."""

  path: str

  def __iter__(self) -> Iterator[str]:
    try:
      with open(self.path, 'rb') as lines:
        # Lines of bytes end at \n alone: a caption may hold U+2028 and such.
        for number, line in enumerate(lines, start=1):
          yield self._decode(line, number)
    except OSError as e:
      raise ValueError(
        f'captions file {self.path} cannot be read: {e.strerror}'
      ) from e

  def _decode(self, line, number):
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
class Tfds:
  """A text feature of a TensorFlow data set; several texts an example too."""

  name: str  # with its config: 'emoji_scenes/lite_64'
  split: str = 'train'
  feature: str = 'caption'  # nested ones with a slash: 'captions/text'
  data_dir: str | None = None  # None = TFDS's own

  def __iter__(self) -> Iterator[str]:
    for example in self._open():
      value = example
      for part in self.feature.split('/'):
        value = value[part]
      for text in np.asarray(value, object).reshape(-1):
        yield text.decode('utf-8')

  def _open(self):
    import tensorflow_datasets as tfds

    # Read this feature alone: pictures stay undecoded.
    wanted = sequential.nested(self.feature, True)
    try:
      if self.name.startswith('emoji_scenes/'):
        config = self.name.removeprefix('emoji_scenes/')
        builder = tfds_builder.builder(config, data_dir=self.data_dir)
      else:
        builder = tfds.builder(self.name, data_dir=self.data_dir)
      data = builder.as_dataset(
        split=self.split, decoders=tfds.decode.PartialDecoding(wanted)
      )
      return tfds.as_numpy(data)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as e:
      reason = str(e).strip().splitlines()[0][:160]
      raise ValueError(
        f'tfds:{self.name}, split {self.split}, feature {self.feature}: '
        f'{reason}; prepare the data set first (tfds build), and see its '
        'splits and features there'
      ) from e


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
  feature: str = 'caption',
  data_dir: str | None = None,
  count: int | None = None,
) -> File | Tfds | Scenes:
  """The source that a command line names; the rest is for its kind."""
  kind, _, name = text.partition(':')
  if kind == 'tfds':
    return Tfds(name=name, split=split, feature=feature, data_dir=data_dir)
  if kind == 'scenes':
    vocabulary, _, part = name.partition('/')
    return Scenes(
      vocabulary=vocabulary or 'lite', split=part or 'train', count=count
    )
  if not pathlib.Path(text).is_file():
    raise ValueError(
      f'captions file {text} does not exist; give a file, tfds:NAME or '
      'scenes:VOCABULARY/SPLIT'
    )
  return File(path=text)


def chain(sources: list) -> Iterator[str]:
  """The captions of all sources in turn."""
  return itertools.chain.from_iterable(sources)
