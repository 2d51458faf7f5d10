"""Two judges of emoji scenes on drawings that are harmed step by step.

  python benchmarks/judge.py [--num=500] [--reference=1000] [--judged=100]

Scenes of test_iid (lite, 64 px), drawn as they are and harmed in several ways,
each at several strengths: scene-FID against drawings of validation, how many
times that of drawings without harm it is, and, of the first --judged of them,
how many each judge finds right and how often they agree. Nothing is sampled by
a cascade. Prints a table in Markdown.
"""

import argparse
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from imagen_jax.data.emoji_scenes import checker, drawing, source  # noqa: E402
from imagen_jax.evaluation import feature_statistics, picture_sets  # noqa: E402
from imagen_jax.evaluation.scenes import judge as judge_lib  # noqa: E402
from imagen_jax.evaluation.scenes import judge_examples  # noqa: E402


def blurred(pictures, deviation):
  return np.stack([judge_examples.blurred(x, deviation) for x in pictures])


def noised(pictures, deviation):
  rng = np.random.default_rng(0)
  values = pictures / 255 + deviation * rng.standard_normal(pictures.shape)
  return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def grayed(pictures, share):
  return np.rint(127.5 + (1 - share) * (pictures - 127.5)).astype(np.uint8)


def reddened(pictures, much):
  moved = pictures + 255 * much * np.array([1, -0.5, -0.5])
  return np.rint(np.clip(moved, 0, 255)).astype(np.uint8)


def swapped(pictures, share):
  """Red, green and blue change places in a share of the pictures."""
  found = pictures.copy()
  some = round(share * len(found))
  found[:some] = found[:some, ..., [1, 2, 0]]
  return found


def shuffled(pictures, parts):
  """Squares, `parts` on a side, change places."""
  rng, side = np.random.default_rng(0), pictures.shape[1] // parts
  squares = pictures.reshape(len(pictures), parts, side, parts, side, 3)
  squares = squares.swapaxes(2, 3).reshape(len(pictures), -1, side, side, 3)
  squares = np.stack([x[rng.permutation(parts**2)] for x in squares])
  squares = squares.reshape(len(pictures), parts, parts, side, side, 3)
  return squares.swapaxes(2, 3).reshape(pictures.shape)


def collapsed(pictures, kept):
  """Few pictures again and again."""
  return pictures[np.arange(len(pictures)) % kept]


def moved_on(pictures, by):
  """Good pictures of other captions: no harm to a distance."""
  return np.roll(pictures, by, axis=0)


# What is done, in words; how strongly, from little to much; by what.
HARM = (
  ('blur, pixels', (0.35, 0.7, 1.4, 2.8), blurred),
  ('noise, of all values', (0.025, 0.05, 0.1, 0.2), noised),
  ('washed out, share of gray', (0.05, 0.1, 0.2), grayed),
  ('reddened, of all values', (0.05, 0.1, 0.2), reddened),
  ('colours swapped, share', (0.1, 0.25, 0.5, 1.0), swapped),
  ('squares shuffled, a side', (2, 4, 8), shuffled),
  ('only so many pictures', (250, 100, 25, 5), collapsed),
  ('of the caption beside', (1,), moved_on),
)


def main():
  p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  p.add_argument('--num', type=int, default=500, help='scenes')
  p.add_argument('--reference', type=int, default=1000, help='drawings')
  p.add_argument(
    '--judged', type=int, default=100, help='of the scenes; 0 = none'
  )
  args = p.parse_args()
  judge = judge_lib.load()
  asked, other = (
    [source.EmojiScenes(split, 'lite').scene(i) for i in range(n)]
    for split, n in (('test_iid', args.num), ('validation', args.reference))
  )
  clean = np.stack([drawing.draw(scene, 64) for scene in asked])
  drawn = np.stack([drawing.draw(scene, 64) for scene in other])
  reference = feature_statistics.of(judge(drawn), 0)

  def distance(pictures):
    found = feature_statistics.of(judge(pictures), 0)
    return picture_sets.distance(found, reference)['fid']

  least = distance(clean)
  print(
    f'judge {judge.sha256[:12]}, {judge.about()["features"]}; n = {args.num} '
    f'against {args.reference}, judged {args.judged}; 64 px\n'
  )
  print(
    '| drawings | strength | scene-FID | times | checker | judge | agree '
    '| kappa |\n| --- | --- | --- | --- | --- | --- | --- | --- |'
  )
  print(row('as they are', '', clean, least, least, asked, judge, args.judged))
  for name, strengths, harm in HARM:
    for strength in strengths:
      pictures = harm(clean, strength)
      found = distance(pictures)
      print(
        row(name, strength, pictures, found, least, asked, judge, args.judged),
        flush=True,
      )


def row(name, strength, pictures, found, least, asked, judge, judged):
  """A line of the table."""
  cells = [name, str(strength), f'{found:.4f}', f'{found / least:.2f}']
  if not judged:
    return f'| {" | ".join([*cells, *4 * "-"])} |'
  pictures, asked = pictures[:judged], asked[:judged]
  theirs = judge_lib.verdicts(judge, pictures, asked)
  none = dict.fromkeys(theirs[0])
  ours = [
    none | {'all': checker.check(picture, scene, 'lite').all}
    for picture, scene in zip(pictures, asked)
  ]
  both = judge_lib.agreement(ours, theirs)['all']
  rights = [np.mean([r['all'] for r in rows]) for rows in (ours, theirs)]
  kappa = '-' if both['kappa'] is None else f'{both["kappa"]:.2f}'
  cells += [f'{100 * share:.0f}%' for share in (*rights, both['same'])]
  cells.append(kappa)
  return f'| {" | ".join(cells)} |'


if __name__ == '__main__':
  main()
