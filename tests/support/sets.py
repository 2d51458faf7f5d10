"""Small sets of pictures on disk, for tests: folders and tar shards."""

import io
import json
import tarfile

import numpy as np
import PIL.Image

from imagen_jax.data import index, photographs, pipeline
from tests.support import zoo

LOOSE = photographs.Reading(
  keep=index.Filter(min_side=8, max_rejected=0.9), validation=0.1
)


def colour_of(number):
  """The colour of a picture: it tells its number."""
  return 40 + 13 * number % 200, 20 + 29 * number % 200, 7 * number % 250


def jpeg(number, size=(40, 30)):
  """A picture of one colour."""
  image = PIL.Image.new('RGB', size, colour_of(number))
  return zoo.save(image, 'JPEG', quality=95)


def folder(root, count=12, size=(40, 30)):
  """name.jpg + name.txt."""
  root.mkdir(parents=True, exist_ok=True)
  for i in range(count):
    (root / f'{i:03d}.jpg').write_bytes(jpeg(i, size))
    (root / f'{i:03d}.txt').write_text(f'number {i}\n')
  return root


def shard(path, members):
  """A tar of (name, bytes)."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, 'w') as tar:
    for name, data in members:
      info = tarfile.TarInfo(name)
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
  return path


def sample(number, key=None, size=(40, 30)):
  """The three members that img2dataset writes for a picture."""
  key = key or f'{number:09d}'
  about = {'caption': f'number {number}', 'key': key, 'status': 'success'}
  return [
    (f'{key}.jpg', jpeg(number, size)),
    (f'{key}.txt', f'number {number}'.encode()),
    (f'{key}.json', json.dumps(about).encode()),
  ]


def shards(root, count=3, each=4, size=(40, 30)):
  """Shards 00000.tar, 00001.tar, ..."""
  for i in range(count):
    numbers = range(i * each, (i + 1) * each)
    members = [member for n in numbers for member in sample(n, size=size)]
    shard(root / f'{i:05d}.tar', members)
  return root


class Words:
  """A feed that keeps captions as bytes."""

  def columns(self, captions):
    return {'words': np.array([c.encode() for c in captions], 'S40')}


def batches(source, size=4, seed=0, rows=None, quarantine=None, **pictures):
  """Batches of 8-pixel squares."""
  pictures = pipeline.Pictures(**({'resolution': 8} | pictures))
  return pipeline.Batches(
    source, Words(), pictures, size, seed, rows, quarantine
  )
