"""Which objects the checker can read, by colour, size and background.

A pale rabbit in the snow can hardly be told from nothing. The checker takes
too long to read every training scene, so it has read every single object once
(`tools/derive_readable.py`), and scenes with an unreadable one are drawn again.
The table (`unreadable.json`) lists the few that fail: none of `lite`.
"""

import functools
import json
import pathlib

from imagen_jax.data.emoji_scenes import scenes

FILE = pathlib.Path(__file__).with_name('unreadable.json')
# Classes of side: (most cells of the class, cells tried).
SIDES = {'small': (19, 17), 'middle': (29, 24), 'large': (64, 34)}
# Classes of height, since backgrounds vary along y: (most, centre tried).
HEIGHTS = {'top': (0.34, 0.0), 'middle': (0.66, 0.5), 'bottom': (1.0, 1.0)}


@functools.cache
def _table(vocabulary: str) -> frozenset:
  rows = json.loads(FILE.read_text())[vocabulary]
  return frozenset(tuple(row) for row in rows)


def key(item: scenes.Item, background: str) -> tuple:
  """Returns the row of the table that the item would stand in."""
  cells = round(item.side * scenes.GRID)
  side = next(name for name, (most, _) in SIDES.items() if cells <= most)
  height = next(name for name, (most, _) in HEIGHTS.items() if item.y <= most)
  return item.noun, item.colour, background, side, height


def readable(scene: scenes.Scene, vocabulary: str) -> bool:
  """Tells whether the checker can read every object of the scene."""
  table = _table(vocabulary)
  return not any(key(item, scene.background) in table for item in scene.items)
