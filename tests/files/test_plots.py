"""Charts: round ticks around the values, and the points where they belong."""

import numpy as np
import pytest

from imagen_jax.files import plots


@pytest.mark.parametrize(
  ('values', 'expected'),
  [
    ([0, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ([1, 16], [0, 5, 10, 15, 20]),
    ([0.31, 0.47], [0.3, 0.35, 0.4, 0.45, 0.5]),
    ([2, 2], [1.4, 1.6, 1.8, 2, 2.2, 2.4, 2.6]),
    ([-7, 3], [-8, -6, -4, -2, 0, 2, 4]),
  ],
)
def test_ticks_are_round_and_hold_all_values(values, expected):
  found = plots.ticks(values)
  assert found[0] <= min(values) and max(values) <= found[-1]
  np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
  ('values', 'expected'),
  [
    ([0.03, 0.2], [0.02, 0.05, 0.1, 0.2]),
    ([3, 3], [2, 5]),
    ([1, 1], [1, 2]),
    ([2, 700_000], [1, 10, 100, 1e3, 1e4, 1e5, 1e6]),
  ],
)
def test_logarithmic_ticks(values, expected):
  assert plots.log_ticks(values) == expected


def test_a_logarithmic_axis_has_no_place_for_zero():
  with pytest.raises(ValueError, match='0 has no place'):
    plots.log_ticks([0, 1])


def test_equal_factors_are_equally_far_apart():
  curve = plots.Curve(label='a', x=[0, 1], y=[1, 100])
  panel = plots.Panel(
    title='', x_label='', y_label='', curves=[curve], y_log=True
  )
  _, up = plots.axes(panel)
  np.testing.assert_allclose([up.place(y) for y in (1, 10, 100)], [0, 0.5, 1])


def test_a_curve_goes_through_its_points():
  curve = plots.Curve(label='a', x=[0, 1, 2], y=[0, 10, 0])
  panel = plots.Panel(title='t', x_label='x', y_label='y', curves=[curve])
  image = plots.draw([panel]).astype(int)
  # The highest and the lowest ink of the curve's colour, legend apart.
  blue = np.abs(image[: plots.HEIGHT] - (0, 114, 178)).sum(axis=2) < 60
  rows, columns = np.nonzero(blue)
  top = columns[rows == rows.min()].mean()
  assert abs(top - (columns.min() + columns.max()) / 2) < 2
  assert rows.max() - rows.min() > 0.6 * plots.HEIGHT


def test_letters_that_the_font_has_not_are_no_error():
  curve = plots.Curve(label='\u20ac 1', x=[1], y=[1], low=[0], high=[2])
  panel = plots.Panel(title='t', x_label='', y_label='', curves=[curve] * 9)
  assert plots.draw([panel] * 3).shape[1] == 2 * plots.WIDTH
