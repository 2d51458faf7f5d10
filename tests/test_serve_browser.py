"""The page to draw on in a real browser: stages, queue, errors, phone, dark.

Run with `pytest -m browser`; needs an installed Chromium. Screenshots are kept
in the directory that IMAGEN_JAX_SHOTS names, if it does.
"""

import base64
import contextlib
import io
import os
import pathlib

import numpy as np
import PIL.Image
import pytest

from tests.support import chromium, painting

pytestmark = [
  pytest.mark.browser,
  pytest.mark.skipif(not chromium.installed(), reason='no Chromium here'),
]

PHONE = dict(width=390, height=844, touch=True, scale=2)
NOW = 'document.querySelector("#now").textContent'
SHOWN = 'document.querySelector("#picture img").getAttribute("src")'
# Width of the picture in view, once it is there.
WIDTH = """
(() => {
  const image = document.querySelector('#picture img');
  return !image.hidden && image.complete ? image.naturalWidth : 0;
})()
"""
# Addresses of all that the page asked for.
ASKED = """
[location.href, ...performance.getEntriesByType('resource').map((e) => e.name)]
"""
# Fields and buttons that a finger cannot hit, or that have no name.
SMALL = """
[...document.querySelectorAll('button, input, select, textarea, summary, a')]
  .filter((e) => e.checkVisibility() && e.type !== 'hidden')
  .filter((e) => e.getBoundingClientRect().height < 24)
  .map((e) => e.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope='module')
def browser():
  with chromium.Browser() as browser:
    yield browser


@contextlib.contextmanager
def opened(browser, *, steps=0, waiting=8, **look):
  """(tab on the page, painter); the painter may go so many steps."""
  painter = painting.Painter()
  painter.go(steps)
  with painting.served(painter, waiting=waiting) as (_, address):
    tab = browser.tab(**look)
    tab.go(f'http://{address[0]}:{address[1]}/')
    tab.until('run !== ""')
    yield tab, painter
    # Refused orders are told there too, and what a test does on purpose.
    meant = ('status of 4', 'status of 503', '127.0.0.2')
    complaints = tab.complaints()
    assert not [c for c in complaints if not any(m in c for m in meant)]
    tab.go('about:blank')  # it asks for no more news


def draw(tab, prompt, **fields):
  """Types a sentence and presses Enter; other fields are filled in."""
  for name, value in fields.items():
    tab.value(f'form.elements.{name}.value = {value!r}')
  tab.value('form.elements.prompt.value = ""')
  tab.click('#prompt')
  tab.type(prompt)
  tab.press('Enter')


def shoot(tab, name):
  if folder := os.environ.get('IMAGEN_JAX_SHOTS'):
    tab.screenshot(pathlib.Path(folder) / f'serve_{name}.png', whole=True)


def test_a_picture_comes_stage_by_stage(browser):
  with opened(browser, width=1280, height=800) as (tab, painter):
    assert tab.value('$("about").hidden')
    shoot(tab, 'empty')
    draw(tab, painting.FOX, seed='7')
    tab.until(f'{NOW}.startsWith("Drawing 8 px: getting ready · seed 7")')
    said = []
    for steps, size in ((2, 8), (4 + 2, 16), (2 + 2, 32)):
      painter.go(steps)
      tab.until(f'{WIDTH} === {size}')
      tab.until(f'{NOW}.includes("{size} px: step 1 of")')
      said.append(tab.value('$("news").textContent'))
      shoot(tab, f'drawing_{size}')
    assert said == ['Drawing 8 px', 'Drawing 16 px', 'Drawing 32 px']
    assert not tab.value('$("stop").hidden') and tab.value('$("save").hidden')
    assert tab.value('document.title') == '32 px … – Imagen'
    painter.go(1)
    tab.until(f'{NOW}.startsWith("Drawn in")')
    tab.until(f'{SHOWN}.startsWith("/png/") && {WIDTH} === 32')
    assert tab.value('$("news").textContent').startswith('Drawn in')
    assert tab.value('$("said").textContent') == painting.FOX
    # Back to what a stage gave, and to the picture.
    tab.click('#ladder li:nth-child(2) button')
    tab.until(f'{SHOWN}.includes("/16") && {WIDTH} === 16')
    tab.click('#ladder li:nth-child(2) button')
    tab.until(f'{WIDTH} === 32')
    shoot(tab, 'finished')
    link = tab.value('$("save").href')
    assert tab.value(f'fetch({link!r}).then((r) => r.status)') == 200
    # Nothing came from elsewhere, and nothing went there.
    origin = tab.value('location.origin')
    asked = tab.value(ASKED)
    assert len(asked) > 8 and all(a.startswith(origin + '/') for a in asked)
    with pytest.raises(RuntimeError):
      tab.value('fetch("http://127.0.0.2:9/").then((r) => r.status)')


def test_the_recipe_is_copied(browser):
  with opened(browser, steps=painting.STEPS) as (tab, _):
    # With a clipboard, and as over plain HTTP without.
    tab.value("""
      navigator.clipboard.writeText = (text) => (window.copied = text, null);
      document.addEventListener('copy', () => {
        window.copied = getSelection().toString();
      })""")
    draw(tab, 'a "red" fox; `at` sunset', seed='3', guidance_8='2.5')
    tab.until(f'{NOW}.startsWith("Drawn in")')
    tab.click('#recipe summary')
    for name, begins in (('command', 'python -m im'), ('python', 'import im')):
      tab.click(f'[data-copy={name}]')
      tab.until(f'window.copied?.trim() === $("{name}").textContent.trim()')
      assert tab.value('$("news").textContent') == 'Copied'
      assert tab.value('window.copied').startswith(begins)
      tab.value('navigator.clipboard.writeText = () => Promise.reject()')
      tab.until(
        f'document.querySelector("[data-copy={name}]").innerText'
        '.startsWith("Copy")'
      )
    assert '--guidance=2.5,3,3' in tab.value('$("command").textContent')
    shoot(tab, 'recipe')


def test_history_queue_and_stop(browser):
  with opened(browser, waiting=2) as (tab, painter):
    for prompt in (painting.FOX, painting.KEYS, painting.CAR):
      draw(tab, prompt)
      tab.until(f'$("said").textContent === {prompt!r}')
    tab.until(f'{NOW}.startsWith("Waiting, 2 before it")')
    shoot(tab, 'queue')
    draw(tab, 'one more')
    tab.until('!$("wrong").hidden')
    said = tab.value('$("wrong").textContent')
    assert said.startswith('2 pictures wait already, and this page takes no')
    tab.click('#stop')  # the one in view
    tab.until(f'{NOW}.startsWith("Stopped")')
    draw(tab, 'one more')
    tab.until('$("said").textContent === "one more" && $("wrong").hidden')
    painter.go(3 * painting.STEPS)
    tab.until(f'{NOW}.startsWith("Drawn in")')
    names = '[...document.querySelectorAll("#history .name")].map('
    assert tab.value(f'{names}(e) => e.textContent)') == [
      'one more', painting.CAR, painting.KEYS, painting.FOX,
    ]  # fmt: skip
    assert painter.drawn == [painting.FOX, painting.KEYS, 'one more']
    # By keyboard alone: to the oldest, and out of the history.
    tab.value('document.querySelector("#history li:last-child button").focus()')
    tab.press('Enter')
    tab.until(f'$("said").textContent === {painting.FOX!r}')
    current = 'document.querySelector("[aria-current=true]").innerText'
    assert painting.FOX in tab.value(current)
    tab.click('#forget')
    tab.until('document.querySelectorAll("#history li").length === 3')
    # Another browser sees the same, and so does this one anew.
    tab.value('location.reload()')
    tab.until('document.querySelectorAll("#history li").length === 3')


def test_settings_come_back(browser):
  with opened(browser, steps=10 * painting.STEPS) as (tab, painter):
    draw(tab, painting.FOX, seed='3', steps_8='4', preset='draft', upto='16')
    tab.until(f'{NOW}.startsWith("Drawn in")')
    tab.value('form.reset()')
    tab.click('#again')
    values = 'Object.fromEntries(new FormData(form))'
    found = {k: v for k, v in tab.value(values).items() if v}
    assert found == {
      'prompt': painting.FOX,
      'seed': '3',
      'steps_8': '4',
      'preset': 'draft',
      'upto': '16',
    }
    hints = 'form.elements.steps_16.placeholder'
    assert tab.value(hints) == '2' and tab.value(
      'form.elements.steps_32.disabled'
    )
    tab.click('#another')
    tab.until('document.querySelectorAll("#history li").length === 2')
    tab.until(f'{NOW}.startsWith("Drawn in")')
    assert tab.value('jobs.get(shown).seed') != 3
    assert tab.value('jobs.get(shown).fields.steps_8') == '4'


def test_errors_are_told_beside_the_button(browser):
  with opened(browser, steps=1000) as (tab, _):
    for prompt, fields, said in (
      ('', {}, 'The prompt is empty; write what to draw'),
      ('a fox', {'steps_8': '0'}, '8 px: steps is 0; it must be a whole numb'),
      ('a fox', {'steps_8': '', 'guidance_16': 'nan'}, '16 px: guidance is na'),
    ):
      draw(tab, prompt, **fields)
      tab.until(f'$("wrong").textContent.startsWith({said!r})')
    assert tab.value('document.activeElement.id') == 'prompt'
    assert ('alert', '') in tab.names()
    shoot(tab, 'error')
    draw(tab, 'spoilt', guidance_16='')
    tab.until(f'{NOW}.startsWith("Failed")')
    assert tab.value('$("failed").innerText') == (
      'stage tiny_8 drew what is not finite'
    )
    assert tab.value('$("wrong").hidden')
    shoot(tab, 'failed')
    # The server goes and comes back.
    tab.value('window.real = fetch; fetch = () => Promise.reject(); listen()')
    tab.until('$("wrong").textContent.startsWith("The server does not answer")')
    tab.value('fetch = window.real')
    tab.until('$("wrong").hidden')


def test_a_picture_to_start_from(browser, tmp_path):
  (tmp_path / 'photo.png').write_bytes(painting.file(color=(200, 0, 0)))
  (tmp_path / 'text.png').write_text('hello')
  with opened(browser, steps=1000) as (tab, _):
    tab.click('#start-from summary')
    tab.choose('#file', tmp_path / 'text.png')
    tab.until('$("wrong").textContent.includes("not a picture")')
    tab.choose('#file', tmp_path / 'photo.png')
    tab.until('$("chosen").querySelector("img").naturalWidth === 40')
    assert tab.value('$("wrong").hidden')
    shoot(tab, 'more')
    draw(tab, painting.FOX, strength='0.5')
    tab.until(f'{NOW}.startsWith("Drawn in") && {NOW}.includes("photo.png")')
    assert '--image=photo.png' in tab.value('$("command").textContent')
    tab.click('#start')
    tab.until('form.elements.picture.value === shown')
    assert tab.value('document.activeElement.name') == 'change'
    tab.click('#chosen button')
    assert tab.value('$("chosen").hidden') and not tab.value(
      'form.elements.picture.value'
    )


def masks(tab):
  """The mask of the order in view as [h, w] of booleans, and its file."""
  data = tab.until('jobs.get(shown)?.mask') and tab.value(
    'fetch($("save-mask").href).then((r) => r.arrayBuffer()).then((b) => '
    'btoa(String.fromCharCode(...new Uint8Array(b))))'
  )
  with PIL.Image.open(io.BytesIO(base64.b64decode(data))) as image:
    return np.asarray(image.convert('L')) > 127


def test_a_mask_is_painted(browser, tmp_path):
  (tmp_path / 'photo.png').write_bytes(
    painting.file(size=(60, 40), color=(200, 0, 0))
  )
  with opened(browser, steps=1000, width=1280, height=800) as (tab, _):
    tab.click('#start-from summary')
    assert tab.value('$("changes").hidden')
    tab.choose('#file', tmp_path / 'photo.png')
    tab.until('!$("changes").hidden')
    tab.value('form.elements.change.value = "mask"; arrange()')
    draw(tab, painting.FOX)
    tab.until('$("wrong").textContent.startsWith("The mask is empty; paint")')
    # From left to right through the middle, with a thin brush.
    tab.value('$("brush-size").value = 10')
    tab.drag('#canvas', (0.25, 0.5), (0.5, 0.5), (0.75, 0.5))
    shoot(tab, 'mask')
    draw(tab, painting.FOX)
    tab.until(f'{NOW}.startsWith("Drawn in") && {NOW}.includes("a part of")')
    assert '--mask=mask.png' in tab.value('$("command").textContent')
    mask = masks(tab)
    assert mask.shape == (40, 60) and not mask[[0, -1]].any()
    assert mask[19:21, 16:44].all() and not mask[:, [10, 50]].any()
    assert mask.sum(axis=0)[30] in range(3, 6)  # a tenth of 40
    # More of it, for the next one; then none.
    tab.drag('#canvas', (0.5, 0.1), (0.5, 0.9))
    draw(tab, painting.KEYS)
    tab.until(f'$("said").textContent === {painting.KEYS!r}')
    assert masks(tab)[5:35, 30].all()
    tab.click('#unpaint')
    draw(tab, painting.FOX)
    tab.until('$("wrong").textContent.startsWith("The mask is empty; paint")')


def test_a_mask_file_instead_of_a_pointer(browser, tmp_path):
  for name, size in (('photo', (40, 20)), ('other', (20, 20))):
    data = painting.file(size=size, color=(255, 255, 255))
    (tmp_path / f'{name}.png').write_bytes(data)
  with opened(browser, steps=1000) as (tab, _):
    tab.click('#start-from summary')
    tab.choose('#file', tmp_path / 'photo.png')
    tab.until('picked')
    tab.value('form.elements.change.focus()')
    tab.press('ArrowDown')  # by keyboard, to a part of it
    tab.until('form.elements.change.value === "mask"')
    tab.choose('#mask-file', tmp_path / 'other.png')
    tab.until('!$("masked").hidden')
    draw(tab, painting.FOX)
    tab.until('$("wrong").textContent.includes("20 x 20, the picture 40 x 20")')
    tab.choose('#mask-file', tmp_path / 'photo.png')
    tab.until('$("masked").innerText.startsWith("photo.png")')
    draw(tab, painting.FOX)
    tab.until(f'{NOW}.startsWith("Drawn in") && {NOW}.includes("a part of")')
    assert '--mask=mask_photo.png' in tab.value('$("command").textContent')
    # The settings come back with both.
    tab.value('form.reset(); chosen(null)')
    tab.click('#again')
    for name in ('picture', 'mask'):
      assert tab.value(f'form.elements.{name}.value')
    assert tab.value('form.elements.change.value') == 'mask'


def test_enlarging_drawing_around_and_other_shapes(browser, tmp_path):
  (tmp_path / 'photo.png').write_bytes(painting.file(size=(8, 6)))
  with opened(browser, steps=1000) as (tab, _):
    draw(tab, painting.FOX, shape='wide')
    tab.until(f'{NOW}.startsWith("Drawn in")')
    assert '--size=48x32' in tab.value('$("command").textContent')
    tab.click('#start-from summary')
    tab.choose('#file', tmp_path / 'photo.png')
    tab.until('picked')
    assert tab.value('form.elements.shape.disabled')
    tab.value('form.elements.change.value = "outpaint"; arrange()')
    draw(tab, painting.FOX, outpaint='0.6')
    tab.until('$("wrong").textContent.startsWith("The border is 0.6 of the")')
    draw(tab, painting.FOX, outpaint='0.3')
    tab.until(f'{NOW}.startsWith("Drawn in") && {NOW}.includes("around")')
    # No sentence is needed to enlarge a picture.
    tab.value('form.elements.change.value = "upscale"; arrange()')
    tab.value('form.elements.prompt.value = ""; form.elements.upto.value = 16')
    tab.click('#draw')
    tab.until('$("said").textContent === "photo.png, enlarged"')
    tab.until(f'{NOW}.startsWith("Drawn in") && {WIDTH} === 16')
    assert tab.value('$("ladder").innerText').startswith('16 × 12 px')


@pytest.mark.parametrize('dark', [False, True], ids=['light', 'dark'])
@pytest.mark.parametrize('phone', [False, True], ids=['desk', 'phone'])
def test_it_fits_and_can_be_read(dark, phone, browser, tmp_path):
  (tmp_path / 'tall.png').write_bytes(painting.file(size=(30, 90)))
  size = PHONE if phone else dict(width=1280, height=800)
  with opened(browser, steps=2, **size, dark=dark) as (tab, painter):
    assert tab.contrast() >= 7
    tab.choose('#file', tmp_path / 'tall.png')
    tab.until('picked')
    tab.value('form.elements.change.value = "mask"; arrange()')
    tab.drag('#canvas', (0.5, 0.3), (0.5, 0.6))
    draw(tab, 'a dragon of a prompt ' + 'longwordslikethis' * 9)
    tab.until(f'{NOW}.includes("step 1")')
    if phone:  # what is drawn comes into view
      tab.until('$("view").getBoundingClientRect().top < innerHeight / 2')
    for state in ('drawing', 'done'):
      tab.until(f'jobs.get(shown).state === {state!r}')
      tab.value('document.querySelectorAll("details").forEach((d) => '
                'd.open = true)')  # fmt: skip
      assert tab.contrast() >= 7
      wide, seen = tab.value(
        '[document.documentElement.scrollWidth, innerWidth]'
      )
      assert wide <= seen
      assert tab.value(SMALL) == []
      painter.go(100)
    shoot(tab, f'{"phone" if phone else "desk"}_{"dark" if dark else "light"}')
    nameless = [
      role
      for role, name in tab.names()
      if role in ('button', 'textbox', 'combobox', 'link') and not name
    ]
    assert nameless == []
