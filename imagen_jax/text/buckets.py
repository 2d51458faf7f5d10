"""Encodes many captions of all lengths in a few fixed shapes.

  tokens int32 [n, l], mask bool [n, l]  ->  n embeddings [true tokens, d]

Captions go with others of like length, so that a short one does not pay for
128 tokens. Each bucket has one shape [rows, length] of about the same number
of tokens, the last batch padded with rows of nothing: every program is
compiled once, and a caption's embedding does not depend on its company.
"""

import math
from collections.abc import Iterator

import jax
import numpy as np

from imagen_jax.parallel import partitioning
from imagen_jax.text import encoders

LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_ROWS = 8  # rows are a multiple of it, for the accelerators' sake
_embed = jax.jit(encoders.embed, static_argnums=0)


def lengths(max_length: int) -> tuple[int, ...]:
  """Bucket lengths in tokens for captions of up to `max_length`."""
  return (*(n for n in LENGTHS if n < max_length), max_length)


def rows(length: int, batch_tokens: int, devices: int) -> int:
  """Rows of the bucket's one shape: they divide over the devices."""
  unit = math.lcm(_ROWS, devices)
  return max(unit, batch_tokens // length // unit * unit)


def placement() -> dict:
  """Mesh and rule for the weights, as `checkpoints.load_encoder` takes them.

  The devices of this host alone: hosts work on captions of their own.
  """
  devices = jax.local_devices()
  config = partitioning.MeshConfig(data=1, fsdp=len(devices))
  return {
    'mesh': partitioning.make_mesh(config, devices),
    'mesh_config': config,
  }


class BucketEncoder:
  """A text encoder on the local devices, fed by length."""

  def __init__(self, encoder: encoders.TextEncoder, batch_tokens: int):
    where = placement()
    self._mesh, config = where['mesh'], where['mesh_config']
    shardings = partitioning.state_shardings(encoder.params, self._mesh, config)
    self._params = jax.device_put(encoder.params, shardings)
    self._config = encoder.config
    self._max_length = encoder.tokenizer.max_length
    self._batch_tokens = batch_tokens

  def encode(
    self, tokens: np.ndarray, mask: np.ndarray
  ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Yields (row numbers, their embeddings [true tokens, d] float32)."""
    pending = None
    for batch in self._batches(mask):
      ready, pending = pending, (batch, self._start(tokens, mask, *batch))
      if ready is not None:  # fetched while the next batch is computed
        yield _fetch(mask, *ready)
    if pending is not None:
      yield _fetch(mask, *pending)

  def _batches(self, mask):
    """(row numbers, length, padded rows) of each batch; shortest first."""
    ends = mask.shape[1] - np.argmax(mask[:, ::-1], axis=1)
    ends = np.where(mask.any(axis=1), ends, 1)
    shortest = 0
    for length in lengths(self._max_length):
      members = np.flatnonzero((shortest < ends) & (ends <= length))
      size = rows(length, self._batch_tokens, self._mesh.size)
      for start in range(0, len(members), size):
        yield members[start : start + size], length, size
      shortest = length

  def _start(self, tokens, mask, members, length, size):
    padding = ((0, size - len(members)), (0, 0))
    batch = partitioning.put_batch(
      {
        'tokens': np.pad(tokens[members, :length], padding),
        'mask': np.pad(mask[members, :length], padding),
      },
      self._mesh,
    )
    with jax.set_mesh(self._mesh):
      return _embed(self._config, self._params, batch['tokens'], batch['mask'])


def _fetch(mask, batch, text):
  """Device array [rows, length, d] -> the true tokens of the true rows."""
  members, length, _ = batch
  text = np.asarray(text)
  values = [text[i, mask[row, :length]] for i, row in enumerate(members)]
  return members, values
