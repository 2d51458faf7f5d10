"""Embeddings as bytes: bfloat16, or int8 with a float16 scale per 128 channels.

Values of one caption [n, d] float32 <-> one record of bytes; n is found from
the record's length. Not in the paper.

A language model has a few channels that are 20 to 100 times larger than the
rest, the same ones in every token. A scale shared with one of those leaves its
127 neighbours about three bits. So int8 first divides each channel by a divisor
that is stored once per shard: the channel's root mean square over the shard's
tokens to the power of 3/4. At 1 the large channels, which decide the cosine,
would be as coarse as all others; at 1/2 the others lose to them; measured on
outliers of 20x and 100x, 3/4 serves both (cosine 0.9998 of the whole, and of
the ordinary channels alone).
"""

import ml_dtypes
import numpy as np

DTYPES = ('bfloat16', 'int8')
BLOCK = 128  # channels that share a scale
_LIMIT = 127  # largest code; -128 is left out, so that codes are symmetric


def channel_divisors(values: np.ndarray) -> np.ndarray:
  """Divisor of each channel, [n, d] -> [d] float32, none zero."""
  if not len(values):
    return np.ones(values.shape[1], np.float32)
  squares = np.square(values, dtype=np.float64)
  sizes = np.sqrt(squares.mean(axis=0))
  # Roots alone are rounded alike everywhere; powers are not.
  divisors = np.sqrt(sizes * np.sqrt(sizes)).astype(np.float32)
  return np.where(divisors > 0, divisors, np.float32(1))


def token_bytes(width: int, dtype: str) -> int:
  """Bytes of one token."""
  return width * 2 if dtype == 'bfloat16' else width + 2 * blocks(width)


def encode(
  values: np.ndarray, dtype: str, divisors: np.ndarray | None
) -> bytes:
  """[n, d] float32 -> bytes; `divisors` [d] for int8 alone."""
  if dtype == 'bfloat16':
    return values.astype(ml_dtypes.bfloat16).tobytes()
  even = values / divisors
  starts = np.arange(0, even.shape[1], BLOCK)
  largest = np.maximum.reduceat(np.abs(even), starts, axis=1)  # [n, blocks]
  scales = (largest / _LIMIT).astype(np.float16)
  spread = _spread(scales, even.shape[1])
  codes = np.divide(even, spread, out=np.zeros_like(even), where=spread > 0)
  codes = np.clip(np.rint(codes), -_LIMIT, _LIMIT).astype(np.int8)
  return scales.tobytes() + codes.tobytes()


def decode(
  record: bytes, width: int, dtype: str, divisors: np.ndarray | None
) -> np.ndarray:
  """The inverse: [n, d], a bfloat16 view of the bytes or new float32."""
  if dtype == 'bfloat16':
    return np.frombuffer(record, ml_dtypes.bfloat16).reshape(-1, width)
  return dequantize(*parts(record, width), divisors)


def parts(record: bytes, width: int) -> tuple[np.ndarray, np.ndarray]:
  """Views of an int8 record: codes int8 [n, d], scales float16 [n, blocks]."""
  n, b = len(record) // token_bytes(width, 'int8'), blocks(width)
  scales = np.frombuffer(record, np.float16, n * b).reshape(n, b)
  codes = np.frombuffer(record, np.int8, offset=2 * n * b)
  return codes.reshape(n, width), scales


def dequantize(codes, scales, divisors):
  """The values, float32 [..., n, d]: code x scale of its block x divisor.

  Args:
    codes: int8 [..., n, d], NumPy's or jax's as all three.
    scales: float16 [..., n, blocks].
    divisors: float32 [d], or [..., 1, d].
  """
  return codes * (_spread(scales, codes.shape[-1]) * divisors)


def blocks(width):
  """Scales of a token; the last block may be short."""
  return -(-width // BLOCK)


def _spread(scales, width):
  """[..., blocks] -> [..., width] float32; the last block may be short."""
  return scales.astype(np.float32).repeat(BLOCK, axis=-1)[..., :width]
