"""Weights in safetensors files, read one tensor at a time.

A reader says which tensors a checkpoint has, as a dict from names to `Tensor`;
nothing is read before it is asked for. So the memory of the host holds one
tensor at a time beside what is made of them.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import ml_dtypes
import numpy as np

from imagen_jax.files import impostors, json_files, remote

BLOCK = 16 << 20  # bytes of a tensor that are read at once
_DTYPES = {
  'F64': np.dtype(np.float64),
  'F32': np.dtype(np.float32),
  'F16': np.dtype(np.float16),
  'BF16': np.dtype(ml_dtypes.bfloat16),
}
_ITEM_SIZES = {'I64': 8, 'I32': 4, 'I16': 2, 'I8': 1, 'U8': 1, 'BOOL': 1}
_LISTED = 12  # names in an error message
MAX_HEADER = 100_000_000  # bytes, the library's own limit
_NAME = 200  # characters of a name, or an entry, in an error message
# What a header that is damaged raises.
DAMAGE = (
  ValueError,
  TypeError,
  KeyError,
  AttributeError,
  RecursionError,
  OSError,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensor:
  """A tensor that has not been read."""

  name: str  # in the checkpoint
  shape: tuple[int, ...]
  read: Callable[[np.dtype], np.ndarray]  # a fresh array in this dtype


def safetensors(folder: remote.Folder, file: str) -> dict[str, Tensor]:
  """The tensors of a safetensors file, local or remote, by their names.

  Read here and not by the library: in blocks, from buckets too, with
  bfloat16, and without mapping the file, whose pages would count as memory.
  Raises ValueError with the remedy where the file is not whole and plain.
  """
  where = f'{folder}/{file}'
  try:
    size = folder.size(file)
    what = impostors.told(folder.read(file, 0, impostors.HEAD))
    if what:
      raise impostors.Impostor(f'{where} {what}')
    start = folder.read(file, 0, 8)
    length = header_length(start, size)
    entries = parse_header(folder.read(file, 8, 8 + length))
    ends = [entry['data_offsets'][1] for entry in entries.values()]
  except FileNotFoundError as error:
    raise ValueError(f'{where} is missing; copy the directory again') from error
  except impostors.Impostor:
    raise
  except DAMAGE as error:
    raise ValueError(
      f'{where} is damaged ({error}); copy it again or export it again'
    ) from error
  start = 8 + length
  if size != start + max(ends, default=0):
    raise ValueError(
      f'{where} is damaged: it has {size} bytes, its header says '
      f'{start + max(ends, default=0)}; copy it again'
    )
  return {
    name: _tensor(folder, file, name, entry, start)
    for name, entry in entries.items()
  }


def header_length(start: bytes, size: int) -> int:
  """Bytes of the header, from the file's first eight; ValueError = no file."""
  length = int.from_bytes(start, 'little')
  if not 0 < length <= min(size - 8, MAX_HEADER):
    raise ValueError(f'a header of {length} bytes in a file of {size}')
  return length


def parse_header(text: bytes) -> dict[str, dict]:
  """The header's entry of each tensor: dtype, shape, data_offsets.

  Raises one of DAMAGE unless each name is there once, and the tensors lie one
  behind the other: of two in one place, one is not what was saved.
  """
  entries = json_files.parse(text, 'its header', unique=True)
  entries.pop('__metadata__', None)
  for name, entry in entries.items():
    _check_entry(name, entry)
  end = 0
  in_order = sorted(entries.items(), key=lambda item: item[1]['data_offsets'])
  for name, entry in in_order:
    first, last = entry['data_offsets']
    if first != end or last < first:
      raise ValueError(
        f'{name[:_NAME]} lies at {first} to {last} where {end} is next: '
        'tensors overlap or leave a gap'
      )
    end = last
  return entries


def _check_entry(name, entry):
  """Raises ValueError where a tensor's entry of the header is none."""
  whole = all(
    type(n) is int and 0 <= n < 2**48
    for n in (*entry['shape'], *entry['data_offsets'])
  )
  pair = len(entry['data_offsets']) == 2
  if not (whole and pair and isinstance(entry['dtype'], str)):
    raise ValueError(f'{name[:_NAME]} is {str(entry)[:_NAME]}')


def _tensor(folder, file, name, entry, start):
  dtype, shape = entry['dtype'], tuple(entry['shape'])
  first, last = entry['data_offsets']
  item = _DTYPES[dtype].itemsize if dtype in _DTYPES else _ITEM_SIZES.get(dtype)
  if item and last - first != item * math.prod(shape):
    raise ValueError(
      f'{folder}/{file} is damaged: {name} is {dtype} {shape} in '
      f'{last - first} bytes; copy it again'
    )

  def read(target):
    if dtype not in _DTYPES:
      raise ValueError(
        f'{folder}/{file}: {name} is {dtype}; weights are read in '
        f'{", ".join(_DTYPES)}. Export it in one of these'
      )
    out = np.empty(shape, target)
    rows = out.reshape(1, *shape) if not shape else out
    row = max(1, (last - first) // max(1, len(rows)))
    step = max(1, BLOCK // row)
    for i in range(0, len(rows), step):
      block = rows[i : i + step]
      offset = start + first + i * row
      data = folder.read(file, offset, offset + len(block) * row)
      block[...] = np.frombuffer(data, _DTYPES[dtype]).reshape(block.shape)
    return out

  return Tensor(name=name, shape=shape, read=read)


def permuted(tensor: Tensor, axes) -> Tensor:
  """The tensor with its axes in another order, in C order."""

  def read(target):
    return np.ascontiguousarray(tensor.read(target).transpose(axes))

  shape = tuple(tensor.shape[axis] for axis in axes)
  return Tensor(name=tensor.name, shape=shape, read=read)


def transposed(tensor: Tensor) -> Tensor:
  """The matrix [a, b] as [b, a]."""
  return permuted(tensor, (1, 0))


def of_convolution(tensor: Tensor) -> Tensor:
  """The kernel [out, in, h, w] as [h, w, in, out]."""
  return permuted(tensor, (2, 3, 1, 0))


def check(
  found: Mapping[str, Tensor],
  expected: Mapping[str, tuple[int, ...]],
  where: str,
  what: str = 'encoder',
) -> None:
  """Raises ValueError unless names and shapes are the same, both ways."""
  missing = sorted(set(expected) - set(found))
  left_over = sorted(found[name].name for name in set(found) - set(expected))
  if missing or left_over:
    raise ValueError(
      f'{where} does not hold this {what}: missing {_listed(missing)}; left '
      f'over {_listed(left_over)}. Copy the whole directory again, with the '
      'config that belongs to the weights'
    )
  for name, shape in expected.items():
    tensor = found[name]
    if tuple(tensor.shape) != tuple(shape):
      raise ValueError(
        f'{where}: {tensor.name} is {tuple(tensor.shape)}, the config says '
        f'{tuple(shape)}; take the config that belongs to the weights'
      )


def _listed(names):
  more = len(names) - _LISTED
  text = ', '.join(names[:_LISTED]) or 'nothing'
  return f'{text} and {more} more' if more > 0 else text
