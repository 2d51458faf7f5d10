"""Random access to shuffled positions: (seed, position) -> anything.

Not in the paper. `order` is a permutation of 0..n-1 for each epoch that is
never written down: a Feistel network (Luby and Rackoff, 1988) over the next
power of two, walked until it falls inside. So any host finds example number
`position` of the endless stream at once, and none keeps state.
"""

import functools

import numpy as np

_ROUNDS = 6
_MASK = (1 << 64) - 1

# What a random number is for; each has a stream of its own.
ORDER, FRAME, REPLACEMENT, COMPONENT = range(4)


def uniforms(seed, position, n, purpose, attempt=0):
  """n float64 in [0, 1), of counter-based words."""
  bits = np.random.Philox(
    key=[seed & _MASK, position & _MASK], counter=[0, 0, attempt, purpose]
  )
  return (bits.random_raw(n) >> np.uint64(11)) * 2.0**-53


def fold(seed, number):
  """The seed of part `number` of something that has a seed."""
  bits = np.random.Philox(
    key=[seed & _MASK, number & _MASK], counter=[0, 0, 0, COMPONENT]
  )
  return int(bits.random_raw(1)[0] >> np.uint64(1))


def index(seed, position, n):
  """The example, of n, at a position of the endless stream.

  Each n positions from a multiple of n hold every example once.
  """
  epoch, place = divmod(position, n)
  return order(seed, epoch, place, n)


def order(seed, epoch, place, n):
  """The permutation of an epoch at one place."""
  low = max(1, ((n - 1).bit_length() + 1) // 2)  # bits of the halves
  high = max(1, (n - 1).bit_length() - low)
  keys = _keys(seed, epoch)
  while True:
    place = _feistel(place, high, low, keys)
    if place < n:
      return place


@functools.lru_cache(maxsize=64)
def _keys(seed, epoch):
  bits = np.random.Philox(
    key=[seed & _MASK, epoch & _MASK], counter=[0, 0, 0, ORDER]
  )
  return tuple(int(word) for word in bits.random_raw(_ROUNDS))


def _feistel(value, high, low, keys):
  """A permutation of high + low bits; the halves change places."""
  left, right = value >> low, value & ((1 << low) - 1)
  sizes = high, low
  for key in keys:
    mixed = _mix(right ^ key) & ((1 << sizes[0]) - 1)
    left, right = right, left ^ mixed
    sizes = sizes[::-1]
  return (left << sizes[1]) | right


def _mix(x):
  """64 bits -> 64 bits, each depending on all (the constants of splitmix64)."""
  x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
  x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
  return x ^ (x >> 31)
