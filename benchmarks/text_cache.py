"""Speed of reading a cache of embeddings, warm, in one process.

  python benchmarks/text_cache.py [--seconds=3] [--megabytes=512]

Writes synthetic caches of 16-token captions into a temporary directory, reads
each once to warm it, and then asks for random captions in batches of 256 for
some seconds: `read` gives each caption's embedding, `columns` what training
asks for: padded into one array, int8 still as codes, which the device decodes,
by one thread and by two, as the loader does. Prints one line for each width and
type, in captions and bytes on disk a second, and how many cores it took, so
that a busy machine can be told. Wanted: 20,000 captions/s at width 256, 1 GB/s
at width 4096.
"""

import argparse
import concurrent.futures
import os
import pathlib
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from imagen_jax.text import cache, cache_reader, cache_writer  # noqa: E402

TOKENS = 16
BATCH = 256
SHARDS = 4
CASES = ((256, 'bfloat16'), (256, 'int8'), (4096, 'bfloat16'), (4096, 'int8'))


def write(directory, width, dtype, megabytes):
  """A cache of about so many megabytes in bfloat16; returns its captions."""
  count = max(BATCH, megabytes * 10**6 // (2 * TOKENS * width))
  captions = [f'caption number {i}' for i in range(count)]
  manifest = cache.Manifest(
    encoder={'kind': 'synthetic'},
    width=width,
    max_length=TOKENS,
    dtype=dtype,
    shards=SHARDS,
    batch_tokens=TOKENS,
    lines=count,
    captions='',
  )
  cache_writer.adopt(directory, manifest)
  block = np.random.default_rng(0).standard_normal(
    (TOKENS, width), dtype=np.float32
  )
  entries = [[] for _ in range(SHARDS)]
  for caption in captions:
    name = cache.digest(caption)
    entry = cache_writer.Entry(digest=name, values=block, truncated=False)
    entries[cache.shard_of(name, SHARDS)].append(entry)
  for shard, some in enumerate(entries):
    if dtype == 'int8':  # the divisors look at all of a shard's values at once
      some = some[: 10**9 // (4 * TOKENS * width)]
    cache_writer.write_shard(directory, manifest, shard, some)
    entries[shard] = [entry.digest for entry in some]
  there = {name for some in entries for name in some}
  return [c for c in captions if cache.digest(c) in there]


def measure(read, captions, seconds, threads):
  """(captions/s, cores it took) of `read` on random batches."""
  start, cpu = time.perf_counter(), time.process_time()

  def read_on(seed):
    rng, done = np.random.default_rng(seed), 0
    while time.perf_counter() < start + seconds:
      read([captions[i] for i in rng.integers(0, len(captions), BATCH)])
      done += BATCH
    return done

  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    done = sum(pool.map(read_on, range(threads)))
  elapsed = time.perf_counter() - start
  return done / elapsed, (time.process_time() - cpu) / elapsed


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--seconds', type=float, default=3.0)
  parser.add_argument('--megabytes', type=int, default=512)
  args = parser.parse_args()
  print(f'load before: {os.getloadavg()[0]:.1f}')
  for width, dtype in CASES:
    with tempfile.TemporaryDirectory() as directory:
      captions = write(directory, width, dtype, args.megabytes)
      reader = cache_reader.Reader(directory)
      size = reader.size() / len(captions)
      for start in range(0, len(captions), BATCH):
        reader.records(captions[start : start + BATCH])
      for name, threads in (('read', 1), ('columns', 1), ('columns', 2)):
        read = getattr(reader, name)
        rate, share = measure(read, captions, args.seconds, threads)
        print(
          f'width {width:4} {dtype:8} {name:7} x {threads} '
          f'{rate:9,.0f} captions/s  '
          f'{rate * size / 1e9:.2f} GB/s  {share:.2f} cores: '
          f'{rate / share:,.0f} captions, {rate * size / share / 1e9:.2f} GB '
          'a second of one',
          flush=True,
        )


if __name__ == '__main__':
  main()
