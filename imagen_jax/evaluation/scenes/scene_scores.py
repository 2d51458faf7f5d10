"""Scores of pictures of emoji scenes: two judges, and how far they agree.

  pictures, scenes -> records; records -> {'alignment': ...}, text

The rule-based checker is strict and says why; the learned judge is a second
opinion. Neither says anything about natural images.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tqdm

from imagen_jax.data.emoji_scenes import checker, drawing
from imagen_jax.evaluation import picture_sets, records
from imagen_jax.evaluation.scenes import alignment
from imagen_jax.evaluation.scenes import judge as judge_lib
from imagen_jax.files import pictures


def drawn_side(scenes: Sequence, protocol: Mapping) -> picture_sets.Side:
  """The side of the data set's own drawings of scenes."""
  side = protocol['size'][0]
  return picture_sets.Side(
    source='drawings of the captions',
    items=range(len(scenes)),
    load=lambda i: drawing.draw(scenes[i], side),
    count=len(scenes),
    pictures=f'drawings of {len(scenes)} captions',
    protocol=protocol,
  )


def judge_pictures(judge, scenes, paths, vocabulary, kept) -> list[dict]:
  """What checker and judge say of each picture, kept in a file of records."""
  done = {
    number: record
    for number, record in records.read(kept).items()
    if (record.get('checker'), record.get('judge_network'))
    == (checker.VERSION, judge.sha256)
  }
  missing = [n for n in range(len(paths)) if n not in done]
  with tqdm.tqdm(
    total=len(paths),
    initial=len(paths) - len(missing),
    desc='judged',
    unit='picture',
    disable=None,
  ) as bar:
    for first in range(0, len(missing), judge.batch):
      part = missing[first : first + judge.batch]
      images = np.stack([pictures.read_png(paths[n])[0] for n in part])
      seen = judge_lib.verdicts(judge, images, [scenes[n] for n in part])
      for number, image, verdict in zip(part, images, seen):
        done[number] = {
          'index': number,
          'checker': checker.VERSION,
          'judge_network': judge.sha256,
          'judge': verdict,
          **alignment.judge(image, scenes[number], vocabulary),
        }
        records.append(kept, done[number])
        bar.update()
  return [done[n] for n in range(len(paths))]


def numbers(judged, distance) -> dict:
  """The numbers of a table."""
  return {
    'scene_fid': distance['fid'],
    'scene_kid': distance['kid'],
    'alignment': float(np.mean([r['verdict']['all'] for r in judged])),
    'judge_alignment': float(np.mean([r['judge']['all'] for r in judged])),
  }


def details(judged) -> dict:
  """Part by part: both judges, and how far they agree."""
  learned = [{**r, 'verdict': r['judge']} for r in judged]
  return {
    'checker': alignment.summary(judged),
    'judge': {
      name: {k: v for k, v in part.items() if k != 'ceiling'}
      if isinstance(part, dict)
      else part
      for name, part in alignment.summary(learned).items()
    },
    'agreement': judge_lib.agreement(
      [r['verdict'] for r in judged], [r['judge'] for r in judged]
    ),
  }


def text(result) -> str:
  """The scores of scenes, for people."""
  scores, own = result['scores'], result['drawings']
  lines = [
    f'scene-FID  {scores["scene_fid"]:.4f} (drawings of the same captions: '
    f'{own["fid"]:.4f})',
    f'scene-KID  {scores["scene_kid"]:.6f} (drawings: {own["kid"]:.6f})',
    'part       checker              judge                agree  kappa',
  ]
  for part in alignment.PARTS:
    cells = [_share(result[judge][part]) for judge in ('checker', 'judge')]
    both = result['agreement'].get(part)
    if both is None:
      continue
    kappa = '-' if both['kappa'] is None else f'{both["kappa"]:.2f}'
    lines.append(
      f'{part:<9}  {cells[0]:<19}  {cells[1]:<19}  '
      f'{100 * both["same"]:>4.0f}%  {kappa}'
    )
  return '\n'.join(lines)


def _share(part):
  if part['share'] is None:
    return '-'
  low, high = (100 * end for end in part['interval'])
  return f'{100 * part["share"]:.0f} [{low:.0f}, {high:.0f}] of {part["asked"]}'
