"""Types of fields: what passes, and how the message names what does not."""

import dataclasses
import math

import numpy as np
import pytest

from imagen_jax.config import checks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
  widths: tuple[int, ...] = (1, 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
  inner: Inner = Inner()
  steps: int = 1
  rate: float = 0.1
  low_res: int | None = None
  name: str = 'a'
  on: bool = True
  overrides: tuple[tuple[str, tuple], ...] = ()


@pytest.mark.parametrize(
  'good',
  [
    {},
    {'rate': 1, 'low_res': 3},
    {'steps': np.int64(3), 'rate': np.float32(0.5)},
    {'overrides': (('query', (None, 'tensor')),)},
  ],
)
def test_what_fits_passes(good):
  checks.check(Outer(**good), 'config')


@pytest.mark.parametrize(
  ('bad', 'message'),
  [
    ({'steps': 'many'}, "config.steps is 'many'; it must be int"),
    ({'steps': 1.5}, 'config.steps is 1.5; it must be int'),
    ({'steps': True}, 'config.steps is True; it must be int'),
    ({'rate': None}, 'config.rate is None; it must be float'),
    ({'low_res': '8'}, "config.low_res is '8'; it must be int or None"),
    ({'name': 3}, 'config.name is 3; it must be str'),
    ({'on': 1}, 'config.on is 1; it must be bool'),
    ({'inner': None}, 'config.inner is None; it must be Inner'),
    (
      {'inner': Inner(widths=[1, 2])},
      'config.inner.widths is [1, 2]; it must be tuple of int',
    ),
    ({'overrides': (('query',),)}, "is (('query',),); it must be tuple of"),
  ],
)
def test_what_does_not_is_named(bad, message):
  with pytest.raises(ValueError) as caught:
    checks.check(Outer(**bad), 'config')
  assert message in str(caught.value)


def test_bounds_are_allowed_themselves_and_so_is_none():
  bounds = {'steps': (1, math.inf), 'rate': (0, 1), 'low_res': (8, math.inf)}
  for good in ({}, {'rate': 0}, {'rate': 1, 'low_res': 8}):
    checks.require_within(Outer(**good), **bounds)
  for bad, message in (
    ({'steps': 0}, r'Outer\.steps is 0; it must be at least 1'),
    ({'rate': 1.5}, r'Outer\.rate is 1\.5; it must lie in \[0, 1\]'),
    ({'rate': math.nan}, r'Outer\.rate is nan'),
    ({'low_res': 7}, r'Outer\.low_res is 7'),
    ({'steps': 'x'}, r"Outer\.steps is 'x'; it must be int"),
  ):
    with pytest.raises(ValueError, match=message):
      checks.require_within(Outer(**bad), **bounds)
