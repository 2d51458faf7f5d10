"""Charts in pages: points where they belong, and words for those who listen."""

import html
import re

import numpy as np
import pytest

from imagen_jax.files import plots
from imagen_jax.pages import charts


def panel(**changes):
  fields = {
    'title': 'Loss & more',
    'x_label': 'step',
    'y_label': 'nats',
    'curves': [plots.Curve(label='a', x=[0, 10, 20], y=[1.0, 10.0, 100.0])],
  }
  return plots.Panel(**(fields | changes))


def points(figure):
  """(x, y) of the first curve."""
  line = re.search('class="curve[^"]*" d="M([^"]+)"', figure)[1]
  return np.array([p.split() for p in line.split('L')], float)


def test_points_are_where_their_values_are():
  linear = points(charts.lines(panel(), ''))
  np.testing.assert_allclose(np.diff(linear[:, 0], 2), 0, atol=0.2)
  rise = -np.diff(linear[:, 1])
  np.testing.assert_allclose(rise[1] / rise[0], 10, rtol=0.02)
  rise = -np.diff(points(charts.lines(panel(y_log=True), ''))[:, 1])
  np.testing.assert_allclose(rise[1] / rise[0], 1, rtol=0.02)


def test_a_long_curve_keeps_its_ends_and_its_extremes():
  y = np.sin(np.arange(20_000) / 500)
  y[7_777], y[15_000] = 5.0, -4.0
  curve = plots.Curve(label='a', x=range(len(y)), y=y.tolist())
  found = points(charts.lines(panel(curves=[curve], markers=False), ''))
  assert 200 <= len(found) <= 320
  short = plots.Curve(label='a', x=[0, 7_777, 15_000, 19_999], y=[0, 5, -4, 0])
  exact = points(charts.lines(panel(curves=[short], markers=False), ''))
  np.testing.assert_allclose(found[[0, -1], 0], exact[[0, -1], 0], atol=0.1)
  assert found[:, 1].min() == exact[:, 1].min()
  assert found[:, 1].max() == exact[:, 1].max()


def test_what_is_told_is_escaped_and_complete():
  curves = [
    plots.Curve(label='<b>', x=[1, 2], y=[3, 4]),
    plots.Curve(label='<b>', x=[1, 2], y=[30, 40], faint=True),
    plots.Curve(label='other', x=[2], y=[0.125], low=[0.1], high=[0.2]),
  ]
  figure = charts.lines(panel(curves=curves), 'falls "fast"', note='x < y')
  assert 'role="img" aria-label="Loss &amp; more: falls &quot;fast&quot;"' in (
    figure
  )
  assert '<b>' not in figure and 'x &lt; y' in figure
  assert figure.count('<li') == 2
  # The table has what is not faint; where a curve has no point, nothing.
  rows = re.findall('<tr><th scope="row">(.*?)</tr>', figure)
  assert [html.unescape(re.sub('<[^>]+>', ' ', r)) for r in rows] == [
    '1  3   ',
    '2  4  0.125 ',
  ]


def test_steps_are_shades_and_kinds_are_colours():
  curves = [plots.Curve(label=str(i), x=[0, 1], y=[i, i]) for i in range(3)]
  classes = re.compile(r'<li class="(\w+)"')
  ordered = charts.lines(panel(curves=curves), '', ordered=True)
  assert classes.findall(ordered) == ['step0', 'step4', 'step7']
  assert classes.findall(charts.lines(panel(curves=curves), '')) == [
    'kind0',
    'kind1',
    'kind2',
  ]


@pytest.mark.parametrize(
  ('value', 'said'),
  [(0, '0'), (2500, '2500'), (20_000, '20k'), (2.5e6, '2.5M'), (-3e9, '-3G')],
)
def test_ticks_are_short(value, said):
  assert charts.tick(value) == said


@pytest.mark.parametrize(
  ('value', 'said'),
  [
    (12_345, '12,345'),
    (0.0123456, '0.01235'),
    (3.0, '3'),
    (1e5 + 0.5, '100,000'),
  ],
)
def test_numbers(value, said):
  assert charts.number(value) == said
