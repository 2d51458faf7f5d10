"""Charts for pages: SVG inside HTML, in the colours of the page.

Not in the paper. The same panels as `plots` draws as pictures, here for a
browser: light or dark with the page, sharp at every size, with a sentence for
those who do not see them and the numbers beside. `pages/charts.css` goes with
them.

  panel -> '<figure>...</figure>'
"""

import html
import math
from collections.abc import Sequence

import numpy as np

from imagen_jax.files import plots

WIDTH, HEIGHT = 420, 250  # units of the drawing; a browser scales it
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 38  # around the axes
_MOST = 300  # points of a curve; more would be a finer line than pixels are
_ROWS = 12  # of the table beside a chart
_BINS = 24


def lines(
  panel: plots.Panel, told: str, *, ordered: bool = False, note: str = ''
) -> str:
  """A panel of curves as a figure with its legend and a table.

  Args:
    panel: at most eight labels.
    told: what is to be seen, a sentence or two, for a screen reader.
    ordered: the curves are steps from less to more: shades, not colours.
    note: a line below the title, plain text.
  """
  labels = list(dict.fromkeys(curve.label for curve in panel.curves))
  kind = 'step' if ordered and len(labels) > 1 else 'kind'
  places = [round(7 * i / max(1, len(labels) - 1)) for i in range(len(labels))]
  numbers = places if kind == 'step' else range(len(labels))
  classes = {label: f'{kind}{n}' for label, n in zip(labels, numbers)}
  across, up = plots.axes(panel)
  box = _LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM

  def at(x, y):
    return (
      box[0] + across.place(x) * (box[2] - box[0]),
      box[3] - up.place(y) * (box[3] - box[1]),
    )

  parts = _axes(across, up, at, box, panel.x_label)
  # What stands back is drawn first.
  for curve in sorted(panel.curves, key=lambda c: not c.faint):
    parts.append(_curve(curve, classes[curve.label], at, panel.markers))
  legend = ''
  if len(labels) > 1:
    entries = ''.join(
      f'<li class="{classes[label]}">{html.escape(label)}</li>'
      for label in labels
    )
    legend = f'<ul class="legend">{entries}</ul>'
  unit = (
    f' <small>{html.escape(panel.y_label)}</small>' if panel.y_label else ''
  )
  below = f'<p class="note">{html.escape(note)}</p>' if note else ''
  return (
    f'<figure class="chart"><figcaption>{html.escape(panel.title)}{unit}'
    f'</figcaption>{below}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
    f'aria-label="{html.escape(f"{panel.title}: {told}")}">{"".join(parts)}'
    f'</svg>{legend}{_numbers(panel)}</figure>'
  )


def _axes(across, up, at, box, x_label):
  """Lines, ticks and the label of x."""
  parts = []
  for y in up.ticks:
    level = at(across.ticks[0], y)[1]
    parts.append(
      f'<path class="grid" d="M{box[0]} {level:.1f}H{box[2]}"/>'
      f'<text x="{box[0] - 6}" y="{level + 4:.1f}" text-anchor="end">'
      f'{tick(y)}</text>'
    )
  for number, x in enumerate(across.ticks):
    place = at(x, up.ticks[0])[0]
    last = number == len(across.ticks) - 1
    anchor = 'end' if last else 'middle'
    parts.append(
      f'<text x="{place + 6 * last:.1f}" y="{box[3] + 16}" '
      f'text-anchor="{anchor}">{tick(x)}</text>'
    )
  parts.append(f'<path class="axis" d="M{box[0]} {box[3]}H{box[2]}"/>')
  parts.append(
    f'<text x="{(box[0] + box[2]) / 2:.0f}" y="{box[3] + 33}" '
    f'text-anchor="middle">{html.escape(x_label)}</text>'
  )
  return parts


def _curve(curve, name, at, markers):
  """A path, its bars and its dots."""
  points = [at(x, y) for x, y in _fewer(list(zip(curve.x, curve.y)))]
  line = 'M' + 'L'.join(f'{x:.1f} {y:.1f}' for x, y in points)
  faint = ' faint' if curve.faint else ''
  parts = [f'<path class="curve {name}{faint}" d="{line}"/>']
  for x, low, high in zip(curve.x, curve.low or (), curve.high or ()):
    (left, top), (_, bottom) = at(x, high), at(x, low)
    parts.append(
      f'<path class="bar {name}" d="M{left:.1f} {top:.1f}V{bottom:.1f}"/>'
    )
  if (markers and not curve.faint) or len(points) == 1:
    parts += [
      f'<circle class="dot {name}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
      for x, y in points
    ]
  return ''.join(parts)


def _fewer(points):
  """At most about _MOST points: of each stretch the lowest and the highest."""
  if len(points) <= _MOST:
    return points
  kept = {0, len(points) - 1}
  for part in np.array_split(np.arange(len(points)), _MOST // 2):
    ys = [points[i][1] for i in part]
    kept |= {int(part[np.argmin(ys)]), int(part[np.argmax(ys)])}
  return [points[i] for i in sorted(kept)]


def _numbers(panel):
  """The curves as a table, folded away: some of the points."""
  curves = [c for c in panel.curves if not c.faint]
  head = ''.join(f'<th scope="col">{html.escape(c.label)}</th>' for c in curves)
  tables = [dict(zip(c.x, c.y)) for c in curves]
  xs = sorted({x for table in tables for x in table})
  if len(xs) > _ROWS:
    places = np.linspace(0, len(xs) - 1, _ROWS).round().astype(int)
    xs = [xs[i] for i in places]
  rows = ''.join(
    f'<tr><th scope="row">{tick(x)}</th>'
    + ''.join(f'<td>{number(t[x]) if x in t else ""}</td>' for t in tables)
    + '</tr>'
    for x in xs
  )
  return (
    '<details><summary>Numbers</summary><div class="wide"><table><thead><tr>'
    f'<th scope="col">{html.escape(panel.x_label)}</th>{head}</tr></thead>'
    f'<tbody>{rows}</tbody></table></div></details>'
  )


def histogram(
  values: Sequence[float], title: str, mark: float | None = None
) -> str:
  """Bars of how often values occur; `mark` is a value to draw a line at."""
  values = np.asarray(values, float)
  low, high = (values.min(), values.max()) if len(values) else (0, 1)
  high = high if high > low else low + 1
  counts, edges = np.histogram(values, _BINS, (low, high))
  top = max(1, counts.max())
  w, h = 260 / _BINS, 90
  # One of a million is still to be seen.
  tall = np.maximum(1, h * counts / top)
  bars = ''.join(
    f'<rect class="kind0" x="{i * w:.1f}" y="{h - tall[i]:.1f}" '
    f'width="{w - 1:.1f}" height="{tall[i]:.1f}"><title>{edges[i]:.4g} to '
    f'{edges[i + 1]:.4g}: {n:,}</title></rect>'
    for i, n in enumerate(counts)
    if n
  )
  if mark is not None and low <= mark <= high:
    x = 260 * (mark - low) / (high - low)
    bars += f'<path class="mark" d="M{x:.1f} 0V{h}"/>'
  # Half of all values are below this, as a screen reader is told.
  half = f', half below {number(np.median(values))}' if len(values) else ''
  told = f'{title}: {len(values):,} from {number(low)} to {number(high)}{half}'
  return (
    '<figure class="chart"><svg viewBox="0 0 260 108" role="img" '
    f'aria-label="{html.escape(told)}">{bars}'
    f'<text x="0" y="104">{number(low)}</text>'
    f'<text x="130" y="104" text-anchor="middle">tallest: {top:,}</text>'
    f'<text x="260" y="104" text-anchor="end">{number(high)}</text>'
    f'</svg><figcaption>{html.escape(title)}</figcaption></figure>'
  )


def tick(value: float) -> str:
  """A number at an axis: 20k rather than 20000, no digits without meaning."""
  for size, letter in ((1e9, 'G'), (1e6, 'M'), (1e4, 'k')):
    if abs(value) >= size:
      return plots.said(value / (1e3 if letter == 'k' else size)) + letter
  return plots.said(value)


def number(value: float) -> str:
  """A measured value in a table or a sentence."""
  if not math.isfinite(value):
    return str(value)
  if value == int(value) and abs(value) < 1e15:
    return f'{int(value):,}'
  return f'{value:,.0f}' if abs(value) >= 1e4 else f'{value:.4g}'
