"""Layouts in files: what to draw where, written by people.

A JSON file, or a picture drawn by a cascade with a layout stage, which carries
its own:

  {"format_version": 1,
   "boxes": [{"thing": "fox", "colour": "red", "x": 0.3, "y": 0.5,
              "width": 0.4, "height": 0.4}]}

x and y are the centre; all four numbers are shares of the picture, from its
left and upper edge. Without a colour a thing has its own. A later box lies on
top of an earlier one.
"""

import dataclasses
import json
import pathlib

import numpy as np

from imagen_jax.config import checks
from imagen_jax.diffusion import layouts
from imagen_jax.files import json_files, pictures

FORMAT_VERSION = 1
# Of a picture's metadata: as it was asked for, and as a layout stage had it.
KEY, PLACED = 'layout', 'placed_layout'
MAX_BOXES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
  """A thing and its place."""

  thing: str
  x: float
  y: float
  width: float
  height: float
  colour: str | None = None  # None = its own

  def __post_init__(self):
    for name, least in (('x', 0), ('y', 0), ('width', 0.01), ('height', 0.01)):
      value = getattr(self, name)
      if not least <= value <= 1:
        raise ValueError(
          f'{name} of the box of {self.thing!r} is {value}; it must lie in '
          f'[{least}, 1], shares of the picture'
        )


def read(path):
  """The boxes in a file; ValueError with one line where they make no sense."""
  path = pathlib.Path(path)
  if path.suffix.lower() == '.png':
    return parse(_text_in_picture(path), str(path))
  fields = json_files.read(
    path, f'the layout {path} does not exist; give a JSON file or a picture'
  )
  return build(fields, str(path))


def parse(text, where):
  """The boxes in a JSON text."""
  try:
    fields = json_files.parse(text, where)
  except ValueError as e:
    raise ValueError(f'{where}: its layout is no JSON; write it anew') from e
  return build(fields, where)


def build(fields, where):
  """The boxes in a JSON object."""
  if not isinstance(fields, dict) or set(fields) != {'format_version', 'boxes'}:
    raise ValueError(
      f'{where} is no layout; it must hold format_version and boxes, a list'
    )
  if fields['format_version'] != FORMAT_VERSION:
    raise ValueError(
      f'{where}: format_version {fields["format_version"]}, this release reads '
      f'{FORMAT_VERSION}'
    )
  rows = fields['boxes']
  if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
    raise ValueError(f'{where}: boxes must be a list of tables')
  if len(rows) > MAX_BOXES:
    raise ValueError(f'{where} has {len(rows)} boxes; at most {MAX_BOXES}')
  return tuple(
    checks.build(Box, row, f'{where}: box {i + 1}')
    for i, row in enumerate(rows)
  )


def to_text(boxes):
  """JSON of some boxes, on one line; `parse` takes it back exactly."""
  rows = [dataclasses.asdict(box) for box in boxes]
  return json.dumps({'format_version': FORMAT_VERSION, 'boxes': rows})


def rows(layout, boxes, n):
  """Boxes as a stage takes them, the same for n pictures: [n, k, 6] float32.

  Raises ValueError naming what the `layouts.Layout` has no word for.
  """
  table = np.zeros([max(1, len(boxes)), layouts.NUMBERS], np.float32)
  table[:, 0] = -1
  for i, box in enumerate(boxes):
    colour = box.colour or layout.colours[0]
    for name, value, words in (
      ('thing', box.thing, layout.things),
      ('colour', colour, layout.colours),
    ):
      if value not in words:
        raise ValueError(
          f'box {i + 1} of the layout: the {name} {value!r} is none that this '
          f'cascade can place: {", ".join(words)}'
        )
    table[i] = (
      layout.things.index(box.thing),
      layout.colours.index(colour),
      box.x,
      box.y,
      box.width,
      box.height,
    )
  return np.repeat(table[None], n, axis=0)


def boxes_of(layout, table):
  """The inverse of `rows` for one picture [k, 6]."""
  return tuple(
    Box(
      thing=layout.things[int(row[0])],
      colour=layout.colours[int(row[1])] if row[1] else None,
      **dict(zip(('x', 'y', 'width', 'height'), map(float, row[2:]))),
    )
    for row in np.asarray(table)
    if row[0] >= 0
  )


def _text_in_picture(path):
  """The layout in a PNG's metadata."""
  if not path.is_file():
    raise ValueError(f'the layout {path} does not exist')
  text = pictures.read_text(path) or {}
  if found := text.get(KEY, text.get(PLACED)):
    return found
  raise ValueError(
    f'{path} carries no layout; give a JSON file, or a picture that sample '
    'drew with a cascade that has a layout stage'
  )
