"""Pieces of a set that is nowhere, for tests of how an index is made."""

from imagen_jax.data import index, indexing

ABOUT = {'kind': 'test', 'root': 'a set', 'settings': {}, 'files': []}


def entry(i):
  captions = (f'number {i}', 'é') if i % 3 else ('x' * (i % 50 + 1),)
  return index.Entry(
    id=f'{i:06d}', captions=captions, width=i + 1, height=7, size=i, offset=i
  )


def scanned(numbers):
  for i in numbers:
    bad = i % 11 == 5
    yield index.Reject(id=str(i), reason='odd') if bad else entry(i)


def some(count, each, seen=None):
  for start in range(0, count, each):
    numbers = range(start, min(start + each, count))

    def scan(numbers=numbers):
      if seen is not None:
        seen.append(numbers[0] // each)
      return scanned(numbers)

    yield indexing.Piece(state=lambda n=numbers: [n[0], n[-1]], scan=scan)
