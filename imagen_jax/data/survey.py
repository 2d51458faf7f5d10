"""Numbers about a set: what `python -m imagen_jax.data_report` tells.

  take(source, index, ...) -> Survey    from the index, and a sample of files

The index tells sizes, counts and rejects of the whole set; captions and files
are looked at in an evenly spaced sample, which is the whole of a small set.
"""

import collections
import dataclasses
import hashlib
import time
import unicodedata

import numpy as np

from imagen_jax.data import framing, images, index, photographs

SCRIPTS = (
  'LATIN', 'CYRILLIC', 'GREEK', 'CJK', 'HIRAGANA', 'KATAKANA', 'HANGUL',
  'ARABIC', 'HEBREW', 'DEVANAGARI', 'BENGALI', 'TAMIL', 'THAI',
)  # fmt: skip
_HASHED = 20_000  # files of equal size that are compared, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
  """Everything the report says, before it is put in words."""

  root: str
  examples: int
  rejected: dict[str, int]
  rejected_some: list[dict]
  such: dict[str, str]  # reason -> the first that was rejected for it
  passed: dict[str, list]  # reason -> [number passed over, the first of them]
  width: np.ndarray  # [n] pixels, of all examples
  height: np.ndarray
  size: np.ndarray  # [n] bytes
  kept: int  # by the filter
  too_small: int
  too_narrow: int
  cropped: float  # mean share of the area that the square keeps
  captions: list[tuple[str, ...]]  # of the sample
  characters: np.ndarray  # [m] of each caption of the sample
  tokens: np.ndarray | None  # [m], the end of sequence included
  max_tokens: int | None
  scripts: dict[str, float]  # share of the letters
  same_files: list[list[str]]  # ids of files with equal bytes
  same_captions: list[tuple[str, int]]  # the most frequent, with their counts
  decoded: int  # files of the sample
  bad: dict[str, str]  # of these: id -> reason
  profiles: dict[str, int]  # of these: fate of their colour profiles -> number
  seconds: float  # of one core, for decoding and framing them
  thumbnails: list[tuple[np.ndarray, str]]  # square, caption


def take(source, found, pictures, reading, sample, tokenizer=None, shown=24):
  """Surveys an indexed source.

  Args:
    source: of `sources`, with an index.
    found: that index.
    pictures: the `pipeline.Pictures` that would be trained on.
    reading: the `photographs.Reading` that would be.
    sample: captions and files to look at, at most.
    tokenizer: with `encode` and `max_length`; None = tokens are not counted.
    shown: thumbnails.
  """
  rows, fetch = found.rows, fetcher(source)
  width, height = (rows[name].astype(np.int64) for name in ('width', 'height'))
  short, long = np.minimum(width, height), np.maximum(width, height)
  aspect = long / np.maximum(short, 1)
  small = short < reading.keep.min_side
  limit = reading.keep.max_aspect
  narrow = ~small & (aspect > limit) if limit is not None else small & False
  kept = np.flatnonzero(~small & ~narrow)
  chosen = _spread(np.arange(len(rows)), sample)
  texts = [found.text(rows[i]) for i in chosen]
  captions = [text.captions for text in texts]
  flat = [caption for several in captions for caption in several]
  looked = _look(fetch, found, _spread(kept, sample), pictures, shown)
  return Survey(
    root=found.about['root'],
    examples=len(rows),
    rejected=found.about['rejected'],
    rejected_some=found.rejected(200),
    such=found.about['such'],
    passed=found.about['passed'],
    width=width,
    height=height,
    size=rows['size'].astype(np.int64),
    kept=len(kept),
    too_small=int(small.sum()),
    too_narrow=int(narrow.sum()),
    cropped=float((short[kept] / long[kept]).mean()) if len(kept) else 0.0,
    captions=captions,
    characters=np.array([len(caption) for caption in flat]),
    tokens=_tokens(tokenizer, flat),
    max_tokens=tokenizer and tokenizer.max_length,
    scripts=scripts(flat),
    same_files=same_files(fetch, found),
    same_captions=[
      pair for pair in collections.Counter(flat).most_common(10) if pair[1] > 1
    ],
    **looked,
  )


def scripts(captions) -> dict[str, float]:
  """Share of each script among the letters, the most frequent first."""
  counts = collections.Counter()
  for caption in captions:
    for letter in caption:
      if letter.isalpha():
        name = unicodedata.name(letter, 'OTHER').partition(' ')[0]
        counts[name if name in SCRIPTS else 'OTHER'] += 1
  total = max(1, counts.total())
  return {name.lower(): n / total for name, n in counts.most_common()}


def same_files(fetch, found) -> list[list[str]]:
  """Ids of examples whose files are equal byte by byte.

  Only files of equal size in bytes and pixels can be: these are read.
  """
  rows = found.rows
  key = np.stack(
    [rows[n].astype(np.int64) for n in ('size', 'width', 'height')]
  )
  _, group, counts = np.unique(
    key, axis=1, return_inverse=True, return_counts=True
  )
  suspects = np.flatnonzero(counts[group.reshape(-1)] > 1)[:_HASHED]
  groups = collections.defaultdict(list)
  for i in suspects:
    text = found.text(rows[i])
    try:
      data = fetch(rows[i], text)
    except images.BadPicture:
      continue
    data = data.tobytes() if isinstance(data, np.ndarray) else data
    groups[hashlib.blake2b(data, digest_size=16).digest()].append(text.id)
  return [ids for ids in groups.values() if len(ids) > 1]


def fetcher(source):
  """fetch(row, text) of an indexed source."""
  everything = photographs.Reading(
    keep=index.Filter(min_side=0, max_aspect=None, max_rejected=1.0),
    validation=0.0,
  )
  return dataclasses.replace(source, reading=everything).open('train').fetch


def _look(fetch, found, chosen, pictures, shown):
  """Decodes and frames the sample, on one core."""
  bad, thumbnails, profiles = {}, [], collections.Counter()
  every = max(1, len(chosen) // max(1, shown))
  seconds = 0.0
  for count, i in enumerate(chosen):
    row = found.rows[i]
    text = found.text(row)
    try:
      data = fetch(row, text)
      start = time.process_time()
      image = framing.decoded(data, pictures)
      seen = framing.frame(image, pictures)
      seconds += time.process_time() - start
      profiles[images.profile_of(data)] += 1
    except images.BadPicture as e:
      bad[text.id] = str(e)
      continue
    if count % every == 0 and len(thumbnails) < shown:
      thumbnails.append((seen, text.captions[0]))
  return {
    'decoded': len(chosen),
    'bad': bad,
    'profiles': dict(profiles),
    'seconds': seconds,
    'thumbnails': thumbnails,
  }


def _tokens(tokenizer, captions):
  if tokenizer is None:
    return None
  longer = tokenizer.truncated(captions)
  _, mask = tokenizer.encode(captions)
  # One more than the limit stands for all that are cut.
  return mask.sum(1) + longer


def _spread(numbers, count):
  """`count` of them, evenly spaced."""
  if len(numbers) <= count:
    return numbers
  return numbers[np.linspace(0, len(numbers) - 1, count).astype(np.int64)]
