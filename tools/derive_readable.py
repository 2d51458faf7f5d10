"""Writes unreadable.json: which objects the checker cannot read (maintainers).

  python tools/derive_readable.py

The checker reads every single object once, which takes some minutes; the table
is committed, and `data.emoji_scenes.readable` looks things up there. Run it
again after a change of the sprites or of the checker.
"""

import itertools
import json

import numpy as np

from imagen_jax.data.emoji_scenes import (
  checker,
  drawing,
  readable,
  scenes,
  splits,
)

CLEAR = 0.95  # share of an object's pixels that is sure to be enough


def alone(noun, colour, background, cells, y) -> scenes.Scene:
  """Returns the scene of one object, near height y, clear of the border."""
  top = min(max(round(y * scenes.GRID - cells / 2), 2), 62 - cells)
  item = scenes.Item(
    noun=noun,
    colour=colour,
    x=0.5,
    y=(top + cells / 2) / scenes.GRID,
    side=cells / scenes.GRID,
    group=0,
  )
  group = scenes.Group(noun=noun, colour=colour, size=None, count=1)
  return scenes.Scene(
    groups=(group,), items=(item,), relation=None, background=background
  )


def visible(scene: scenes.Scene) -> float:
  """Returns the share of the first item's pixels that stand out."""
  item = scene.items[0]
  top, _, side = drawing.box(item, scenes.GRID)
  sprite = np.asarray(drawing.sprite(item.noun, item.colour, side))
  behind = drawing.background(scene.background, scenes.GRID)[top : top + side]
  paint, opacity = sprite[..., :3], sprite[..., 3:]
  # The checker's own threshold of contrast is a little below this one.
  seen = np.abs(paint - opacity * behind / 255).max(-1) > 0.09
  solid = opacity[..., 0] > 0.5
  return float((seen & solid).sum() / solid.sum())


def derive(vocabulary: str, reads, nouns=None) -> list[tuple]:
  """Lists the unreadable (noun, colour, background, side, height).

  `reads(scene) -> bool` draws the scene at 64 px and asks the checker; `nouns`
  are those to try, by default all of the vocabulary. Objects of which all but
  a twentieth stands out are not tried: of the 8,064 of `lite` an earlier and
  weaker checker missed 13, and none of those stood out by more than 85%.
  """
  words = splits.vocabulary(vocabulary)
  rows = []
  for noun, background in itertools.product(
    nouns or words.nouns, words.backgrounds
  ):
    colours = words.colours if noun in words.recolourable else ()
    for colour, side, height in itertools.product(
      (None, *colours), readable.SIDES, readable.HEIGHTS
    ):
      cells, y = readable.SIDES[side][1], readable.HEIGHTS[height][1]
      scene = alone(noun, colour, background, cells, y)
      if visible(scene) < CLEAR and not reads(scene):
        rows.append((noun, colour, background, side, height))
  return rows


def save(tables: dict[str, list[tuple]]) -> None:
  """Writes the table of every vocabulary, one row to a line."""
  parts = []
  for vocabulary, rows in tables.items():
    lines = ',\n'.join(json.dumps(row) for row in rows)
    parts.append(
      f'"{vocabulary}": [\n{lines}\n]' if rows else f'"{vocabulary}": []'
    )
  readable.FILE.write_text('{\n' + ',\n'.join(parts) + '\n}\n')


def main() -> None:
  """Derives and writes the tables."""
  tables = {}
  for vocabulary in splits.VOCABULARIES:

    def reads(scene, vocabulary=vocabulary):
      picture = drawing.draw(scene, scenes.GRID)
      return checker.check(picture, scene, vocabulary).all

    tables[vocabulary] = derive(vocabulary, reads)
  save(tables)


if __name__ == '__main__':
  main()
