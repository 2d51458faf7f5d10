"""A cache of random embeddings, made without an encoder, for tests."""

import numpy as np

from imagen_jax.text import cache, cache_writer

WIDTH, LENGTH = 16, 12
CAPTIONS = ('', *(f'caption {i}' for i in range(40)))


def manifest(**changes):
  """The manifest of the cache that `make` writes."""
  fields = {
    'encoder': {'kind': 't5', 'weights': 'a' * 64},
    'width': WIDTH,
    'max_length': LENGTH,
    'dtype': 'bfloat16',
    'shards': 3,
    'batch_tokens': 64,
    'lines': len(CAPTIONS),
    'captions': 'none',
  }
  return cache.Manifest(**(fields | changes))


def embeddings(captions=CAPTIONS, width=WIDTH):
  """Caption -> float32 [n, width]; n differs from caption to caption."""
  rng = np.random.default_rng(0)
  return {
    caption: rng.normal(size=(1 + i % LENGTH, width)).astype(np.float32)
    for i, caption in enumerate(captions)
  }


def entries(table, shard, shards):
  """The entries of one shard."""
  return [
    cache_writer.Entry(
      digest=cache.digest(caption),
      values=values,
      truncated=len(values) == LENGTH,
    )
    for caption, values in table.items()
    if cache.shard_of(cache.digest(caption), shards) == shard
  ]


def make(directory, **changes):
  """Writes the cache; returns its manifest."""
  made = manifest(**changes)
  table = embeddings(width=made.width)
  cache_writer.adopt(directory, made)
  for shard in range(made.shards):
    rows = entries(table, shard, made.shards)
    cache_writer.write_shard(directory, made, shard, rows)
  return made
