"""What a cache of embeddings holds, for people: `embed --inspect`."""

import numpy as np

from imagen_jax.text import buckets, cache, cache_reader


def summary(directory: str) -> str:
  """Counts, lengths, truncation, size and encoder, as lines of text."""
  reader = cache_reader.Reader(directory)
  m = reader.manifest
  indices = list(reader.indices())
  lengths = np.concatenate([index.lengths for index in indices])
  truncated = sum(int(index.truncated.sum()) for index in indices)
  tokens, size = int(lengths.sum()), reader.size()
  edges = (0, *buckets.lengths(m.max_length))
  counts, _ = np.histogram(lengths, [edge + 1 for edge in edges])
  leaves = [*_flat(m.encoder)]
  column = max((len(name) for name, _ in leaves), default=0)
  rows = [
    f'{directory}: cache {m.id}',
    f'  captions    {len(lengths):,} different, of {m.lines:,} lines',
    f'  tokens      {tokens:,} true, {tokens / len(lengths):.1f} a caption',
    f'  truncated   {truncated:,} captions, {truncated / len(lengths):.2%}, '
    f'at {m.max_length} tokens',
    f'  size        {size / 1e6:,.1f} MB in {m.shards} shards, '
    f'{size / tokens:,.0f} bytes a token',
    f'  embeddings  width {m.width}, {m.dtype}',
    f'  encoder     {cache.encoder_id(m.encoder)}',
    *(f'    {name:{column}}  {value}' for name, value in leaves),
    '  captions by true tokens',
  ]
  width = len(f'{edges[-1]}')
  for low, high, count in zip(edges, edges[1:], counts):
    bar = '#' * round(40 * count / max(1, counts.max()))
    rows.append(f'    {low + 1:{width}} to {high:{width}} {count:10,}  {bar}')
  return '\n'.join(rows)


def _flat(fields, prefix=''):
  """(name, value) of the leaves of nested dicts: 'a.b'."""
  for name, value in fields.items():
    if isinstance(value, dict):
      yield from _flat(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', value
