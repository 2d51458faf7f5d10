"""Slices by name, and what is said of names that are none."""

import sys

import pytest

from imagen_jax.parallel import accelerators
from imagen_jax.planning import slices


def test_chips_are_the_product_of_the_shape():
  assert len(slices.NAMES) == len(set(slices.NAMES)) > 30
  for name, chips, chip in (
    ('v5e:16x16', 256, accelerators.V5E),
    ('v4:4x8x8', 256, accelerators.V4),
    ('v4:4x4x8', 128, accelerators.V4),
    ('v6e:2x4', 8, accelerators.V6E),
  ):
    found = slices.find(name)
    assert (found.chips, found.chip) == (chips, chip)


@pytest.mark.parametrize(
  ('name', 'near'),
  [('v5e:16x6', 'v5e:16x16'), ('v4:8x8x4', 'v4:4x8x8'), ('5e:4x4', 'v5e:4x4')],
)
def test_nearest_names_are_offered(name, near):
  with pytest.raises(ValueError, match=f'did you mean .*{near}') as caught:
    slices.find(name)
  assert '--topologies' in str(caught.value)


def test_nothing_is_near_some_names():
  with pytest.raises(ValueError, match="^no slice 'A100': --topologies lists"):
    slices.find('A100')


def test_without_the_compiler(monkeypatch):
  monkeypatch.setitem(sys.modules, 'libtpu', None)
  with pytest.raises(ValueError, match='not installed: pip install libtpu'):
    slices.devices(slices.find('v5e:2x2'))
