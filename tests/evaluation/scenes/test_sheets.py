"""Facts about the sheet of successes and failures."""

import numpy as np

from imagen_jax.evaluation.scenes import alignment, sheets

RIGHT, WRONG = (10, 200, 30), (220, 20, 40)


def record(right):
  verdict = dict.fromkeys(alignment.PARTS, True)
  found = [{'noun': 'fox', 'colour': 'red'}] * 2
  found.append({'noun': None, 'colour': None})
  return {
    'caption': 'two red foxes at sunset',
    'verdict': verdict | {'count': right, 'all': right},
    'read': {'background': None, 'found': found},
  }


def test_successes_come_before_failures_and_none_is_lost():
  judged = [record(n % 3 > 0) for n in range(9)]
  image = sheets.sheet(
    'test_count',
    judged,
    lambda r: np.full((64, 64, 3), RIGHT if r['verdict']['all'] else WRONG,
                      np.uint8),
  )  # fmt: skip
  areas, tops = [], []
  for colour in (RIGHT, WRONG):
    rows = np.nonzero((image == colour).all(-1))[0]
    areas.append(len(rows) / (sheets.TILE - 2) ** 2)
    tops.append(rows.max())
  np.testing.assert_allclose(areas, (6, 3), rtol=1e-3)
  assert tops[0] < tops[1]


def test_an_empty_side_needs_no_room():
  image = sheets.sheet(
    'x', [record(True)], lambda r: np.zeros((256, 256, 3), np.uint8)
  )
  assert image.shape[0] < 2 * (sheets.TILE + 100)


def test_says_what_was_read():
  assert sheets.seen(record(True)['read']) == (
    '2 red fox, 1 unnamed, on an unknown background'
  )
