"""Boxes of an example: rows of `diffusion.layouts`, from what a source knows.

The embedded scenes know every thing, its colour and its square.
"""

import numpy as np

from imagen_jax.diffusion import layouts


def of_example(layout, example):
  """The boxes of an example, float32 [n, 6], padded with thing = -1.

  Raises ValueError where the source gives none, too many, or names a thing or
  a colour that is not in the layout.
  """
  if 'scene' not in example:
    raise ValueError(
      'the stage is told of layouts, but the source gives no boxes; use one '
      'that does (pipeline.EmojiScenes), or set Stage.layout=None'
    )
  items = example['scene']['items']
  if len(items) > layout.boxes:
    raise ValueError(
      f'{len(items)} boxes in an example, {layout.boxes} at most; raise '
      'Layout.boxes'
    )
  rows = np.zeros((layout.boxes, layouts.NUMBERS), np.float32)
  rows[:, 0] = -1
  for i, item in enumerate(items):
    colour = item['colour'] or layout.colours[0]
    if item['noun'] not in layout.things or colour not in layout.colours:
      raise ValueError(
        f'the layout has no word for the thing {item["noun"]!r} or the colour '
        f'{colour!r} of an example; add it to Layout.things or .colours'
      )
    rows[i] = (
      layout.things.index(item['noun']),
      layout.colours.index(colour),
      item['x'],
      item['y'],
      item['side'],
      item['side'],
    )
  return rows
