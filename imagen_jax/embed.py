"""Computes text embeddings once and keeps them on disk, for `train`.

  python -m imagen_jax.embed --encoder=DIR --captions=FILE --out=DIR
  python -m imagen_jax.embed --inspect=DIR

The paper freezes its text encoder so that embeddings can be computed offline
(section 2.1). Only true tokens are kept, in bfloat16 or int8; duplicates once.
Killed at any moment, the same command goes on and ends with the same files,
byte for byte on the same kind of device (on a GPU, where programs may be tuned
anew, keep the compilation cache). Several hosts share a job by --host and
--hosts: each makes its own shards and none waits for another.
"""

import hashlib
import itertools
import sys
import time
from collections.abc import Iterable

import numpy as np
import tqdm

from imagen_jax.config import flags
from imagen_jax.data import captions as captions_lib
from imagen_jax.parallel import compilation
from imagen_jax.text import (
  buckets,
  cache,
  cache_summary,
  cache_writer,
  checkpoints,
  encoders,
  quantization,
)

# Floats that a shard's embeddings take in memory, at 16 tokens a caption; in
# bfloat16 that makes files of about 128 MB.
_SHARD_FLOATS = 64 << 20
_TYPICAL_TOKENS = 16


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.embed',
    description='Encodes captions once and keeps the embeddings on disk, for '
    'training. The same command again goes on where it stopped.',
    allow_abbrev=False,
  )
  add = p.add_argument
  add(
    '--encoder',
    metavar='DIR',
    help='text encoder: a text directory, a Hugging Face directory or a T5X '
    'checkpoint (no default)',
  )
  add(
    '--tokenizer',
    metavar='FILE',
    help='its tokenizer (default: the one in --encoder)',
  )
  add(
    '--compute',
    choices=('float32', 'bfloat16'),
    default='float32',
    help="type of the encoder's weights and matrix products (default: float32)",
  )
  add(
    '--captions',
    action='append',
    metavar='SOURCE',
    help='a UTF-8 file with one caption a line, folder:DIR, shards:PATTERN, '
    'tfds:NAME or scenes:VOCABULARY/SPLIT; may be given several times (no '
    'default)',
  )
  add('--out', metavar='DIR', help='the cache directory (no default)')
  add(
    '--dtype',
    choices=quantization.DTYPES,
    default='bfloat16',
    help='type on disk; int8 is half the size (default: bfloat16)',
  )
  for name, kind, default, told in (
    (
      'max_length',
      flags.whole('tokens', 1, 512),
      None,
      "tokens of a caption at most (default: a text directory's own, else 128)",
    ),
    (
      'shards',
      flags.whole('files', 1, 100_000),
      None,
      'files of the cache, each made whole or not at all (default: about 128 '
      'MB each)',
    ),
    (
      'batch_tokens',
      flags.whole('tokens', 1, 1 << 24),
      8192,
      'tokens in one call of the encoder, padding included (default: 8192)',
    ),
    (
      'host',
      flags.whole('host', 0, 99_999),
      0,
      'number of this host, from 0 (default: 0)',
    ),
    (
      'hosts',
      flags.whole('hosts', 1, 100_000),
      1,
      'hosts that share the job (default: 1)',
    ),
    (
      'count',
      flags.whole('scenes', 1, 10**9),
      None,
      'examples of a scenes: source (default: all of a finite split)',
    ),
  ):
    add(f'--{name}', type=kind, default=default, metavar='N', help=told)
  add(
    '--split',
    default='train',
    metavar='NAME',
    help='split of a tfds: source (default: train)',
  )
  add(
    '--feature',
    metavar='NAME',
    help='text feature of a tfds: source, a nested one with slashes, or key of '
    'a folder: or shards: one (default: caption; of files as in training)',
  )
  add(
    '--image',
    metavar='NAME',
    help="column of a folder: source's metadata that names the pictures, or "
    'holds them (default: file_name or image)',
  )
  add(
    '--lines',
    action='store_true',
    help='each line of a .txt of a folder: or shards: source is a caption of '
    'its own (default: all are one)',
  )
  add(
    '--index_dir',
    metavar='DIR',
    help='where the index of a folder: or shards: source is kept (default: in '
    'the set)',
  )
  add(
    '--data_dir',
    metavar='DIR',
    help="where a tfds: source lies (default: TFDS's own directory)",
  )
  add(
    '--inspect',
    metavar='DIR',
    help='print what a cache holds, and stop (default: off)',
  )
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    if args.inspect:
      print(cache_summary.summary(args.inspect))
      return 0
    for name in ('encoder', 'captions', 'out'):
      if not getattr(args, name):
        raise ValueError(f'--{name} is missing; see --help')
    if args.host >= args.hosts:
      raise ValueError(
        f'--host={args.host} of --hosts={args.hosts}: give a host from 0 to '
        f'{args.hosts - 1}'
      )
    compilation.enable_cache()
    sources = [
      captions_lib.parse(
        text,
        split=args.split,
        feature=args.feature,
        data_dir=args.data_dir,
        index_dir=args.index_dir,
        count=args.count,
        image=args.image,
        lines=args.lines,
      )
      for text in args.captions
    ]
    embed(
      checkpoints.load_encoder(
        args.encoder,
        max_length=args.max_length,
        dtype=args.compute,
        tokenizer=args.tokenizer,
        **buckets.placement(),
      ),
      sources,
      args.out,
      dtype=args.dtype,
      shards=args.shards,
      batch_tokens=args.batch_tokens,
      host=args.host,
      hosts=args.hosts,
    )
  except (ValueError, OSError) as e:
    return flags.failed(e, args.out)
  return 0


def embed(
  encoder: encoders.TextEncoder,
  sources: list[Iterable[str]],
  out: str,
  *,
  dtype: str = 'bfloat16',
  shards: int | None = None,
  batch_tokens: int = 8192,
  host: int = 0,
  hosts: int = 1,
) -> None:
  """Makes this host's shards of the cache `out`, those not there yet.

  Args:
    encoder: the text encoder.
    sources: captions, each iterable as often as need be.
    out: cache directory, new or begun by the same job.
    dtype: 'bfloat16' or 'int8'.
    shards: files of the whole cache; None = about 128 MB each.
    batch_tokens: tokens in one call of the encoder.
    host, hosts: which of how many hosts this is.

  Raises:
    ValueError: with one line, where something does not fit.
  """
  lines, digest = survey(captions_lib.chain(sources))
  manifest = cache.Manifest(
    encoder=encoder.fingerprint(),
    width=encoder.config.width,
    max_length=encoder.tokenizer.max_length,
    dtype=dtype,
    shards=shards or shard_count(lines, encoder.config.width),
    batch_tokens=batch_tokens,
    lines=lines,
    captions=digest,
  )
  own = cache_writer.own_shards(manifest.shards, host, hosts)
  with cache_writer.lock(out, own):
    cache_writer.adopt(out, manifest)
    wanted = cache_writer.missing(out, manifest, own)
    work = gather(captions_lib.chain(sources), manifest.shards, wanted)
    encode = buckets.BucketEncoder(encoder, batch_tokens)
    progress = Progress(sum(map(len, work.values())), len(own) - len(wanted))
    for shard in wanted:
      entries = shard_entries(encoder.tokenizer, encode, work[shard], progress)
      size = cache_writer.write_shard(out, manifest, shard, entries)
      progress.wrote(size)
    progress.finish(out, len(own), manifest.shards)


def survey(captions: Iterable[str]) -> tuple[int, str]:
  """(number of captions, digest of all of them in order)."""
  running, lines = hashlib.blake2b(digest_size=16), 0
  for caption in captions:
    running.update(cache.digest(caption))
    lines += 1
  return lines, running.hexdigest()


def shard_count(lines: int, width: int) -> int:
  """How many files `lines` captions of `width` features make."""
  captions = max(1, _SHARD_FLOATS // (_TYPICAL_TOKENS * width))
  return max(1, -(-lines // captions))


def gather(
  captions: Iterable[str], shards: int, wanted: list[int]
) -> dict[int, dict[bytes, str]]:
  """Shard -> its captions by digest, for the `wanted` shards.

  The empty caption is one of them, wherever the others come from.
  """
  work = {shard: {} for shard in wanted}
  for caption in itertools.chain([''], captions):
    name = cache.digest(caption)
    shard = cache.shard_of(name, shards)
    if shard in work:
      work[shard][name] = caption
  return work


def shard_entries(tokenizer, encode, captions, progress):
  """Encodes the captions {digest: caption} of one shard."""
  names = sorted(captions)
  if not names:
    return []
  texts = [captions[name] for name in names]
  tokens, mask = tokenizer.encode(texts)
  truncated = tokenizer.truncated(texts)
  entries = []
  for rows, values in encode.encode(tokens, mask):
    for row, value in zip(rows, values):
      name = names[row]
      if not np.isfinite(value).all():
        raise ValueError(
          f'the embedding of {captions[name]!r} is not finite: the encoder '
          'overflows; encode in float32 or bfloat16'
        )
      entries.append(
        cache_writer.Entry(
          digest=name,
          values=value,
          truncated=bool(truncated[row]),
        )
      )
    progress.encoded(values)
  return entries


class Progress:
  """Captions/s, tokens/s, bytes and time left, on standard error."""

  def __init__(self, captions, shards_done):
    self._total = captions
    self._captions = self._tokens = self._bytes = 0
    self._start = self._shown = time.monotonic()
    if shards_done:
      print(f'{shards_done} shards are there already', file=sys.stderr)

  def encoded(self, values):
    """Counts a batch of embeddings."""
    self._captions += len(values)
    self._tokens += sum(map(len, values))
    now = time.monotonic()
    if now - self._shown > (0.2 if sys.stderr.isatty() else 10):
      self._shown = now
      self._show()

  def wrote(self, size):
    """Counts a finished shard of `size` bytes."""
    self._bytes += size

  def finish(self, out, own, shards):
    """The last line."""
    self._show()
    end = '\n' if sys.stderr.isatty() else ''
    print(f'{end}{out}: {own} of {shards} shards are whole', file=sys.stderr)

  def _show(self):
    seconds = max(time.monotonic() - self._start, 1e-9)
    left = seconds / max(1, self._captions) * (self._total - self._captions)
    line = (
      f'{self._captions:,}/{self._total:,} captions  '
      f'{self._captions / seconds:.1f} captions/s  '
      f'{self._tokens / seconds:.0f} tokens/s  '
      f'{self._bytes / 1e6:.1f} MB  '
      f'{tqdm.tqdm.format_interval(left)} left'
    )
    terminal = sys.stderr.isatty()
    start, end = ('\r\x1b[K', '') if terminal else ('', '\n')
    print(f'{start}{line}', end=end, file=sys.stderr, flush=True)


if __name__ == '__main__':
  sys.exit(main())
