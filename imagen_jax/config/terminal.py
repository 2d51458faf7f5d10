"""What is printed: text from outside does nothing to a terminal.

Names of files, captions, recipes and ids may hold escape sequences, which move
the cursor, set the title or answer in the user's name, and marks of direction,
which make a line read as another. Commands print through `Stream`, which
spells them out; lines, tabs and progress bars stay.
"""

import re
import sys

_CONTROLS = re.compile(
  '[\x00-\x08\x0b-\x1f\x7f-\x9f'  # C0 but tab and line feed, DEL, C1
  '\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069'  # marks of direction
  '\u2028\u2029'  # separators of lines and paragraphs
  '\ud800-\udfff]'  # bytes of a name that is no UTF-8
)
# How a progress line of ours begins and ends: back to the start, maybe wiped.
_PROGRESS = re.compile('(\r(?:\x1b\\[K)?)?(.*?)(\r?)', re.DOTALL)
# How tqdm goes to one of several bars, below each other, and back.
_MOVES = re.compile('\n*(?:\x1b\\[A)*')


def escaped(text: str) -> str:
  """The text with its control characters spelled, as \\x1b is."""
  return _CONTROLS.sub(
    lambda m: m[0].encode('unicode_escape').decode('ascii'), text
  )


class Stream:
  """A text stream that spells control characters out."""

  def __init__(self, stream):
    self._stream = stream

  def write(self, text):
    """Writes a text; a carriage return stays at its beginning and end."""
    begin, middle, end = _PROGRESS.fullmatch(text).groups()
    self._stream.write(f'{begin or ""}{escaped(middle)}{end}')
    return len(text)

  def writelines(self, lines):
    for line in lines:
      self.write(line)

  @property
  def for_bars(self):
    """The same for a library that shows several progress bars meanwhile."""
    return _Bars(self._stream)

  def __getattr__(self, name):
    return getattr(self._stream, name)


class _Bars(Stream):
  """Lets the cursor go from bar to bar; what a bar says is spelled out."""

  def write(self, text):
    if not _MOVES.fullmatch(text):
      return super().write(text)
    self._stream.write(text)
    return len(text)


def guard():
  """Puts `Stream` in the place of standard output and error, once.

  What an encoding has no letter for is spelled as well.
  """
  for name in ('stdout', 'stderr'):
    stream = getattr(sys, name)
    if stream is None or isinstance(stream, Stream):
      continue
    if hasattr(stream, 'reconfigure'):
      stream.reconfigure(errors='backslashreplace')
    setattr(sys, name, Stream(stream))
