"""Does dynamic thresholding beat static at high guidance? A figure of a sweep.

  python -m imagen_jax.sweep --preset=draft --guidance=1,3,6,12 \
      --threshold=static,dynamic,none --num=50 --out=sweep
  python benchmarks/thresholds.py sweep --out=docs/thresholds

Section 2.3 of the paper says it does. From the pictures of the sweep: a row for
each threshold, a few sentences at every weight of guidance (thresholds.png),
and a table (thresholds.csv): the share that shows what was asked, the likeness
to drawings of the data set, and three measures of what goes wrong. *Clipped* is
the share of values at 0 or 255, *colourful* the mean distance between a pixel's
largest and smallest value, *contrast* the deviation of all values. The last row
is the data set's own drawings of the captions.
"""

import argparse
import csv
import pathlib
import sys

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from imagen_jax.data.emoji_scenes import drawing
from imagen_jax.evaluation import records
from imagen_jax.evaluation.scenes import questions
from imagen_jax.files import pictures

TRUTH = 'the data set'
_TILE, _GAP, _LEFT, _TOP = 64, 4, 74, 22


def measures(images):
  """Of uint8 [n, h, w, 3]."""
  values = np.float32(images)
  return {
    'clipped': np.mean((images == 0) | (images == 255)),
    'colourful': np.mean(np.ptp(values, axis=-1)),
    'contrast': np.mean(np.std(values, axis=(1, 2, 3))),
  }


def figure(rows, columns, shown, images):
  """A tile for each (threshold, weight, picture): uint8 [h, w, 3]."""
  block = shown * (_TILE + _GAP) + 2 * _GAP
  size = (_LEFT + len(columns) * block, _TOP + len(rows) * (_TILE + _GAP))
  canvas = PIL.Image.new('RGB', size, 'white')
  ink, font = PIL.ImageDraw.Draw(canvas), PIL.ImageFont.load_default(12)
  for x, column in enumerate(columns):
    ink.text((_LEFT + x * block, 4), f'guidance {column:g}', 'black', font=font)
  for y, row in enumerate(rows):
    top = _TOP + y * (_TILE + _GAP)
    ink.text((4, top + _TILE // 2 - 8), row, 'black', font=font)
    for x, column in enumerate(columns):
      for n, image in enumerate(images[row, column][:shown]):
        left = _LEFT + x * block + n * (_TILE + _GAP)
        canvas.paste(PIL.Image.fromarray(image), (left, top))
  return np.asarray(canvas)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('sweep', type=pathlib.Path, help='its directory')
  parser.add_argument('--split', default='validation')
  parser.add_argument('--vocabulary', default='lite')
  parser.add_argument('--first', type=int, default=0, help='picture to show')
  parser.add_argument('--shown', type=int, default=3, help='pictures of each')
  parser.add_argument('--out', type=pathlib.Path, default='docs/thresholds')
  args = parser.parse_args()
  table = list(csv.DictReader((args.sweep / 'sweep.csv').open()))
  n = int(table[0]['n'])
  chosen = questions.examples(args.split, args.vocabulary, n)
  truth = np.stack([drawing.draw(e.scene, _TILE) for e in chosen])
  images, lines = {}, []
  for line in table:
    name = f'guidance={float(line["guidance"]):g},threshold={line["threshold"]}'
    images[line['threshold'], float(line['guidance'])] = drawn = np.stack(
      [
        pictures.read_png(records.picture_path(args.sweep, name, e.index))[0]
        for e in chosen
      ]
    )
    lines.append(line | measures(drawn))
  lines.append(dict.fromkeys(lines[0], '') | measures(truth) | {'n': n})
  lines[-1]['threshold'] = TRUTH
  with args.out.with_suffix('.csv').open('w', newline='') as file:
    writer = csv.DictWriter(file, lines[0], lineterminator='\n')
    writer.writeheader()
    for line in lines:
      line |= {k: f'{line[k]:.3f}' for k in measures(truth)}
      writer.writerow(line)
  weights = sorted({weight for _, weight in images})
  kinds = [
    k for k in ('none', 'static', 'dynamic') if (k, weights[0]) in images
  ]
  part = {k: v[args.first :] for k, v in images.items()}
  sheet = figure(kinds, weights, args.shown, part)
  small = PIL.Image.fromarray(sheet).quantize(256, dither=0)
  small.save(args.out.with_suffix('.png'), optimize=True)
  print(args.out.with_suffix('.csv').read_text(), end='')


if __name__ == '__main__':
  main()
