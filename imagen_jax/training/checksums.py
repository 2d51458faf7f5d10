"""Checksums of what a checkpoint holds, written beside it, checked when read.

with_sums(data, arrays, meta)   the item `data` with a checksum of everything
altered_text(data, meta)        which of the two is not as it was, or None
altered_array(data, arrays)     likewise of the arrays

A disk that flips a bit tells nobody, and the formats under a checkpoint store
most arrays as they are. A CRC goes over the bytes in their order, which no
device has of an array that is cut among many; here each number is mixed with
its place, one to one, and the results are added up modulo 2^32, in any order.
So a change of one number is always seen, one of several but for 1 in 2^32, as
by CRC-32, and nothing leaves the devices. The mixing is that which ends
MurmurHash3 (Austin Appleby, public domain).
"""

import functools
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from imagen_jax.parallel import agreements

_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}


def with_sums(data: dict, arrays: dict, meta: dict) -> dict:
  """The item `data` with checksums of all arrays, of `meta` and of itself.

  All processes call it. Args: what is saved; `arrays` are trees by item.
  """
  sums = {'arrays': of_arrays(arrays), 'meta': of_json(meta)}
  return _sealed({**data, 'checksums': sums})


def known(data: dict) -> bool:
  """Whether there are checksums; older releases wrote the batch alone."""
  return data.keys() != {'next_batch'}


def altered_text(data: dict, meta: dict) -> str | None:
  """Which of these two items is not what was saved; None = neither."""
  if not isinstance(data, dict):
    return 'data'
  if not known(data):
    return None
  if _sealed(data) != data:
    return 'data'
  return None if of_json(meta) == data['checksums']['meta'] else 'meta'


def altered_array(data: dict, arrays: dict) -> str | None:
  """The first array that is not what was saved, and how many more are.

  All processes call it, with an item `data` that is not altered.
  """
  if not known(data):
    return None
  saved, here = data['checksums']['arrays'], of_arrays(arrays)
  altered = [name for name in here if saved.get(name) != here[name]]
  if not altered:
    return None
  more = f' (and {len(altered) - 1} more)' if altered[1:] else ''
  return f'{altered[0]}{more}'


def _sealed(data):
  """An item `data` with its own checksum."""
  rest = {name: value for name, value in data.items() if name != 'crc32'}
  return {**rest, 'crc32': of_json(rest)}


def of_arrays(tree) -> dict[str, str]:
  """The checksum of each array by its path; all processes call it."""
  sums = {}
  for path, x in jax.tree_util.tree_leaves_with_path(tree):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    sums[name] = agreements.settle(_summing(x.sharding)(x))
    if jax.default_backend() == 'cpu':
      # One exchange after the other: emulated devices share few threads.
      jax.block_until_ready(sums[name])
  return {
    name: f'{int(np.asarray(x.addressable_data(0))):08x}'
    for name, x in sums.items()
  }


def of_json(value) -> str:
  """The CRC-32 of a value as JSON has it, whatever the order of its keys."""
  plain = json.loads(json.dumps(value))
  return f'{zlib.crc32(json.dumps(plain, sort_keys=True).encode()):08x}'


@functools.cache
def _summing(sharding):
  """The jitted `_sum` for arrays of a sharding; every device gets the sum."""
  if not isinstance(sharding, NamedSharding):
    return jax.jit(_sum)
  everywhere = NamedSharding(sharding.mesh, PartitionSpec())
  return jax.jit(_sum, out_shardings=everywhere)


def _sum(x):
  """uint32 [] of an array of any shape and kind of number."""
  if x.dtype == jnp.bool_:
    x = x.astype(jnp.uint8)
  # Of 64 bits: two words a number, in one more dimension.
  words = jax.lax.bitcast_convert_type(x, _WORDS[x.dtype.itemsize])
  words = words.astype(jnp.uint32)
  place, stride = jnp.zeros(words.shape, jnp.uint32), 1
  for axis in reversed(range(words.ndim)):
    along = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    place += along * jnp.uint32(stride % 2**32)
    stride *= words.shape[axis]
  return jnp.sum(_mixed(words ^ _mixed(place)), dtype=jnp.uint32)


def _mixed(words):
  """uint32 -> uint32, one to one."""
  words ^= words >> jnp.uint32(16)
  words *= jnp.uint32(0x85EBCA6B)
  words ^= words >> jnp.uint32(13)
  words *= jnp.uint32(0xC2B2AE35)
  return words ^ (words >> jnp.uint32(16))
