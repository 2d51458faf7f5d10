"""The gallery of edits in the docs, made by the commands that stand there.

  python benchmarks/gallery.py [--work=gallery]

Runs the commands of docs/sampling.md that write into gallery/, in a directory
of that name below `--work`'s parent, and puts what was given and what came out
side by side as docs/edits.png. Nothing is picked after the fact: misses stay.
"""

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from imagen_jax import sample
from imagen_jax.files import pictures

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs' / 'sampling.md'
_GIVEN = 'given/{}_seed0_0.png'
_MUSHROOM = _GIVEN.format('a-red-mushroom-at-sunset')
_STAR = _GIVEN.format('a-yellow-star-on-a-beach')
_HOUSE = _GIVEN.format('a-blue-house-on-a-beach')
_TREE = _GIVEN.format('a-green-tree-under-a-night-sky')
# Rows of (title, files): a directory gives its pictures in order.
PANELS = (
  (
    (
      '--image: "a blue mushroom ...", strength 0.5, 0.7, 0.85',
      (_MUSHROOM, 'strength_5', 'strength_7', 'strength_85'),
    ),
    ('--mask: "a red heart ...", two', (_STAR, 'mask.png', 'inpaint')),
  ),
  (
    ('--outpaint=0.2', (_TREE, 'outpaint_tree')),
    ('--outpaint=0.2', (_HOUSE, 'outpaint_house')),
    ('--variations, strength 0.8', (_MUSHROOM, 'variations')),
  ),
  (
    (
      '--interpolate=7: "a red heart at sunset", "a yellow star under a night '
      'sky"',
      ('between',),
    ),
  ),
  (
    ('"a mushroom", --negative="a red mushroom"', ('plain', 'negative')),
    ('--size=112x64', ('wide',)),
    ('--upscale, 64 x 48 to 256 x 192', ('small.png', 'upscaled')),
  ),
)
_TILE, _GAP, _LINE = 104, 4, 18


def commands():
  """The commands of the docs that write into gallery/."""
  blocks = re.findall(r'```bash\n(.*?)```', DOCS.read_text(), re.DOTALL)
  (block,) = (b for b in blocks if 'gallery/' in b)
  return block.replace('\\\n', ' ').splitlines()


def panel(title, tiles):
  """A title above tiles of one height: a picture."""
  ink = PIL.ImageDraw.Draw(PIL.Image.new('RGB', (1, 1)))
  font = PIL.ImageFont.load_default(12)
  small = []
  for tile in tiles:
    image = PIL.Image.fromarray(tile)
    width = round(image.width * _TILE / image.height)
    small.append(image.resize((width, _TILE), PIL.Image.Resampling.LANCZOS))
  width = sum(tile.width + _GAP for tile in small) + _GAP
  width = max(width, round(ink.textlength(title, font)) + 2 * _GAP)
  canvas = PIL.Image.new('RGB', (width, _LINE + _TILE + 2 * _GAP), 'white')
  PIL.ImageDraw.Draw(canvas).text((_GAP, 1), title, 'black', font)
  left = _GAP
  for tile in small:
    canvas.paste(tile, (left, _LINE))
    left += tile.width + _GAP
  return canvas


def stacked(rows):
  """Rows of panels: a picture."""
  width = max(sum(p.width for p in row) for row in rows)
  height = rows[0][0].height
  canvas = PIL.Image.new('RGB', (width, height * len(rows)), 'white')
  for y, row in enumerate(rows):
    left = 0
    for part in row:
      canvas.paste(part, (left, y * height))
      left += part.width
  return canvas


def read(work, name):
  """The pictures of a file, or of a directory of one job."""
  path = work / name
  if path.is_file():
    return [np.asarray(PIL.Image.open(path).convert('RGB'))]
  found = sorted(path.glob('*.png'))
  return [pictures.read_png(p)[0] for p in found if p.name != 'sheet.png']


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    '--work', type=pathlib.Path, default=pathlib.Path('gallery')
  )
  parser.add_argument('--skip', action='store_true', help='all is drawn')
  args = parser.parse_args()
  work = args.work.resolve()
  work.mkdir(parents=True, exist_ok=True)
  os.chdir(work.parent)
  for command in [] if args.skip else commands():
    print('+', command, flush=True)
    words = shlex.split(command)
    if words[:3] == ['python', '-m', 'imagen_jax.sample']:
      assert sample.main(words[3:]) == 0  # in this process: it starts once
    else:
      subprocess.run([sys.executable, *words[1:]], check=True)
  rows = [
    [
      panel(title, [tile for file in files for tile in read(work, file)])
      for title, files in row
    ]
    for row in PANELS
  ]
  image = stacked(rows).quantize(256, dither=PIL.Image.Dither.NONE)
  image.save(ROOT / 'docs' / 'edits.png', optimize=True)


if __name__ == '__main__':
  main()
