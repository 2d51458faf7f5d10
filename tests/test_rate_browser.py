"""The rating page in a real browser: 60 pairs rated, keys, phone, dark.

Run with `pytest -m browser`; needs an installed Chromium. Screenshots are kept
in the directory that IMAGEN_JAX_SHOTS names, if it does.
"""

import contextlib
import os
import pathlib

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from imagen_jax import rate
from imagen_jax.data.emoji_scenes import drawing, prompts
from imagen_jax.evaluation.ratings import archive, pictures
from imagen_jax.files import pictures as files
from imagen_jax.pages import rater as rater_lib
from tests.support import browsing, chromium

pytestmark = [
  pytest.mark.browser,
  pytest.mark.skipif(not chromium.installed(), reason='no Chromium here'),
]

SIDE = 256  # pixels
PHONE = dict(width=390, height=844, touch=True, scale=2)

# How much neighbouring pixels of the two pictures differ, as they are seen.
SHARPNESS = """
Promise.all([...document.querySelectorAll('.sides img')].map(async (image) => {
  await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const d = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let i = 4; i < d.length; i += 4) sum += (d[i] - d[i - 4]) ** 2;
  return sum;
}))
"""


@pytest.fixture(scope='module')
def directories(tmp_path_factory):
  """The same 20 scenes twice, once out of focus."""
  root = tmp_path_factory.mktemp('pictures')
  for prompt in prompts.load('lite')[::10]:
    image = drawing.draw(prompt.scene, SIDE)
    blurred = PIL.Image.fromarray(image).filter(PIL.ImageFilter.GaussianBlur(4))
    text = {'prompt': prompt.caption, 'index': '0'}
    name = f'{files.slug(prompt.caption)}.png'
    for side, picture in (('sharp', image), ('blurred', np.asarray(blurred))):
      (root / side).mkdir(exist_ok=True)
      files.write_png(root / side / name, picture, text)
  return root


@contextlib.contextmanager
def _study(directories, out, *flags):
  """A served study: (open votes, its address)."""
  argv = [f'--a={directories / "sharp"}', f'--b={directories / "blurred"}']
  args = rate.parser().parse_args([*argv, f'--out={out}', *flags])
  study = rate.define(args)
  opened = archive.create(out, study)
  store = pictures.Store({'a': args.a, 'b': args.b}, study.size)
  with browsing.served(
    rater_lib.RatingPage(study, opened, store), opened
  ) as found:
    yield found[0], f'http://{found[1][0]}:{found[1][1]}/'


@pytest.fixture(scope='module')
def browser():
  with chromium.Browser() as browser:
    yield browser


def _begin(tab, url):
  tab.go(url)
  with tab.loading():
    tab.click('button')


def _shoot(tab, name):
  if folder := os.environ.get('IMAGEN_JAX_SHOTS'):
    tab.screenshot(pathlib.Path(folder) / f'{name}.png')


def test_sixty_pairs_are_rated_by_looking_at_them(
  directories, tmp_path, browser, capsys
):
  """Three scripted raters choose the sharper picture, by keys, touch, mouse.

  They are told nothing else, so every vote for quality must be for A.
  """
  out = tmp_path / 'study.sqlite'
  tabs = [
    browser.tab(1280, 800),
    browser.tab(**PHONE),
    browser.tab(1024, 700, dark=True),
  ]
  with _study(directories, out, '--simulated') as (opened, url):
    for tab in tabs:
      _begin(tab, url)
    for number in range(20):
      for rater, tab in enumerate(tabs):  # in turn: several at once
        assert f'Pair {number + 1} of 20' in tab.value('document.title')
        left, right = tab.value(SHARPNESS)
        assert left != right
        quality, caption = 3 if right > left else 1, (number + rater) % 3 + 1
        if rater == 0:
          tab.press(str(quality))
          tab.press(('ArrowLeft', 'ArrowDown', 'ArrowRight')[caption - 1])
        else:
          for name, key in (('quality', quality), ('caption', caption)):
            value = ('left', 'none', 'right')[key - 1]
            tab.click(f'label:has([name={name}][value={value}])')
        if number == 3:
          _shoot(tab, f'rater_{rater}')
        with tab.loading():
          tab.press('Enter') if rater == 0 else tab.click('form.vote button')
    assert all('Thank you' in tab.value('document.title') for tab in tabs)
    assert not [c for tab in tabs for c in tab.complaints()]
    found = opened.all()
  assert len(found) == 2 * 60 and all(vote.simulated for vote in found)
  assert {v.answer for v in found if v.question == 'quality'} == {'a'}
  lefts = [v.left for v in found if v.question == 'quality']
  assert 15 < lefts.count('a') < 45
  assert {v.answer for v in found if v.question == 'caption'} == {
    'a',
    'none',
    'b',
  }
  assert rate.main([f'--out={out}', '--report']) == 0
  assert 'all          60  100.0 [94.0, 100.0]' in capsys.readouterr().out
  if folder := os.environ.get('IMAGEN_JAX_SHOTS'):
    data = (tmp_path / 'study.png').read_bytes()
    (pathlib.Path(folder) / 'report.png').write_bytes(data)


def test_keys(directories, tmp_path, browser):
  with _study(directories, tmp_path / 'study.sqlite') as (opened, url):
    tab = browser.tab()
    _begin(tab, url)
    chosen = (
      '[...document.querySelectorAll("input:checked[type=radio]")]'
      '.map((e) => e.name + " " + e.value).join()'
    )
    tab.press('Enter')  # nothing answered: nothing is sent
    tab.press('2')
    assert tab.value(chosen) == 'quality none'
    tab.press('ArrowLeft')
    assert tab.value(chosen) == 'quality none,caption left'
    tab.press('3')  # the last question may be answered anew
    assert tab.value(chosen) == 'quality none,caption right'
    assert opened.counts() == (0, 0)
    ticket = tab.value('document.querySelector("[name=ticket]").value')
    tab.value('location.reload()')
    with tab.loading():
      pass
    assert ticket == tab.value('document.querySelector("[name=ticket]").value')
    tab.click('#keys')  # single keys can be turned off, and stay so
    tab.press('1')
    assert tab.value(chosen) == ''
    tab.click('label:has([value=left])')
    tab.press('Tab')
    tab.press(' ')  # the browser's own way
    assert tab.value(chosen).startswith('quality left,caption')
    with tab.loading():
      tab.press('Enter')
    assert opened.counts() == (1, 2)
    assert tab.value('document.querySelector("#keys").checked') is False


def test_a_picture_can_be_enlarged(directories, tmp_path, browser):
  with _study(directories, tmp_path / 'study.sqlite') as (_, url):
    tab = browser.tab(**PHONE)
    _begin(tab, url)
    width = tab.value('document.querySelector("a img").clientWidth')
    tab.click('a.picture')
    large = tab.value('document.querySelector("dialog[open] img").clientWidth')
    assert width < 200 < 350 < large <= 390
    _shoot(tab, 'enlarged')
    tab.click('dialog button')
    assert tab.value('document.querySelector("dialog[open]")') is None
    assert tab.value('location.pathname') == '/'


def test_a_screen_reader_is_told_everything(directories, tmp_path, browser):
  with _study(directories, tmp_path / 'study.sqlite') as (_, url):
    tab = browser.tab()
    _begin(tab, url)
    tab.press('1')
    names = tab.names()
    for expected in (
      ('heading', 'Pair 1 of 20'),
      ('progressbar', 'Progress'),
      ('image', 'Left picture'),
      ('image', 'Right picture'),
      ('group', 'Which is the better picture?'),
      ('group', 'Which fits the caption better?'),
      ('radio', 'Left'),
      ('radio', 'No preference'),
      ('radio', 'Right'),
      ('button', 'Next'),
    ):
      assert expected in names, expected
    unnamed = {'image', 'link', 'button', 'radio', 'checkbox', 'group'}
    assert not [role for role, name in names if role in unnamed and not name]


@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('phone', [False, True])
def test_it_fits_and_can_be_read(directories, tmp_path, browser, dark, phone):
  """No sideways scrolling, large targets, contrast of 7 : 1 (WCAG AAA)."""
  with _study(directories, tmp_path / 's', '--simulated') as (_, url):
    size = PHONE if phone else dict(width=1280, height=800)
    tab = browser.tab(**size, dark=dark)
    tab.go(url)
    assert tab.contrast() >= 7
    _begin(tab, url)
    tab.value(SHARPNESS)
    assert tab.contrast() >= 7
    tab.click('label:has([value=left])')
    assert tab.contrast() >= 7
    wide, seen = tab.value('[document.documentElement.scrollWidth, innerWidth]')
    assert wide <= seen
    high, seen = tab.value(
      '[document.querySelector("form").getBoundingClientRect().bottom, '
      'innerHeight]'
    )
    assert high <= seen  # pictures and questions on one screen
    least = tab.value(
      'Math.min(...[...document.querySelectorAll(".choices label, button")]'
      '.filter((e) => e.checkVisibility()).map((e) => e.clientHeight))'
    )
    assert least >= 44
    ground = tab.value(
      'getComputedStyle(document.documentElement).backgroundColor'
    )
    assert (ground == 'rgb(23, 25, 27)') == dark
    _shoot(
      tab, f'{"phone" if phone else "desktop"}_{"dark" if dark else "light"}'
    )


def test_it_works_without_scripts(directories, tmp_path, browser):
  with _study(directories, tmp_path / 'study.sqlite') as (opened, url):
    tab = browser.tab()
    tab.ask('Emulation.setScriptExecutionDisabled', value=True)
    _begin(tab, url)
    tab.click('label:has([name=quality][value=left])')
    tab.click('label:has([name=caption][value=none])')
    with tab.loading():
      tab.click('form.vote button')
    assert 'Pair 2 of 20' in tab.value('document.title')
    assert opened.counts() == (1, 2)
