"""Boxes of an example: rows of `diffusion.layouts`, from what a source knows.

The embedded scenes know every thing, its colour and its square.
"""

import numpy as np


def of_example(layout, example):
  """The boxes of an example, float32 [n, 6], padded with thing = -1.

  Raises ValueError where the source gives none, or names another thing.
  """
  if 'scene' not in example:
    raise ValueError(
      'the stage is trained on layouts, but the source gives no boxes; use '
      'one that does (pipeline.EmojiScenes), or set Stage.layout=None'
    )
  rows = np.full((layout.boxes, 6), 0, np.float32)
  rows[:, 0] = -1
  for i, item in enumerate(example['scene']['items']):
    rows[i] = (
      layout.things.index(item['noun']),
      layout.colours.index(item['colour'] or layout.colours[0]),
      item['x'],
      item['y'],
      item['side'],
      item['side'],
    )
  return rows
