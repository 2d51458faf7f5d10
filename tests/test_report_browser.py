"""The report in a real browser: a desk, a phone, dark, a screen reader.

Run with `pytest -m browser`; needs an installed Chromium. Screenshots are kept
in the directory that IMAGEN_JAX_SHOTS names, if it does.
"""

import os
import pathlib

import pytest

from imagen_jax import report
from tests.support import chromium, work

pytestmark = [
  pytest.mark.browser,
  pytest.mark.skipif(not chromium.installed(), reason='no Chromium here'),
]


@pytest.mark.parametrize(
  ('name', 'look'),
  [
    ('desk', dict(width=1200, height=900)),
    ('phone', dict(width=390, height=844, touch=True, dark=True)),
  ],
)
def test_the_page(name, look, tmp_path):
  work.make(tmp_path)
  assert report.main([f'--workdir={tmp_path}']) == 0
  with chromium.Browser() as browser:
    tab = browser.tab(**look)
    tab.go((tmp_path / report.NAME).as_uri())
    assert tab.complaints() == []
    wide = tab.value('[document.documentElement.scrollWidth, innerWidth]')
    assert wide[0] <= wide[1], 'the page scrolls sideways'
    assert tab.value('[...document.images].every((i) => i.naturalWidth > 0)')
    ground = tab.value('getComputedStyle(document.documentElement).background')
    assert ('rgb(23, 25, 27)' in ground) == look.get('dark', False)
    # Lines are seen: their colour is another than that of what is behind.
    assert tab.value(
      '[...document.querySelectorAll(".curve")].every((e) => '
      'getComputedStyle(e).stroke.startsWith("rgb("))'
    )
    told = tab.names()
    drawings = [said for role, said in told if role == 'image']
    assert sum('lowest' in said for said in drawings) >= 6
    assert ('heading', 'Loss by noise level') in told
    if shots := os.environ.get('IMAGEN_JAX_SHOTS'):
      path = pathlib.Path(shots) / f'report_{name}.png'
      tab.screenshot(path, whole=True)
