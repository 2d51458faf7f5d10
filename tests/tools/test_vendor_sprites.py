"""The maintainers' script reads SVG shapes and verifies its input."""

import numpy as np
import pytest

from tools import vendor_sprites


def area(polygon):
  x, y = np.reshape(polygon, (-1, 2)).T
  return abs(np.sum(np.roll(x, 1) * y - x * np.roll(y, 1))) / 2


def test_another_tarball_is_refused(tmp_path):
  path = tmp_path / 'other.tgz'
  path.write_bytes(b'something else')
  with pytest.raises(ValueError, match='sha256 .* expected 7d064769'):
    vendor_sprites.read_icons(path)


def test_a_disc_keeps_its_area_and_fills_its_box():
  pytest.importorskip('svgelements')
  body = '<g fill="none"><circle cx="9" cy="12" r="4" fill="#fff"/></g>'
  ((fill, opacity, rule, polygons),) = vendor_sprites.to_grid(
    vendor_sprites.read_body(body)
  )
  assert (fill, opacity, rule) == ('#ffffff', 1.0, 'nonzero')
  radius = vendor_sprites.FILL * vendor_sprites.GRID / 2
  np.testing.assert_allclose(area(polygons[0]), np.pi * radius**2, rtol=3e-3)
  centre = np.reshape(polygons[0], (-1, 2)).mean(axis=0)
  np.testing.assert_allclose(centre, vendor_sprites.GRID / 2, atol=1)


def test_curves_and_holes_of_a_path_become_polygons():
  pytest.importorskip('svgelements')
  body = (
    '<path fill="#012345" fill-rule="evenodd" d="M0 0h8v8h-8zM2 2h4v4h-4z"/>'
  )
  ((_, _, rule, polygons),) = vendor_sprites.read_body(body)
  assert rule == 'evenodd'
  assert [area(p) for p in polygons] == [64, 16]
