"""The sets that people have, each a config that gin binds to `data`.

  pipeline.EmojiScenes   the embedded scenes, drawn
  Folder                 pictures with captions beside them or in one file

`open(split)` gives what `pipeline.Batches` reads: a set addressed by index.
The first use of a set makes its index (`index`).
"""

import dataclasses
import functools
import pathlib

from imagen_jax.data import folders, index, photographs, pipeline


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
  """A folder: name.jpg + name.txt or .json, or metadata.jsonl/csv/parquet."""

  directory: str
  caption: str | None = None  # key or column; None = text, caption or captions
  index_dir: str | None = None  # None = in the folder itself
  reading: photographs.Reading = photographs.Reading()

  def open(self, split: str) -> photographs.Photographs:
    fetch = functools.partial(_fetch_file, self.directory)
    return photographs.Photographs(
      self.open_index(), fetch, self.reading, split
    )

  def open_index(self) -> index.Index:
    """The index, made where there is none."""
    about = {
      'kind': 'folder',
      'root': self.directory,
      'settings': {'caption': self.caption},
      'files': [],
    }
    return index.open_or_make(
      self.index_dir or pathlib.Path(self.directory) / index.FOLDER,
      about,
      lambda: folders.scan(self.directory, self.caption),
    )


def _fetch_file(directory, row, text):
  return folders.fetch(directory, text, row)


Source = pipeline.EmojiScenes | Folder
