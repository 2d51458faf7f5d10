"""Two judges of emoji scenes on drawings that are harmed step by step.

  python benchmarks/judge.py [--num=100] [--reference=200]

Scenes of test_iid (lite, 64 px), drawn as they are, blurred, noised, and drawn
for other captions: how many each judge finds right, how often they agree, and
scene-FID against drawings of validation. Nothing is sampled by a cascade.
"""

import argparse
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from imagen_jax.data.emoji_scenes import checker, drawing, source  # noqa: E402
from imagen_jax.evaluation import (  # noqa: E402
  feature_statistics,
  judge_examples,
  sides,
)
from imagen_jax.evaluation import judge as judge_lib  # noqa: E402


def noised(picture, deviation, rng):
  values = picture / 255 + deviation * rng.standard_normal(picture.shape)
  return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def main():
  p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  p.add_argument('--num', type=int, default=100, help='scenes')
  p.add_argument('--reference', type=int, default=200, help='drawings')
  args = p.parse_args()
  judge, rng = judge_lib.load(), np.random.default_rng(0)
  asked, other = (
    [source.EmojiScenes(split, 'lite').scene(i) for i in range(n)]
    for split, n in (('test_iid', args.num), ('validation', args.reference))
  )
  clean = [drawing.draw(scene, 64) for scene in asked]
  drawn = np.stack([drawing.draw(scene, 64) for scene in other])
  reference = feature_statistics.of(judge(drawn), 0)
  kinds = {'as drawn': clean}
  for sigma in (0.7, 1.4):
    kinds[f'blur {sigma} px'] = [
      judge_examples.blurred(x, sigma) for x in clean
    ]
  for sigma in (0.05, 0.1):
    kinds[f'noise {sigma}'] = [noised(x, sigma, rng) for x in clean]
  kinds['of other captions'] = [*clean[1:], clean[0]]
  print(f'judge {judge.sha256[:12]}, n = {args.num}, 64 px')
  print('drawings           checker  judge  agree  kappa  scene-FID')
  for name, images in kinds.items():
    ours = [
      {'all': checker.check(x, scene, 'lite').all}
      for x, scene in zip(images, asked)
    ]
    theirs = judge_lib.verdicts(judge, np.stack(images), asked)
    for row in ours:
      row |= dict.fromkeys(theirs[0].keys() - {'all'})
    both = judge_lib.agreement(ours, theirs)['all']
    features = feature_statistics.of(judge(np.stack(images)), 0)
    distance = sides.distance(features, reference)['fid']
    kappa = '-' if both['kappa'] is None else f'{both["kappa"]:.2f}'
    rights = [np.mean([r['all'] for r in rows]) for rows in (ours, theirs)]
    print(
      f'{name:<18} {100 * rights[0]:>6.0f}%  {100 * rights[1]:>4.0f}%  '
      f'{100 * both["same"]:>4.0f}%  {kappa:>5}  {distance:>9.4f}'
    )


if __name__ == '__main__':
  main()
