"""The 56 vector sprites of emoji_scenes and their recolouring.

Artwork: Microsoft Fluent Emoji Flat (MIT, sprites_LICENSE.txt), vendored by
vendor_sprites.py. A sprite is a list of filled paths from back to front on a
square box; `paths` gives the paths of a noun in its natural colour or in one
of nine. Recolouring replaces the hue of the hand-listed body fills and keeps
the lightness differences among them; eyes, stalks, wheels and the like keep
their own colour.
"""

import functools
import json
import pathlib

import numpy as np

OBJECTS = (
  'apple',
  'banana',
  'pear',
  'bunch of grapes',
  'strawberry',
  'lemon',
  'cat',
  'dog',
  'fox',
  'rabbit',
  'panda',
  'bear',
  'mouse',
  'frog',
  'fish',
  'octopus',
  'butterfly',
  'bee',
  'turtle',
  'snail',
  'penguin',
  'chicken',
  'duck',
  'owl',
  'car',
  'bus',
  'airplane',
  'rocket',
  'sailboat',
  'tractor',
  'house',
  'castle',
  'pine tree',
  'tree',
  'cactus',
  'sunflower',
  'tulip',
  'mushroom',
  'umbrella',
  'balloon',
  'soccer ball',
  'guitar',
  'key',
  'crown',
  'top hat',
  't-shirt',
  'teapot',
  'hamburger',
  'cake',
  'doughnut',
  'alarm clock',
  'bell',
  'ghost',
  'robot',
  'heart',
  'star',
)

# The colour that the main body fill takes.
COLOURS = {
  'red': '#e3202c',
  'orange': '#ff7d14',
  'yellow': '#ffdc1e',
  'green': '#1fa83f',
  'blue': '#2463eb',
  'purple': '#8a35c9',
  'pink': '#ff7ac0',
  'brown': '#7d4a28',
  'gray': '#8d9299',
}

# Body fills by sprite, the main one first: the one that takes the colour as
# it is. A sprite without a list is not recoloured.
BODIES = {
  'apple': ('#f8312f',),
  'banana': ('#fcd53f', '#f9c23c', '#fff478', '#feefc2', '#f3ad61'),
  'pear': ('#c3ef3c',),
  'bunch of grapes': ('#533566', '#433b6b', '#321b41', '#6b438b'),
  'strawberry': ('#f8312f',),
  'lemon': ('#fcd53f',),
  'cat': ('#ffb02e', '#ff822d', '#ff6723'),
  'dog': ('#f3c07b',),
  'fox': ('#ff822d', '#ff6723'),
  'rabbit': ('#cdc4d6', '#b4acbc'),
  'bear': ('#a56953', '#8c5543'),
  'mouse': ('#cdc4d6', '#b4acbc'),
  'frog': ('#00d26a',),
  'fish': ('#00a6ed', '#0074ba'),
  'octopus': ('#ff8257', '#ff5e59', '#f8312f', '#ff8687'),
  'butterfly': ('#ff822d', '#ff6723'),
  'bee': ('#ffb02e',),
  'turtle': ('#008463',),
  'snail': ('#a56953', '#6d4534'),
  'penguin': ('#533566',),
  'chicken': ('#ffffff', '#9b9b9b'),
  'duck': ('#d3d3d3', '#9b9b9b'),
  'owl': ('#6d4534',),
  'car': ('#f8312f', '#ca0b4a'),
  'bus': ('#ffb02e', '#e6e6e6'),
  'airplane': ('#cdc4d6', '#0084ce', '#00a6ed'),
  'rocket': ('#f4f4f4', '#ca0b4a', '#f92f60'),
  'sailboat': ('#fcd53f', '#ff8257', '#ff9f2e'),
  'tractor': ('#00f397', '#008463'),
  'house': ('#f3c07b', '#f8312f'),
  'castle': ('#b4acbc', '#998ea4'),
  'pine tree': ('#44911b',),
  'tree': ('#44911b',),
  'cactus': ('#86d72f', '#44911b', '#c3ef3c'),
  'sunflower': ('#fcd53f',),
  'tulip': ('#ff6dc6', '#f70a8d'),
  'mushroom': ('#f8312f', '#fbb8ab'),
  'umbrella': ('#8d65c5',),
  'balloon': ('#f8312f', '#ca0b4a', '#ff8687'),
  'soccer ball': ('#3f5fff', '#1c5cd7'),
  'guitar': ('#ca0b4a', '#f4f4f4'),
  'key': ('#f9c23c',),
  'crown': ('#ffb02e', '#e19747'),
  'top hat': ('#533566', '#321b41'),
  't-shirt': ('#86d72f', '#44911b', '#c3ef3c', '#00d26a'),
  'teapot': ('#f8312f', '#ca0b4a'),
  'doughnut': ('#6d4534',),
  'alarm clock': ('#f8312f',),
  'bell': ('#f9c23c', '#ff822d', '#ffb02e'),
  'ghost': ('#ffffff', '#9b9b9b'),
  'robot': ('#cdc4d6',),
  'heart': ('#f8312f', '#ca0b4a', '#f37366'),
  'star': ('#fcd53f',),
}

RECOLOURABLE = frozenset(BODIES)

# A shade further from the body colour than this would read as another colour
# (the dark fins of a white rocket).
_LARGEST_STEP = 0.15  # Oklab lightness

# Oklab (Ottosson 2020, "A perceptual color space for image processing"):
# linear sRGB -> cone responses -> cube root -> lightness and two opponents.
_TO_CONES = np.array(
  [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
  ]
)
_TO_LAB = np.array(
  [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
  ]
)


def hex_to_rgb(colour):
  """'#rrggbb' -> [3] float64 in [0, 1]."""
  values = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
  return np.array(values, np.float64) / 255


def rgb_to_oklab(rgb):
  linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
  return _TO_LAB @ np.cbrt(_TO_CONES @ linear)


def oklab_to_rgb(lab):
  """The inverse of rgb_to_oklab; may leave [0, 1]."""
  linear = np.linalg.solve(_TO_CONES, np.linalg.solve(_TO_LAB, lab) ** 3)
  positive = np.maximum(linear, 0.0031308)
  return np.where(
    linear <= 0.0031308, linear * 12.92, 1.055 * positive ** (1 / 2.4) - 0.055
  )


def recolour(fill, main, colour):
  """A body fill in another colour.

  Takes the hue and chroma of the colour, its lightness plus the difference
  between this fill and the main one; chroma shrinks until sRGB can show it.

  Args:
    fill, main: '#rrggbb', this fill and the main fill of the same body.
    colour: a key of COLOURS.
  Returns:
    [3] float64 in [0, 1].
  """
  target = rgb_to_oklab(hex_to_rgb(COLOURS[colour]))
  step = rgb_to_oklab(hex_to_rgb(fill))[0] - rgb_to_oklab(hex_to_rgb(main))[0]
  step = min(max(step, -_LARGEST_STEP), _LARGEST_STEP)
  lightness = min(max(target[0] + step, 0.12), 0.98)
  for chroma in np.linspace(1, 0, 41):
    rgb = oklab_to_rgb(np.array([lightness, *(chroma * target[1:])]))
    if rgb.min() > -0.004 and rgb.max() < 1.004:
      break
  return np.clip(rgb, 0, 1)


@functools.cache
def load():
  """The asset: {noun: [[fill, opacity, rule, polygons]]} on a grid of 2048."""
  path = pathlib.Path(__file__).with_name('sprites.json')
  return json.loads(path.read_text())


def check(noun, colour):
  """Raises ValueError for a sprite that does not exist."""
  if noun not in OBJECTS:
    raise ValueError(f'no sprite {noun!r}; nouns: {", ".join(OBJECTS)}')
  if colour is not None and colour not in COLOURS:
    raise ValueError(
      f'no colour {colour!r}; None or one of {", ".join(COLOURS)}'
    )
  if colour is not None and noun not in RECOLOURABLE:
    raise ValueError(f'{noun!r} has its natural colour only, not {colour!r}')


def fills(noun, colour):
  """Fill of each path, [paths, 3] float64 in [0, 1]; colour None: natural."""
  check(noun, colour)
  body = BODIES.get(noun, ())
  rows = []
  for fill, _, _, _ in load()['sprites'][noun]:
    if colour is not None and fill in body:
      rows.append(recolour(fill, body[0], colour))
    else:
      rows.append(hex_to_rgb(fill))
  return np.array(rows)


def paths(noun, colour):
  """The filled paths of a sprite from back to front.

  Returns:
    [(rgb, opacity, rule, polygons)]: rgb a tuple in [0, 1], rule 'nonzero' or
    'evenodd', polygons a list of [n, 2] float64 x, y with the box as [0, 1].
  """
  grid = load()['grid']
  return [
    (
      tuple(rgb),
      opacity,
      rule,
      [np.reshape(p, (-1, 2)) / grid for p in polygons],
    )
    for rgb, (_, opacity, rule, polygons) in zip(
      fills(noun, colour), load()['sprites'][noun], strict=True
    )
  ]
