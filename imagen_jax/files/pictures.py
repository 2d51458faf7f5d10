"""Picture files: readable names, the recipe in the metadata, contact sheets.

Not in the paper. Pictures are uint8 [h, w, 3]; Pillow only.
"""

import bisect
import contextlib
import errno
import io
import itertools
import os
import pathlib
import re
import time
import unicodedata
import uuid
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import PIL.PngImagePlugin

from imagen_jax.files import plain

NAME_LENGTH = 60  # characters of the prompt in a file name
_NAME_BYTES = 200  # of them in UTF-8; file systems allow 255, with the number
SHEET_TILE = 256  # pixels, largest side of a picture on a sheet
SHEET_PIXELS = 16_000_000  # beyond that the pictures on a sheet shrink
SHEET_MOST = 5_000  # pictures on a sheet; more would be a file of gigabytes
STRIP_TILE = 128  # pixels, side of a picture on a strip
_ABANDONED = 600  # seconds, age of a file that nobody writes any more
_MARGIN = 8  # pixels between the pictures of a sheet
_LINE = 20  # pixels, height of a caption


def slug(prompt: str) -> str:
  """The prompt as a piece of a file name: 'A red fox!' -> 'a-red-fox'."""
  plain = unicodedata.normalize('NFKD', prompt)
  words = re.findall(r'\w+', re.sub(r'[\u0300-\u036f]', '', plain).lower())
  name = ''
  for word in words:
    if name and len(name) + 1 + len(word) > NAME_LENGTH:
      break
    name = f'{name}-{word}' if name else word[:NAME_LENGTH]
  short = name.encode()[:_NAME_BYTES].decode(errors='ignore')
  return short or 'empty'


def slugs(prompts: Sequence[str]) -> list[str]:
  """One name per prompt; different prompts never share one."""
  names, taken, number = {}, set(), {}  # of the next prompt of a slug
  for prompt in dict.fromkeys(prompts):
    name = short = slug(prompt)
    while name in taken:
      number[short] = number.get(short, 1) + 1
      name = f'{short}-{number[short]}'
    taken.add(name)
    names[prompt] = name
  return [names[prompt] for prompt in prompts]


MAX_PIXELS = 89_000_000  # of a PNG that is read whole; as `data.images` has it
# What is larger is refused, on one line.
warnings.filterwarnings('ignore', category=PIL.Image.DecompressionBombWarning)
_PERCEPTUAL = b'\0'  # the rendering intent, of the sRGB chunk


def png(image: np.ndarray, text: Mapping[str, str]) -> bytes:
  """uint8 [h, w, 3], sRGB, with text metadata as the bytes of a PNG file."""
  info = PIL.PngImagePlugin.PngInfo()
  info.add(b'sRGB', _PERCEPTUAL)  # what the numbers are, for other programs
  for key, value in text.items():
    info.add_itxt(key, value)
  file = io.BytesIO()
  PIL.Image.fromarray(image).save(file, 'PNG', pnginfo=info)
  return file.getvalue()


def write_png(path, image: np.ndarray, text: Mapping[str, str]) -> None:
  """Writes uint8 [h, w, 3] with text metadata; whole or not at all."""
  write(path, png(image, text))


def write(path, data: bytes) -> None:
  """Writes the bytes of a PNG file; whole or not at all."""
  path = pathlib.Path(path)
  fresh = path.with_name(f'.{uuid.uuid4().hex[:8]}.png')
  try:
    fresh.write_bytes(data)
    os.replace(fresh, path)
  finally:
    fresh.unlink(missing_ok=True)


def read_png(path) -> tuple[np.ndarray, dict[str, str]]:
  """A PNG file, or an open one -> uint8 [h, w, 3] and its text metadata.

  Raises ValueError naming a file that is none.
  """
  try:
    with _file(path) as file, _opened(file) as image:
      if image.width * image.height > MAX_PIXELS:
        raise OSError(errno.EFBIG, f'more than {MAX_PIXELS:,} pixels')
      return np.asarray(image.convert('RGB')), dict(image.text)
  except Exception as e:  # decoders raise whatever they like of damage
    reason = getattr(e, 'strerror', None) or 'it is no whole PNG file'
    raise ValueError(f'{path} cannot be read: {reason}') from e


def _file(path):
  is_open = hasattr(path, 'read')
  return contextlib.nullcontext(path) if is_open else plain.opened(path)


def _opened(file):
  return PIL.Image.open(file, formats=['PNG'])


def read_text(path) -> dict[str, str] | None:
  """The text metadata of a PNG file; None where it is no whole one.

  Reads the chunks before the pixels and the file's end alone.
  """
  try:
    with plain.opened(path) as file:
      file.seek(-12, os.SEEK_END)
      if file.read(8)[4:] != b'IEND':
        return None
      file.seek(0)
      with _opened(file) as image:
        return {k: v for k, v in image.info.items() if isinstance(v, str)}
  except Exception:  # whatever decoders raise of damage
    return None


def sweep_up(directory) -> None:
  """Removes what a killed process left half written.

  What is younger may be another process' that is still at it.
  """
  directory = pathlib.Path(directory)
  for path in itertools.chain(
    directory.glob('.????????.png'), directory.glob('.????????.part')
  ):
    try:
      if time.time() - path.stat().st_mtime > _ABANDONED:
        path.unlink(missing_ok=True)
    except OSError:
      pass  # another process was quicker


def tile(image: np.ndarray, side: int) -> PIL.Image.Image:
  """uint8 [h, w, 3] on a white square of `side`, as large as it can be."""
  picture = PIL.Image.fromarray(image)
  size = [max(1, round(side * n / max(picture.size))) for n in picture.size]
  if picture.size != tuple(size):
    picture = picture.resize(size, PIL.Image.Resampling.LANCZOS)
  if size == [side, side]:
    return picture
  square = PIL.Image.new('RGB', (side, side), 'white')
  square.paste(picture, tuple((side - n) // 2 for n in size))
  return square


class Sheet:
  """A contact sheet filled picture by picture: a row of tiles per prompt.

  Holds the tiles alone, so that a thousand large pictures need no memory.
  """

  def __init__(self, prompts: Sequence[str], columns: int, resolution: int):
    self.tile = min(resolution, SHEET_TILE)
    while self.tile > 32 and self._pixels(len(prompts), columns) > SHEET_PIXELS:
      self.tile //= 2
    size = self._width(columns), self._height(len(prompts))
    self.image = PIL.Image.new('RGB', size, 'white')
    self._font = PIL.ImageFont.load_default(12)
    draw = PIL.ImageDraw.Draw(self.image)
    for row, prompt in enumerate(prompts):
      text = prompt or '(empty prompt)'
      text = fitted(draw, self._font, text, size[0] - 2 * _MARGIN)
      draw.text(
        (_MARGIN, self._top(row) - _LINE + 2), text, 'black', self._font
      )

  def add(self, row: int, column: int, image: np.ndarray) -> None:
    """Puts uint8 [h, w, 3] into its place."""
    left = _MARGIN + column * (self.tile + _MARGIN)
    self.image.paste(tile(image, self.tile), (left, self._top(row)))

  def write(self, path) -> None:
    write_png(path, np.asarray(self.image), {})

  def _pixels(self, rows, columns):
    return self._width(columns) * self._height(rows)

  def _width(self, columns):
    return _MARGIN + columns * (self.tile + _MARGIN)

  def _height(self, rows):
    return self._top(rows) - _LINE

  def _top(self, row):
    return _LINE + _MARGIN + row * (self.tile + _LINE + _MARGIN)


def fitted(draw, font, text, width) -> str:
  """`text` on one line of at most `width` pixels, in the font's letters."""
  text = text[:width].encode('latin-1', 'replace').decode('latin-1')
  text = ' '.join(text.split())
  if draw.textlength(text, font) <= width:
    return text
  fits = bisect.bisect_right(
    range(len(text)),
    width,
    key=lambda n: draw.textlength(text[:n] + '...', font),
  )
  return text[: max(fits - 1, 0)] + '...'


class Strips:
  """How some pictures came about: a row of tiles per stage, for each one."""

  def __init__(self, n: int):
    self._rows = [{} for _ in range(n)]  # {stage: [tile]}

  def add(self, stage: str, numbers, step: int, images: np.ndarray) -> None:
    """Puts a tile behind the others of the stage for each of the pictures.

    Args:
      stage: its name.
      numbers: of the pictures, as many as images.
      step: of the sampler, rising.
      images: uint8 [n, h, w, 3].
    """
    del step  # they are in order
    for number, image in zip(numbers, images):
      small = tile(image, STRIP_TILE)
      self._rows[number].setdefault(stage, []).append(small)

  def write(self, number: int, path) -> None:
    """Writes the strip of one picture."""
    rows = list(self._rows[number].values())
    pitch = STRIP_TILE + _MARGIN
    size = (
      _MARGIN + pitch * max(map(len, rows)),
      _MARGIN + pitch * len(rows),
    )
    strip = PIL.Image.new('RGB', size, 'white')
    for y, tiles in enumerate(rows):
      for x, tile in enumerate(tiles):
        strip.paste(tile, (_MARGIN + x * pitch, _MARGIN + y * pitch))
    write_png(path, np.asarray(strip), {})
