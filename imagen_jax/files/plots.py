"""Line charts as pictures, with Pillow alone.

Not in the paper. Panels of curves over numbers, for sweeps and for what goes
on inside a sampler: what a user who installed the core may ask for.

  panels -> uint8 [h, w, 3]
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

WIDTH, HEIGHT = 440, 330  # pixels of a panel
_SCALE = 3  # drawn larger by this and made smaller: smooth lines
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 22, 60, 48  # around the axes
_LINE = 16  # height of a line of the legend
_INK, _SOFT, _GRID = (40, 40, 40), (110, 110, 110), (228, 228, 228)
# Okabe and Ito 2008: told apart by the colour-blind too.
_COLOURS = (
  (0, 114, 178),
  (213, 94, 0),
  (0, 158, 115),
  (204, 121, 167),
  (230, 159, 0),
  (86, 180, 233),
  (120, 120, 120),
  (0, 0, 0),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
  """Points in their order, with a name for the legend."""

  label: str
  x: Sequence[float]
  y: Sequence[float]
  low: Sequence[float] | None = None  # of y: a bar at each point
  high: Sequence[float] | None = None
  notes: Sequence[str] | None = None  # a word beside each point
  faint: bool = False  # stands back, behind one of the same label


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
  """Axes with their curves."""

  title: str
  x_label: str
  y_label: str
  curves: Sequence[Curve]
  y_least: float | None = None  # shown at the bottom; None = what there is
  y_log: bool = False  # equal factors are equally far apart; all y above 0
  markers: bool = True  # a dot at each point


def draw(panels: Sequence[Panel], columns: int = 2) -> np.ndarray:
  """The panels in rows, with one legend below all: uint8 [h, w, 3]."""
  columns = min(columns, len(panels))
  rows = -(-len(panels) // columns)
  labels = list(dict.fromkeys(c.label for p in panels for c in p.curves))
  colours = {n: _COLOURS[i % len(_COLOURS)] for i, n in enumerate(labels)}
  width = columns * WIDTH
  entries = _legend(labels, width)
  size = width, rows * HEIGHT + (max(y for _, y, _ in entries) + 1) * _LINE + 8
  image = PIL.Image.new('RGB', tuple(_SCALE * n for n in size), 'white')
  ink = _Ink(image)
  for number, panel in enumerate(panels):
    row, column = divmod(number, columns)
    _panel(ink, column * WIDTH, row * HEIGHT, panel, colours)
  for x, line, label in entries:
    y = rows * HEIGHT + line * _LINE
    ink.line([(x, y + 8), (x + 18, y + 8)], colours[label], 2.2)
    ink.text((x + 24, y + 8), label, _INK, 11, 'lm')
  return np.asarray(image.resize(size, PIL.Image.Resampling.BOX))


class _Ink:
  """Drawing in the picture's own pixels, on a larger canvas."""

  def __init__(self, image):
    self._draw = PIL.ImageDraw.Draw(image)

  def line(self, points, colour, width):
    scaled = [(_SCALE * x, _SCALE * y) for x, y in points]
    self._draw.line(scaled, colour, round(_SCALE * width), joint='curve')

  def dot(self, point, colour, radius):
    x, y = (_SCALE * v for v in point)
    r = _SCALE * radius
    self._draw.ellipse((x - r, y - r, x + r, y + r), colour)

  def text(self, point, text, colour, size, anchor):
    at = tuple(_SCALE * v for v in point)
    # The font that comes with Pillow has Latin letters alone.
    text = text.encode('latin-1', 'replace').decode('latin-1')
    self._draw.text(at, text, colour, _font(_SCALE * size), anchor=anchor)


def _panel(ink, left, top, panel, colours):
  """One panel with its corner at (left, top)."""
  box = left + _LEFT, top + _TOP, left + WIDTH - _RIGHT, top + HEIGHT - _BOTTOM
  across, up = axes(panel)

  def at(x, y):
    return (
      box[0] + across.place(x) * (box[2] - box[0]),
      box[3] - up.place(y) * (box[3] - box[1]),
    )

  ink.text((left + 16, top + 20), panel.title, _INK, 13, 'lm')
  ink.text((left + 16, top + 40), panel.y_label, _SOFT, 11, 'lm')
  middle = (box[0] + box[2]) / 2
  ink.text((middle, box[3] + 34), panel.x_label, _SOFT, 11, 'mm')
  for y in up.ticks:
    ends = [at(x, y) for x in (across.ticks[0], across.ticks[-1])]
    ink.line(ends, _GRID, 1)
    ink.text((box[0] - 8, ends[0][1]), said(y), _SOFT, 11, 'rm')
  for x in across.ticks:
    left_of, _ = at(x, up.ticks[0])
    ink.text((left_of, box[3] + 14), said(x), _SOFT, 11, 'mm')
  ink.line([(box[0], box[3]), (box[2], box[3])], _SOFT, 1)
  for number, curve in enumerate(panel.curves):
    # Side by side, and behind all curves.
    aside = 3 * (number - (len(panel.curves) - 1) / 2)
    _bars(ink, curve, colours[curve.label], at, aside)
  for curve in panel.curves:
    _curve(ink, curve, colours[curve.label], at, panel.markers)


def _bars(ink, curve, colour, at, aside):
  pale = tuple((c + 255) // 2 for c in colour)
  for x, low, high in zip(curve.x, curve.low or (), curve.high or ()):
    ends = [(left + aside, top) for left, top in (at(x, low), at(x, high))]
    ink.line(ends, pale, 1.4)


def _curve(ink, curve, colour, at, markers):
  points = [at(x, y) for x, y in zip(curve.x, curve.y)]
  if curve.faint:
    colour = tuple((c + 2 * 255) // 3 for c in colour)
  if len(points) > 1:
    ink.line(points, colour, 1 if curve.faint else 2)
  if (markers and not curve.faint) or len(points) == 1:
    for point in points:
      ink.dot(point, colour, 3.2)
  for (x, y), note in zip(points, curve.notes or ()):
    ink.text((x + 6, y - 8), note, colour, 10, 'lm')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
  """Round numbers around the values, and where values lie among them."""

  ticks: Sequence[float]  # rising; the first and the last are its ends
  log: bool = False

  def place(self, value: float) -> float:
    """The share of the way from one end to the other."""
    scale = math.log if self.log else float
    low, high = scale(self.ticks[0]), scale(self.ticks[-1])
    return (scale(value) - low) / (high - low)


def axes(panel: Panel) -> tuple[Axis, Axis]:
  """Those of x and y; bars and `y_least` have room on them."""
  xs = [x for c in panel.curves for x in c.x]
  ys = [y for c in panel.curves for v in (c.y, c.low, c.high) if v for y in v]
  ys += [] if panel.y_least is None else [panel.y_least]
  up = log_ticks(ys) if panel.y_log else ticks(ys)
  return Axis(ticks=ticks(xs)), Axis(ticks=up, log=panel.y_log)


def ticks(values: Sequence[float]) -> list[float]:
  """Round numbers around all of the values: four to seven, evenly apart."""
  low, high = (min(values), max(values)) if values else (0.0, 1.0)
  size = max(1.0, abs(low), abs(high))
  if high - low < 1e-9 * size:
    room = max(0.5, 1e-6 * size)
    low, high = low - room, high + room
  rough = (high - low) / 5
  power = 10.0 ** math.floor(math.log10(rough))
  step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough)
  first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
  return [round(n * step, 12) for n in range(first, last + 1)]


def log_ticks(values: Sequence[float]) -> list[float]:
  """1, 2 and 5 times powers of ten around the values; powers if many."""
  low, high = (min(values), max(values)) if values else (1.0, 10.0)
  if low <= 0:
    raise ValueError(f'{low} has no place on a logarithmic axis')
  first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
  steps = (1, 2, 5) if last - first <= 3 else (1,)
  all_ticks = [
    float(f'{m}e{power}') for power in range(first, last + 2) for m in steps
  ]
  start = max(i for i, tick in enumerate(all_ticks) if tick <= low)
  above = [i for i, tick in enumerate(all_ticks) if tick >= high]
  return all_ticks[start : max(above[0], start + 1) + 1]


def said(number: float) -> str:
  """A tick as text."""
  return f'{number:.10g}'


def _legend(labels, width):
  """(x, line, label) of each entry."""
  entries, x, line = [], 16, 0
  for label in labels:
    needed = 24 + _font(11).getlength(label) + 22
    if entries and x + needed > width:
      x, line = 16, line + 1
    entries.append((x, line, label))
    x += needed
  return entries


def _font(size):
  return PIL.ImageFont.load_default(size)
