"""Prints the tables of `data.emoji_scenes.natural` (maintainers only).

  python tools/derive_natural.py

A drawing whose colour the eye takes for a named one has that for its natural
colour. Run it again after a change of the sprites, and copy what it prints.
"""

import pprint

import numpy as np

from imagen_jax.data.emoji_scenes import drawing, sprites

NEAR = 0.167  # largest distance to the named colour
CLEAR = 1.25  # least ratio of the distances to the second and first colour

# Too far from our blue, green, purple or gray to be derived, yet nobody would
# call them anything else.
BY_EYE = {
  'fish': 'blue',
  'cactus': 'green',
  'turtle': 'green',
  'bunch of grapes': 'purple',
  'mouse': 'gray',
}


def distances(noun: str, pixels: int = 64) -> dict[str, float]:
  """Returns how far the natural sprite is from each colour.

  The mean distance in OKLab, hue and chroma counted twice, over the opaque
  pixels that recolouring changes; `pixels` is the side of the drawing.
  """
  if noun not in sprites.RECOLOURABLE:
    return {}
  labs = {}
  for colour in (None, *sprites.COLOURS):
    sprite = np.asarray(drawing.sprite(noun, colour, pixels), np.float64)
    solid = sprite[..., 3] > 0.5
    rgb = sprite[solid][:, :3] / sprite[solid][:, 3:]
    labs[colour] = sprites.rgb_to_oklab(np.clip(rgb, 0, 1).T).T
  named = np.stack([labs[colour] for colour in sprites.COLOURS])
  body = named.std(0).sum(-1) > 0.02
  apart = (named - labs[None])[:, body] * np.array([1, 2, 2])
  mean = np.sqrt(np.square(apart).sum(-1)).mean(-1)
  return dict(zip(sprites.COLOURS, mean.tolist(), strict=True))


def derive() -> tuple[dict, dict]:
  """Returns both tables: of one near colour, and of two."""
  table, doubtful = {}, {}
  for noun in sprites.OBJECTS:
    away = distances(noun)
    ranked = sorted(away, key=away.get)
    if not ranked or away[ranked[0]] > NEAR:
      continue
    if away[ranked[1]] > CLEAR * away[ranked[0]]:
      table[noun] = ranked[0]
    else:
      doubtful[noun] = tuple(sorted(ranked[:2]))
  return table | BY_EYE, doubtful


def main() -> None:
  """Prints both tables, ready to be copied."""
  for name, table in zip(('NATURAL', 'DOUBTFUL'), derive()):
    print(f'{name} = {pprint.pformat(table, sort_dicts=False)}')


if __name__ == '__main__':
  main()
