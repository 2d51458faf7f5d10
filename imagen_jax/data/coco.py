"""COCO's validation set of 2014, captions and photographs (section 5.2).

  read(DIR)                 annotations/captions_val2014.json, val2014/*.jpg
  from_tfds(NAME, ..., DIR) writes that layout out of TFDS' coco_captions

TFDS has the split of Karpathy, whose val, test and restval together are
val2014; the bytes of the photographs are taken over, so that what is measured
does not depend on where they came from.
"""

import dataclasses
import json
import pathlib

import numpy as np

from imagen_jax.data import tfds_streams
from imagen_jax.files import json_files, weights

IMAGES, CAPTIONS = 40_504, 202_654  # in all of val2014
ANNOTATIONS = 'annotations/captions_val2014.json'
_FOLDERS = ('val2014', 'images/val2014', 'images', '.')
_SPLITS = ('val', 'test', 'restval')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caption:
  """One of the some five captions of a photograph."""

  id: int
  image: int
  text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coco:
  """The captions by id, and the photographs by name."""

  root: pathlib.Path  # of the photographs
  captions: tuple[Caption, ...]
  photographs: tuple[pathlib.Path, ...]

  def check_whole(self) -> None:
    """Raises ValueError where this is not all of val2014."""
    found = len(self.photographs), len(self.captions)
    if found != (IMAGES, CAPTIONS):
      raise ValueError(
        f'{self.root} has {found[0]:,} photographs and {found[1]:,} captions, '
        f'val2014 {IMAGES:,} and {CAPTIONS:,}; get the rest, or give --partial '
        'for a score with a protocol of its own'
      )


def read(directory) -> Coco:
  """The set in a directory; raises ValueError telling what is missing."""
  top = pathlib.Path(directory)
  path = top / ANNOTATIONS
  fields = json_files.read(
    path,
    f'{path} does not exist; unpack annotations_trainval2014.zip and '
    'val2014.zip of cocodataset.org there, or give --coco=tfds:coco_captions',
    most=1 << 30,
  )
  try:
    names = sorted(str(one['file_name']) for one in fields['images'])
    captions = [
      Caption(
        id=int(one['id']),
        image=int(one['image_id']),
        text=' '.join(one['caption'].split()),
      )
      for one in fields['annotations']
    ]
  except (KeyError, TypeError, ValueError, AttributeError) as e:
    raise ValueError(
      f'{path} is not the captions of COCO ({type(e).__name__}: {e}); unpack '
      'annotations_trainval2014.zip again'
    ) from e
  captions = [caption for caption in captions if caption.text]
  if not names or not captions:
    raise ValueError(f'{path} names no photographs, or no captions')
  root = next(
    (top / f for f in _FOLDERS if (top / f / names[0]).exists()), None
  )
  if root is None:
    raise ValueError(
      f'{names[0]} is in none of {", ".join(_FOLDERS)} of {directory}; unpack '
      'val2014.zip there'
    )
  photographs = tuple(root / name for name in dict.fromkeys(names))
  missing = [path for path in photographs if not path.is_file()]
  if missing:
    raise ValueError(
      f'{len(missing):,} of {len(photographs):,} photographs are missing, such '
      f'as {missing[0]}; unpack val2014.zip again'
    )
  return Coco(
    root=root,
    captions=tuple(sorted(captions, key=lambda caption: caption.id)),
    photographs=photographs,
  )


def from_tfds(name: str, data_dir, directory) -> pathlib.Path:
  """Writes the layout of `read` out of a prepared TFDS set, once.

  Photographs that are there are not written again.

  Args:
    name: such as 'coco_captions'.
    data_dir: of TFDS; None = its own.
    directory: to write to.
  """
  top = pathlib.Path(directory)
  if (top / ANNOTATIONS).exists():
    return top
  (top / 'val2014').mkdir(parents=True, exist_ok=True)
  (top / ANNOTATIONS).parent.mkdir(exist_ok=True)
  images, annotations = [], []
  for row in tfds_streams.stored_rows(name, data_dir, _SPLITS, 'image'):
    try:
      file_name = pathlib.Path(_text(row['image/filename'])).name
      image, found = int(row['image/id']), _captions(row['captions'])
      picture = _bytes(row['image'])
    except (KeyError, TypeError, ValueError) as e:
      raise ValueError(
        f'tfds:{name} is not coco_captions ({type(e).__name__}: {e}); its '
        f'features are {", ".join(sorted(row))}'
      ) from e
    path = top / 'val2014' / file_name
    if not path.exists():
      weights.save_bytes(path, picture)
    images.append({'id': image, 'file_name': file_name})
    annotations += [
      {'id': number, 'image_id': image, 'caption': text}
      for number, text in found
    ]
  content = {'images': images, 'annotations': annotations}
  weights.save_bytes(top / ANNOTATIONS, json.dumps(content).encode())
  return top


def _captions(value):
  """[(id, text)] of the feature, a dict of lists or a list of dicts."""
  if isinstance(value, dict):
    pairs = zip(value['id'], value['text'], strict=True)
  else:
    pairs = ((one['id'], one['text']) for one in value)
  return [(int(number), _text(text)) for number, text in pairs]


def _text(value):
  value = _bytes(value)
  return value.decode() if isinstance(value, bytes) else str(value)


def _bytes(value):
  return value.item() if isinstance(value, np.ndarray | np.generic) else value
