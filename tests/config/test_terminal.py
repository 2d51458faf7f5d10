"""Nothing from outside reaches a terminal as a command to it."""

import io

import pytest
import tqdm

from imagen_jax.config import terminal


def _written(*texts):
  under = io.StringIO()
  stream = terminal.Stream(under)
  for text in texts:
    assert stream.write(text) == len(text)
  return under.getvalue()


@pytest.mark.parametrize(
  'text, spelled',
  [
    ('a\x1b]0;x\x07b', r'a\x1b]0;x\x07b'),
    ('\x1b[2J', r'\x1b[2J'),
    ('\x9b31m', r'\x9b31m'),
    ('a\x00b\x7f', r'a\x00b\x7f'),
    ('fox\u202egnp.exe', r'fox\u202egnp.exe'),
    ('\u2066a\u2069\u200f', r'\u2066a\u2069\u200f'),
    ('a\u2028b', r'a\u2028b'),
    ('good\rbad', r'good\x0dbad'.replace('x0d', 'r')),
    ('\udce9', r'\udce9'),
  ],
)
def test_control_characters_are_spelled(text, spelled):
  assert terminal.escaped(text).isprintable()
  assert _written(text) == terminal.escaped(text) == spelled


def test_all_of_them_and_no_other():
  for i in range(0x2100):
    letter = chr(i)
    kept = letter.isprintable() or letter in '\t\n'
    spaces = '\xa0\xad\u1680\u2000\u200b\u202f\u205f\u2060\u061c\u06dd'
    if kept or letter == '\x0d':
      assert _written(f'{letter}') == letter
    elif i < 0xA0:
      assert terminal.escaped(letter) != letter, hex(i)
    assert spaces


def test_lines_tabs_letters_and_progress_stay():
  for text in ('a\tb\n', 'é 日本 🦊 الثعلب\n', '\r 50%|###  | 3/6', '\r   \r'):
    assert _written(text) == text
  assert _written('\r\x1b[K5 captions') == '\r\x1b[K5 captions'
  assert _written('\r\x1b[Ka\x1b[K') == '\r\x1b[Ka\\x1b[K'


def test_progress_bars_are_what_they_were():
  def bar(stream):
    for _ in tqdm.tqdm(range(2), file=stream, ascii=True, mininterval=0):
      pass

  under, plain = io.StringIO(), io.StringIO()
  bar(terminal.Stream(under))
  bar(plain)
  assert under.getvalue().count('\r') == plain.getvalue().count('\r') > 0
  assert '\\' not in under.getvalue()


def test_bars_below_each_other():
  def draw(file):
    with tqdm.tqdm(total=2, file=file, position=0, desc='a\x1b[Ab') as one:
      with tqdm.tqdm(total=2, file=file, position=1) as other:
        other.update()
        one.update()

  under, plain = io.StringIO(), io.StringIO()
  draw(terminal.Stream(under).for_bars)
  draw(plain)
  moves = plain.getvalue().count('\x1b[A') - plain.getvalue().count('a\x1b[Ab')
  assert under.getvalue().count('\x1b[A') == moves > 0
  assert r'a\x1b[Ab' in under.getvalue()


def test_guard_is_put_once(monkeypatch):
  import sys

  raw = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
  monkeypatch.setattr(sys, 'stdout', raw)
  monkeypatch.setattr(sys, 'stderr', None)
  terminal.guard()
  guarded = sys.stdout
  terminal.guard()
  assert sys.stdout is guarded and sys.stderr is None
  print('é \x1b')
  sys.stdout.flush()
  assert raw.buffer.getvalue() == b'\\xe9 \\x1b\n'
