"""What the judge learns from: drawn scenes, harmed, with all that is in them.

  JudgeExamples(...).batch(k) -> {'pictures': uint8 [b, 64, 64, 3], ...}

Scenes come from a stream of their own, so from no split; compositions that are
held out of a cascade's training are among them, since the judge has to read
them. Harm: a shift, blur, noise of some grain, another brightness and contrast.
Example i depends on (seed, split, i) alone.
"""

import dataclasses
import zlib

import numpy as np
import PIL.Image
import PIL.ImageFilter

from imagen_jax.data.emoji_scenes import drawing, scenes, splits

MOST = 8  # objects in a picture; scenes have up to five
SHIFT = 5  # pixels, at most
BLUR = 1.8  # pixels, at most: standard deviation of the kernel
NOISE = 0.12  # standard deviation, at most, of values in [0, 1]
GRAINS = (1, 1, 2, 4)  # pixels of a side of what varies together


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeExamples:
  """Batches of one split, endless."""

  vocabulary: str = 'lite'
  split: str = 'train'  # or any other name: another stream
  batch_size: int = 64
  resolution: int = 64
  cells: int = 16  # of a side of the judge's grid
  seed: int = 0

  def batch(self, k: int) -> dict[str, np.ndarray]:
    """Batch k."""
    first = k * self.batch_size
    rows = [self.example(i) for i in range(first, first + self.batch_size)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

  def example(self, index: int) -> dict[str, np.ndarray]:
    """One picture, and what `train_judge` compares the judge's answers with."""
    words = splits.vocabulary(self.vocabulary)
    stream = f'judge/{self.vocabulary}/{self.split}'
    scene = scenes.generate(words, scenes.Draws(stream, index))
    key = [self.seed, zlib.crc32(stream.encode()) << 32 | index]
    rng = np.random.Generator(np.random.Philox(key=key))
    picture, shift, harm = harmed(drawing.draw(scene, self.resolution), rng)
    offset = shift / self.resolution
    return {
      'pictures': picture,
      'backgrounds': np.int32(words.backgrounds.index(scene.background)),
      'harm': harm,
      **targets(scene.items, words, self.cells, offset),
    }


def harmed(picture, rng):
  """(picture, pixels that it was moved right and down [2], harm [2]).

  Harm is the blur in pixels and the noise in tenths of all values.
  """
  shift = rng.integers(-SHIFT, SHIFT + 1, 2)
  picture = moved(picture, *shift)
  blur = 0.0 if rng.random() < 0.3 else rng.uniform(0, BLUR)
  noise = 0.0 if rng.random() < 0.3 else rng.uniform(0, NOISE)
  picture = blurred(picture, blur)
  values = picture.astype(np.float32) / 255
  values = (values - 0.5) * rng.uniform(0.85, 1.1) + 0.5
  values = values + rng.uniform(-0.06, 0.06, 3)
  grain = GRAINS[rng.integers(len(GRAINS))]
  values += noise * grainy(rng, len(picture), grain)
  picture = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
  return picture, shift, np.array([blur, 10 * noise], np.float32)


def moved(picture, right, down):
  """A picture moved by whole pixels; its edges are continued."""
  side = len(picture)
  rows = np.clip(np.arange(side) - down, 0, side - 1)
  columns = np.clip(np.arange(side) - right, 0, side - 1)
  return picture[rows][:, columns]


def blurred(picture, deviation):
  """A picture out of focus; `deviation` in pixels, 0 = as it is."""
  if not deviation:
    return picture
  kernel = PIL.ImageFilter.GaussianBlur(deviation)
  return np.asarray(PIL.Image.fromarray(picture).filter(kernel))


def grainy(rng, side, grain):
  """Normal noise [side, side, 3], the same over squares of `grain` pixels."""
  small = rng.standard_normal((side // grain, side // grain, 3))
  return small.repeat(grain, axis=0).repeat(grain, axis=1).astype(np.float32)


def targets(items, words, cells, offset=(0.0, 0.0)):
  """What is where: {name: array}, of `MOST` places of which some are taken.

  Args:
    items: of a scene.
    words: its vocabulary.
    cells: of a side of the grid.
    offset: of the picture, right and down, in units of the picture.
  """
  heat = np.zeros((cells, cells), np.float32)
  found = {
    'places': np.zeros(MOST, np.int32),  # row * cells + column
    'nouns': np.zeros(MOST, np.int32),
    'colours': np.zeros(MOST, np.int32),
    'boxes': np.zeros((MOST, 3), np.float32),
    'taken': np.zeros(MOST, np.float32),
  }
  grid = np.arange(cells) + 0.5
  for number, item in enumerate(items):
    x, y = (item.x + offset[0]) * cells, (item.y + offset[1]) * cells
    column, row = (int(np.clip(v, 0, cells - 1)) for v in (x, y))
    apart = (grid - column - 0.5) ** 2 + (grid - row - 0.5)[:, None] ** 2
    heat = np.maximum(heat, np.exp(-apart / 2).astype(np.float32))
    found['places'][number] = row * cells + column
    found['nouns'][number] = words.nouns.index(item.noun)
    found['colours'][number] = colour_number(item, words)
    found['boxes'][number] = x - column, y - row, item.side * cells
    found['taken'][number] = 1.0
  return {'heat': heat, **found}


def colour_number(item, words):
  """0 for the natural colour, unless a colour of the vocabulary equals it."""
  seen = splits.canonical(item.noun, item.colour)
  return words.colours.index(seen) + 1 if seen in words.colours else 0
