"""The bars of a study as a picture, like those of the paper's figure 3.

Pillow alone. A panel a question; in it a group of bars a category: A, no
preference, B, each with its 95% interval, and a line at 50%.

  report.Summary -> uint8 [h, w, 3]
"""

import math

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from imagen_jax.evaluation.ratings import report

_SCALE = 2  # device pixels of a pixel below
_HEIGHT = 200  # of the bars at 100%
_BAR = 20  # width
_GAP = 30  # between groups
_LEFT = 52  # for the numbers of the axis
_LEAST = 640  # width of the figure
_HALO = 4  # device pixels around a number that lies on lines
_INK, _SOFT, _GRID = '#1a1c1e', '#4a4f55', '#d9dbdd'
# Okabe and Ito's: told apart by everyone; no preference stands back.
_COLOURS = {'a': '#0072b2', 'none': '#c3c7cb', 'b': '#e69f00'}
_WARN, _WARN_GROUND = '#7a2e00', '#fdeedd'


def draw(s: report.Summary) -> np.ndarray:
  """Draws the figure; simulated votes are said so across its head."""
  study = s.study
  some = [row for row in s.rows if row.what != 'mean']
  categories = list(dict.fromkeys(row.category for row in some))
  kinds = list(dict.fromkeys(row.what for row in some))
  questions = study.protocol.questions
  group = len(kinds) * _BAR + _GAP
  # A long name may take two lines under its bars.
  group = max(group, min(110, max(_width(c, 12) for c in categories) + 14))
  panel_width = max(_LEAST, _LEFT + group * len(categories) + 20)
  panel = 34 + 16 + _HEIGHT + 62
  head = 74 + (36 if study.simulated else 0)
  canvas = _Canvas(panel_width, head + panel * len(questions) + 30)
  top = _head(canvas, s, kinds)
  cells = {(r.question, r.category, r.what): r for r in some}
  for question in questions:
    n = [cells[question.name, c, kinds[0]].n for c in categories]
    canvas.text(_LEFT, top, question.text, 15)
    _axis(canvas, top + 50, panel_width, not study.protocol.single)
    for number, category in enumerate(categories):
      left = _LEFT + 8 + number * group
      rows = [cells[question.name, category, kind] for kind in kinds]
      _group(canvas, left, group, top + 50, rows, category, n[number])
    top += panel
  canvas.text(_LEFT, top, _footer(study.protocol), 11, _SOFT)
  return canvas.pixels()


def _footer(protocol):
  if protocol.single:
    return 'Mean of yes = 100, somewhat = 50, no = 0; whiskers: 95%, normal.'
  return "Percent of answers; whiskers: Wilson's 95% interval."


def _head(canvas, s, kinds):
  """Title and legend; returns where the first panel begins."""
  top = 12
  if s.study.simulated:
    canvas.box(0, 0, canvas.width, 34, _WARN_GROUND)
    canvas.text(_LEFT, 9, report.SIMULATED, 13, _WARN)
    top += 36
  canvas.text(_LEFT, top, report.heading(s), 12, _SOFT)
  names = {'a': s.study.names[0], 'b': s.study.names[1]} | {
    'none': 'no preference'
  }
  left = _LEFT
  for kind in kinds:
    canvas.box(left, top + 25, left + 14, top + 39, _COLOURS[kind])
    canvas.text(left + 20, top + 24, names[kind], 13)
    left += 20 + _width(names[kind], 13) + 28
  return top + 60


def _axis(canvas, top, width, even):
  """Lines and their percents; dashes at 50% if that is `even` odds."""
  for percent in (0, 25, 50, 75, 100):
    y = top + _HEIGHT * (100 - percent) / 100
    canvas.line(_LEFT, y, width - 14, y, _GRID, 1)
    said = f'{percent}%'
    canvas.text(_LEFT - 8 - _width(said, 11), y - 8, said, 11, _SOFT)
  if even:
    y = top + _HEIGHT / 2
    for x in range(_LEFT, width - 14, 9):
      canvas.line(x, y, x + 5, y, _SOFT, 1)


def _group(canvas, left, group, top, rows, category, n):
  """The bars of a category, and its name and count below."""
  start = left + (group - len(rows) * _BAR) / 2
  bottom = top + _HEIGHT
  for number, row in enumerate(rows):
    if math.isnan(row.value):
      continue
    x = start + number * _BAR
    y = bottom - _HEIGHT * row.value / 100
    canvas.box(x + 1, y, x + _BAR - 1, bottom, _COLOURS[row.what])
    if not math.isnan(row.low):
      ends = [
        bottom - _HEIGHT * min(100, max(0, v)) / 100
        for v in (row.low, row.high)
      ]
      middle = x + _BAR / 2
      canvas.line(middle, *(ends[0], middle, ends[1]), _INK, 1.5)
      for end in ends:
        canvas.line(middle - 4, end, middle + 4, end, _INK, 1.5)
    said = f'{row.value:.0f}'
    above = y if math.isnan(row.low) else min(y, ends[1])
    canvas.text(
      x + (_BAR - _width(said, 10)) / 2, above - 15, said, 10, halo=True
    )
  for number, line in enumerate([*_fit(category, group - 6), f'n = {n}']):
    y = bottom + 6 + 16 * number
    ink = _SOFT if line.startswith('n = ') else _INK
    canvas.text(left + (group - _width(line, 12)) / 2, y, line, 12, ink)


def _fit(name, width):
  """A name on one line or two, cut where it is longer."""
  if _width(name, 12) <= width:
    return [name]
  lines = ['']
  for word in name.split():
    longer = f'{lines[-1]} {word}'.strip()
    if _width(longer, 12) <= width or not lines[-1]:
      lines[-1] = longer
    else:
      lines.append(word)
  return [_cut(line, width) for line in lines[:2]]


def _cut(line, width):
  while len(line) > 1 and _width(line, 12) > width:
    line = line[:-2].rstrip() + '.'
  return line


def _font(size):
  return PIL.ImageFont.load_default(size)


def _width(text, size):
  return _font(size).getlength(_plain(text))


def _plain(text):
  """In letters that the font of Pillow has."""
  return text.encode('latin-1', 'replace').decode('latin-1')


class _Canvas:
  """Draws in pixels that are two device pixels wide."""

  def __init__(self, width, height):
    self.width = width
    size = int(width * _SCALE), int(height * _SCALE)
    self._image = PIL.Image.new('RGB', size, 'white')
    self._draw = PIL.ImageDraw.Draw(self._image)

  def text(self, x, y, text, size, ink=_INK, halo=False):
    self._draw.text(
      (x * _SCALE, y * _SCALE),
      _plain(text),
      ink,
      _font(size * _SCALE),
      stroke_width=_HALO * halo,
      stroke_fill='white',
    )

  def box(self, left, top, right, bottom, ink):
    if bottom > top:
      edges = [round(v * _SCALE) for v in (left, top, right, bottom)]
      self._draw.rectangle([*edges[:2], edges[2] - 1, edges[3] - 1], ink)

  def line(self, x0, y0, x1, y1, ink, width):
    ends = [round(v * _SCALE) for v in (x0, y0, x1, y1)]
    self._draw.line(ends, ink, max(1, round(width * _SCALE)))

  def pixels(self):
    return np.asarray(self._image)
