"""One picture of successes and failures, each with caption and what was read.

(uint8 [r, r, 3], record of `alignment.judge` with its caption), ... -> uint8
[h, w, 3]: right ones first, then wrong ones with the parts that are wrong.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

TILE = 160  # pixels of a picture on the sheet
COLUMNS = 6
ROWS = 3  # of successes, and of failures
_MARGIN = 8
_LINE = 13  # pixels, height of a line of text
_LINES = 6  # of text below a picture
_LETTERS = 30  # characters on a line
_RIGHT, _WRONG = (30, 140, 60), (190, 40, 40)


def sheet(
  title: str,
  records: Sequence[Mapping],
  load: Callable[[Mapping], np.ndarray],
) -> np.ndarray:
  """Draws the sheet of one split.

  Args:
    title: stands above everything.
    records: judged pictures, with 'caption'; the first that fit are shown.
    load: gives the picture of a record, uint8 [r, r, 3].
  """
  right = [r for r in records if r['verdict']['all']]
  wrong = [r for r in records if not r['verdict']['all']]
  parts = (
    (f'right: {len(right)} of {len(records)}', right, _RIGHT),
    (f'wrong: {len(wrong)} of {len(records)}', wrong, _WRONG),
  )
  most = COLUMNS * ROWS
  rows = sum(-(-min(len(some), most) // COLUMNS) for _, some, _ in parts)
  step = TILE + _LINES * _LINE + _MARGIN
  width = _MARGIN + COLUMNS * (TILE + _MARGIN)
  height = 3 * (_LINE + 2 * _MARGIN) + rows * step
  image = PIL.Image.new('RGB', (width, height), 'white')
  draw = PIL.ImageDraw.Draw(image)
  draw.text((_MARGIN, _MARGIN), title, 'black', _font(13))
  top = _LINE + 2 * _MARGIN
  for heading, some, colour in parts:
    draw.text((_MARGIN, top), heading, colour, _font(13))
    top += _LINE + _MARGIN
    for n, record in enumerate(some[:most]):
      left = _MARGIN + n % COLUMNS * (TILE + _MARGIN)
      at = left, top + n // COLUMNS * step
      _tile(image, draw, at, load(record), record, colour)
    top += -(-min(len(some), most) // COLUMNS) * step + _MARGIN
  return np.asarray(image)


def _tile(image, draw, at, picture, record, colour):
  """Puts one picture with its lines of text at (left, top)."""
  small = PIL.Image.fromarray(picture).resize(
    (TILE, TILE), PIL.Image.Resampling.LANCZOS
  )
  image.paste(small, at)
  left, top = at
  draw.rectangle((left, top, left + TILE - 1, top + TILE - 1), None, colour)
  lines = textwrap.wrap(record['caption'], _LETTERS)[:3]
  wrong = [p for p, right in record['verdict'].items() if right is False]
  lines = [(line, 'black') for line in lines]
  if wrong:
    words = ', '.join(part for part in wrong if part != 'all')
    lines += [(line, colour) for line in textwrap.wrap(words, _LETTERS)]
    read = textwrap.wrap(f'read: {seen(record["read"])}', _LETTERS)
    lines += [(line, 'gray') for line in read]
  for number, (line, ink) in enumerate(lines[:_LINES]):
    where = left, top + TILE + 1 + number * _LINE
    draw.text(where, line, ink, _font(10))


def seen(read: Mapping) -> str:
  """What was read, in words: '2 red fox, 1 unnamed, on white'."""
  names = [
    ' '.join(filter(None, (found['colour'], found['noun']))) or 'unnamed'
    for found in read['found']
  ]
  counts = [f'{names.count(name)} {name}' for name in dict.fromkeys(names)]
  counts.append(f'on {read["background"] or "an unknown background"}')
  return ', '.join(counts)


def _font(size):
  return PIL.ImageFont.load_default(size)
