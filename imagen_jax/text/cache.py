"""Embeddings on disk: the files of a cache directory and their names.

  cache.json                         what made it: the `Manifest`
  shard_00003-of-00008.arrayrecord   embeddings of the true tokens, no padding

A caption's blake2b digest says in which shard it lies, so that duplicates are
one and any host can tell its own. A shard holds one record per caption in the
order of the digests, and last of all its `Index`, in safetensors:

  digests    uint8 [n, 16]   ascending
  lengths    int32 [n]       true tokens, the end of sequence included
  truncated  bool [n]        captions longer than the encoder's limit
  divisors   float32 [d]     int8 only, see `quantization`

A shard appears under its name whole or not at all; nothing else marks progress.
`cache_writer` makes caches, `cache_reader` reads them. The empty caption is in
each: an ordinary caption (the null condition of guidance is zeros).
"""

import dataclasses
import hashlib
import json
import pathlib

import numpy as np
import safetensors
import safetensors.numpy

from imagen_jax.config import checks
from imagen_jax.files import json_files, weights
from imagen_jax.text import quantization

FORMAT_VERSION = 1
FILE = 'cache.json'
DIGEST_BYTES = 16  # one chance in 10^20 that a billion captions collide
REMEDY = 'delete it and run the same python -m imagen_jax.embed again'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """All that decides the bytes of the shards."""

  encoder: dict  # fingerprint of the text encoder
  width: int  # d, features of a token
  max_length: int  # tokens of a caption at most
  dtype: str  # 'bfloat16' or 'int8'
  shards: int  # files, over all hosts
  batch_tokens: int  # of one call of the encoder, padding included
  lines: int  # captions read, duplicates included
  captions: str  # digest of all of them, in order

  @property
  def id(self) -> str:
    """Twelve hexadecimal digits that name this cache."""
    text = json.dumps(to_json(self), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
  """What a shard knows of its captions."""

  digests: np.ndarray  # uint8 [n, 16], ascending
  lengths: np.ndarray  # int32 [n]
  truncated: np.ndarray  # bool [n]
  divisors: np.ndarray | None  # float32 [d]; None for bfloat16


def digest(caption: str) -> bytes:
  """The name of a caption: 16 bytes of its exact text."""
  text = caption.encode('utf-8', 'surrogatepass')
  return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def encoder_id(fingerprint: dict) -> str:
  """Twelve hexadecimal digits that name an encoder by its fingerprint."""
  text = json.dumps(fingerprint, sort_keys=True)
  return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def shard_of(name: bytes, shards: int) -> int:
  """The shard in which the caption with this digest lies."""
  return int.from_bytes(name[:8], 'big') % shards


def shard_path(directory: str, number: int, shards: int) -> pathlib.Path:
  name = f'shard_{number:05d}-of-{shards:05d}.arrayrecord'
  return pathlib.Path(directory) / name


def pack_index(index: Index, shard: int, cache_id: str) -> bytes:
  """The last record of a shard."""
  arrays = {
    name: value
    for name, value in dataclasses.asdict(index).items()
    if value is not None
  }
  metadata = {'cache': f'{cache_id}/{shard}'}
  return safetensors.numpy.save(arrays, metadata)


def unpack_index(record: bytes, shard: int, cache_id: str, path) -> Index:
  """The inverse; raises ValueError where it is another cache's."""
  try:
    size = int.from_bytes(record[:8], 'little')
    found = json_files.parse(record[8 : 8 + size], 'its index')
    found = found['__metadata__']['cache']
    arrays = safetensors.numpy.load(record)
    index = Index(**{'divisors': None, **arrays})
  except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as e:
    raise ValueError(f'{path} is damaged ({e}); {REMEDY}') from e
  if found != f'{cache_id}/{shard}':
    raise ValueError(
      f'{path} is shard {found}, {FILE} beside it needs {cache_id}/{shard}; '
      'keep the files of one cache together'
    )
  return index


def to_json(manifest: Manifest) -> dict:
  """`manifest` as a JSON-able dict."""
  return {'format_version': FORMAT_VERSION, **dataclasses.asdict(manifest)}


def write_manifest(directory: str, manifest: Manifest) -> None:
  weights.save_json(pathlib.Path(directory) / FILE, to_json(manifest))


def read_manifest(directory: str) -> Manifest:
  """Reads cache.json; raises ValueError with one line and the remedy."""
  path = pathlib.Path(directory) / FILE
  fields = json_files.read(
    path,
    f'{path.parent} is no cache of embeddings: it has no {FILE}; make one '
    'with python -m imagen_jax.embed',
  )
  fields = fields if isinstance(fields, dict) else {}
  version = fields.pop('format_version', None)
  known = {field.name for field in dataclasses.fields(Manifest)}
  if version != FORMAT_VERSION or set(fields) != known:
    raise ValueError(
      f'{path}: format {version} with fields {sorted(fields)}, this release '
      f'reads format {FORMAT_VERSION} with {sorted(known)}; update imagen_jax '
      'or make the cache again'
    )
  if fields['dtype'] not in quantization.DTYPES:
    raise ValueError(
      f'{path}: dtype {fields["dtype"]!r}, not one of {quantization.DTYPES}; '
      'update imagen_jax'
    )
  for name in ('width', 'max_length', 'shards', 'batch_tokens'):
    if not (checks.fits(fields[name], int) and fields[name] > 0):
      raise ValueError(
        f'{path}: {name} is {fields[name]!r}; it must be a whole number above '
        '0: copy it again'
      )
  return checks.build(Manifest, fields, path)


def difference(there: dict, here: dict) -> str | None:
  """'weights is A there and B here' of the first value that differs.

  Looks into nested dicts, such as fingerprints; None where all are equal.
  """
  for name in sorted(there.keys() | here.keys()):
    a, b = there.get(name), here.get(name)
    if isinstance(a, dict) and isinstance(b, dict):
      inner = difference(a, b)
      if inner:
        return f'{name}.{inner}'
    elif a != b:
      return f'{name} is {_short(a)} there and {_short(b)} here'
  return None


def _short(value):
  """Checksums are told apart by their beginnings."""
  text = str(value)
  return text if len(text) <= 40 else f'{text[:12]}...'
