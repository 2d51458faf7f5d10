"""Two directories of pictures -> pairs of one prompt; bytes for a browser.

A directory holds what `imagen_jax.sample` or `evaluate` wrote, PNG files that
tell their prompt and index; photographs lie as training takes a folder, with
captions beside them. What a browser gets is made anew from the pixels: no
metadata, no name and no format tells whose picture it is.
"""

import csv
import dataclasses
import functools
import hashlib
import io
import os
import pathlib
from collections.abc import Iterable, Mapping

import PIL.Image

from imagen_jax.data import folders, images, index
from imagen_jax.data.emoji_scenes import prompts as scene_prompts
from imagen_jax.evaluation.ratings import questionnaires
from imagen_jax.files import pictures as files

_LONGEST = 10_000  # characters of a prompt that is taken seriously
_MOSAIC = 12  # patches across a picture that is spoilt on purpose
_KEPT = 96  # pictures, encoded, that the server holds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
  """A file of a study, known by its contents."""

  side: str  # 'a' or 'b', the directory
  path: str  # below it
  sha256: str
  effect: str = ''  # 'mosaic' = spoilt, for controls


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """A picture of a directory, before its contents are looked at."""

  path: str
  category: str = ''


def find(directory, flag: str, photographs: bool = False) -> dict:
  """{(prompt, index): Found} of a directory.

  Args:
    directory: where the pictures are.
    flag: that named it, for complaints.
    photographs: they have captions beside them; without such, prompts within.
  """
  root = pathlib.Path(directory)
  if not root.is_dir():
    raise ValueError(f'{flag}={directory} is no directory')
  found = _photographs(root) if photographs else {}
  found = found or _drawn(root, flag)
  if not found:
    raise ValueError(
      f'{flag}={directory} holds no picture with a prompt; give a directory '
      'that imagen_jax.sample or evaluate wrote'
      + (', or photographs with captions beside them' if photographs else '')
    )
  return found


def _drawn(root, flag):
  """PNG files that tell their prompt."""
  found = {}
  for folder, folders_, names in os.walk(root):
    folders_[:] = sorted(n for n in folders_ if n[0] != '.')
    for name in sorted(names):
      if name[0] == '.' or not name.lower().endswith('.png'):
        continue
      path = pathlib.Path(folder, name)
      text = files.read_text(path)
      if text is None:
        raise ValueError(f'{path} is no whole PNG file; draw it again')
      if 'prompt' not in text:  # a contact sheet, or a strip
        continue
      key = _key(text, path)
      here = path.relative_to(root).as_posix()
      if key in found:
        raise ValueError(
          f'{flag}={root} holds two pictures of {_short(key[0])}, index '
          f'{key[1]}: {found[key].path} and {here}; keep one of them'
        )
      found[key] = Found(path=here, category=text.get('category', ''))
  return found


def _key(text, path):
  number = text.get('index', '0')
  if not number.isdecimal() or len(text['prompt']) > _LONGEST:
    raise ValueError(
      f'{path}: prompt or index in its metadata make no sense; draw it again'
    )
  return _plain(text['prompt']), int(number)


def _photographs(root):
  """Pictures with captions; each counts under every one it has."""
  found = {}
  for piece in folders.pieces(root):
    for entry in piece.scan():
      if isinstance(entry, index.Entry):
        for caption in entry.captions:
          found.setdefault((_plain(caption), 0), Found(path=entry.path))
  return found


def _plain(prompt):
  return ' '.join(prompt.split())


def _short(prompt):
  return repr(prompt if len(prompt) <= 60 else prompt[:57] + '...')


def pair(a: Mapping, b: Mapping, superset: bool = False) -> list:
  """The keys that both directories have, in order.

  Raises ValueError where one has a prompt, or a picture of it, that the other
  has not. With `superset` B may have more: all photographs of a data set.
  """
  for one, other, name, its in ((a, b, 'a', 'b'), (b, a, 'b', 'a')):
    if superset and one is b:
      continue
    missing = sorted(set(one) - set(other))
    if not missing:
      continue
    prompt, number = missing[0]
    more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
    if prompt in {p for p, _ in other}:
      said = f'picture {number} of {_short(prompt)}'
      remedy = 'draw as many of each prompt'
    else:
      said, remedy = f'the prompt {_short(prompt)}', 'draw both from one list'
    raise ValueError(f'--{name} has {said}{more}, --{its} has not; {remedy}')
  return sorted(a)


def freeze(roots: Mapping, side: str, path: str, effect: str = '') -> Picture:
  """A file by its contents; it has to be a picture that can be shown."""
  where = pathlib.Path(roots[side]) / path
  try:
    data = images.read(where)
    images.header(data)
  except (OSError, images.BadPicture) as e:
    reason = getattr(e, 'strerror', None) or e
    raise ValueError(f'{where} cannot be read: {reason}') from e
  return Picture(
    side=side,
    path=path,
    sha256=hashlib.sha256(data).hexdigest(),
    effect=effect,
  )


def categories(keys: Iterable, found: Mapping, sheet, protocol) -> dict:
  """{prompt: category}, '' where there is none.

  Out of a sheet, if there is one; else as the files say; else as the fixed
  prompts of the scenes have it; COCO's are with people and without.
  """
  asked = list(dict.fromkeys(prompt for prompt, _ in keys))
  if sheet is not None:
    known = _read_sheet(sheet)
    missing = [prompt for prompt in asked if prompt not in known]
    if missing:
      raise ValueError(
        f'--categories={sheet} has no row for {len(missing)} of {len(asked)} '
        f'prompts, such as {_short(missing[0])}'
      )
    return {prompt: known[prompt] for prompt in asked}
  if protocol.photographs:
    return {p: 'people' if _of_people(p) else 'no people' for p in asked}
  told = {prompt: found[prompt, n].category for prompt, n in keys}
  if all(told.values()):
    return told
  for vocabulary in ('full', 'lite'):
    fixed = {p.caption: p.category for p in scene_prompts.load(vocabulary)}
    if all(prompt in fixed for prompt in asked):
      return {prompt: fixed[prompt] for prompt in asked}
  return dict.fromkeys(asked, '')


def _of_people(prompt):
  words = ''.join(c if c.isalpha() else ' ' for c in prompt.lower())
  return not questionnaires.PERSON.isdisjoint(words.split())


def _read_sheet(path):
  """{prompt: category} of a CSV or TSV file, such as DrawBench's."""
  try:
    with open(path, encoding='utf-8-sig', newline='') as file:
      first = file.readline()
      file.seek(0)
      split = '\t' if '\t' in first else ','
      rows = list(csv.DictReader(file, delimiter=split))
  except (OSError, UnicodeDecodeError, csv.Error) as e:
    reason = getattr(e, 'strerror', None) or e
    raise ValueError(f'--categories={path} cannot be read: {reason}') from e
  columns = {
    (name or '').strip().lower(): name for name in (rows[0] if rows else {})
  }
  prompt = columns.get('prompt', columns.get('prompts'))
  category = columns.get('category')
  if prompt is None or category is None:
    raise ValueError(
      f'--categories={path} has the columns {", ".join(columns) or "none"}; '
      'needed are prompt (or prompts) and category'
    )
  return {
    _plain(row[prompt] or ''): (row[category] or '').strip() for row in rows
  }


class Store:
  """Pictures of a study as PNG bytes, made when they are asked for."""

  def __init__(self, roots: Mapping, size: int | None):
    """`size`: pixels that the middle square of each is brought to, so that no

    shape tells a photograph; None = all as they are.
    """
    self._roots = {side: pathlib.Path(path) for side, path in roots.items()}
    self._size = size
    self.png = functools.lru_cache(_KEPT)(self._png)

  def _png(self, picture: Picture) -> bytes:
    path = self._roots[picture.side] / picture.path
    try:
      data = images.read(path)
    except (OSError, images.BadPicture) as e:
      reason = getattr(e, 'strerror', None) or e
      raise ValueError(f'{path} cannot be read: {reason}') from e
    if hashlib.sha256(data).hexdigest() != picture.sha256:
      raise ValueError(f'{path} was changed after the study began')
    image = images.decode(data)
    if self._size is not None:
      image = _square(image, self._size)
    if picture.effect == 'mosaic':
      whole = image.size
      image = image.resize((_MOSAIC, _MOSAIC), PIL.Image.Resampling.BOX)
      image = image.resize(whole, PIL.Image.Resampling.NEAREST)
    fresh, out = PIL.Image.new('RGB', image.size), io.BytesIO()
    fresh.paste(image)  # the pixels alone: no profile, no text
    fresh.save(out, 'PNG', compress_level=1)
    return out.getvalue()


def _square(image, size):
  short = min(image.size)
  left, top = ((side - short) // 2 for side in image.size)
  image = image.crop((left, top, left + short, top + short))
  if short == size:
    return image
  return image.resize((size, size), PIL.Image.Resampling.LANCZOS)


def side_of(roots: Mapping, picture: Picture) -> int:
  """Pixels of the shorter side of the file."""
  path = pathlib.Path(roots[picture.side]) / picture.path
  return min(images.header(images.read(path)))
