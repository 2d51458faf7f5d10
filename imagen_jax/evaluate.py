"""Scores a cascade on emoji_scenes or COCO: by a split, or by a protocol.

  python -m imagen_jax.evaluate --cascade=DIR --split=test_binding --num=100
  python -m imagen_jax.evaluate --cascade=DIR --protocol=coco30k --coco=DIR
  python -m imagen_jax.evaluate --table FILE FILE

Draws the captions of a split, reads every picture back with the checker of
the data set and prints, per split, the share that is right, part by part,
with its 95% interval, and the checker's own ceiling beside it. The captions
are fixed, the pictures are kept, and the same command goes on where it was
interrupted. A sheet of successes and failures lies beside the pictures.

A protocol is a frozen description of captions, drawing and measuring; its
score comes with the description's id, and --table puts scores.json files of
one id into a table, never of two.
"""

import argparse
import dataclasses
import pathlib
import sys

import tqdm

from imagen_jax.config import flags
from imagen_jax.data.emoji_scenes import checker, scenes, splits
from imagen_jax.evaluation import options, protocol_runs, protocols, records
from imagen_jax.evaluation.scenes import alignment, questions, sheets
from imagen_jax.files import json_files, pictures, weights
from imagen_jax.parallel import compilation
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import setting_flags

NUM = 100  # pictures per split
UPTO = 256  # pixels; the checker looks at 64, so more shows no more
SCORES = 'scores.json'


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.evaluate',
    description='Scores a cascade on the scenes of the embedded data set, or '
    'by a protocol.',
    allow_abbrev=False,
  )
  add = p.add_argument
  flags.add_cascade(p)
  add(
    '--split',
    type=_splits,
    metavar='NAME[,NAME...]',
    help=f'what to draw: {", ".join(splits.SIZES)} (default: prompts)',
  )
  add(
    '--num',
    type=flags.whole('pictures', 1, 1_000_000),
    metavar='N',
    help='pictures per split, at most what it holds; always the same ones, '
    "and more later adds to them (default: 100, or the protocol's)",
  )
  add(
    '--upto',
    type=flags.whole('pixels', 1, 2**20),
    metavar='PIXELS',
    help='resolution of the last stage to run (default: the last stage of at '
    f'most {UPTO})',
  )
  add(
    '--out',
    metavar='DIR',
    help='directory for pictures, records, sheets and scores; the same one '
    'goes on where it was interrupted (default: evaluation, or the name of '
    'the protocol)',
  )
  add(
    '--vocabulary',
    choices=tuple(splits.VOCABULARIES),
    help='of the captions (default: the larger one that the cascade claims)',
  )
  add(
    '--paraphrase',
    action='store_true',
    help='captions in the wordings that are held out of training (default: no)',
  )
  flags.add_seed(p)
  options.add_flags(p)
  add(
    '--table',
    nargs='+',
    metavar='FILE',
    help='prints the scores.json files of one protocol as a table, and does '
    'nothing else (default: none)',
  )
  setting_flags.add(p, default="the stages' or the protocol's own")
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  out = pathlib.Path(args.out or args.protocol or 'evaluation')
  try:
    if args.table:
      print(table(args.table))
      return 0
    options.check_flags(args)
    compilation.enable_cache()
    cascade = cascade_lib.load_cascade(args.cascade)
    if args.protocol:
      return by_protocol(args, cascade, out)
    plan = cascade.plan(
      upto=args.upto or last_stage(cascade), **setting_flags.given(args)
    )
    check_resolution(cascade.stages[len(plan) - 1].resolution)
    vocabulary = args.vocabulary or questions.claimed(cascade.words)
    records.claim(out, settings(cascade, plan, vocabulary, args))
    rows, scores = [], {}
    num = args.num or NUM
    for split in args.split or ('prompts',):
      chosen = questions.examples(split, vocabulary, num, args.paraphrase)
      judged = run(cascade, plan, chosen, vocabulary, args.seed, out)
      rows += questions.breakdown(split, chosen, judged)
      write_sheet(split, judged, cascade, out)
    scores = {name: alignment.summary(some) for name, some in rows}
    write_scores(out / SCORES, scores)
  except (ValueError, FloatingPointError, OSError) as e:
    return flags.failed(e, out)
  except KeyboardInterrupt:
    return flags.stopped()
  print(alignment.table(rows))
  print(
    'Percent of pictures right [95% interval], of emoji scenes, which say '
    'nothing\nabout natural images; ceiling: the checker on pictures of the '
    f'data set itself.\nPictures, records and sheets are in {out}.'
  )
  return 0


def by_protocol(args, cascade, out):
  """Draws and measures as a protocol says; the exit code."""
  protocol = protocols.PROTOCOLS[args.protocol].with_changes(
    cascade,
    num=args.num,
    seed=args.seed,
    upto=args.upto,
    **setting_flags.given(args),
  )
  _, text = protocol_runs.run(protocol, cascade, options.options(args), out)
  print(text)
  return 0


def table(paths):
  """The text of --table."""
  absent = 'does not exist; give scores.json files of this command or of fid'
  return protocols.table(
    {
      path: protocols.read(path, json_files.read(path, f'{path} {absent}'))
      for path in paths
    }
  )


def last_stage(cascade):
  """The resolution to judge: the largest of at most `UPTO`, or the least."""
  sizes = [stage.resolution for stage in cascade.stages]
  return max([size for size in sizes if size <= UPTO] or [min(sizes)])


def check_resolution(resolution):
  """Raises ValueError if the checker cannot see that little."""
  if resolution < scenes.GRID:
    raise ValueError(
      f'the pictures have {resolution} px, the checker needs {scenes.GRID}; '
      'choose a stage of that size by --upto'
    )


def settings(cascade, plan, vocabulary, args):
  """All that the pictures depend on."""
  return {
    'cascade': cascade.id,
    'resolution': cascade.stages[len(plan) - 1].resolution,
    'sampling': [dataclasses.asdict(sampling) for sampling in plan],
    'seed': args.seed,
    'vocabulary': vocabulary,
    'paraphrase': args.paraphrase,
    'data_version': scenes.VERSION,
  }


def run(cascade, plan, chosen, vocabulary, seed, out):
  """Draws and judges what is not there yet: the records of the examples.

  A picture whose record is missing, or was made by another checker, is read
  again but not drawn again; one that is gone is drawn again.
  """
  split = chosen[0].split
  path = out / f'{split}.jsonl'
  done = {
    index: record
    for index, record in records.read(path).items()
    if record['checker'] == checker.VERSION
    and records.picture_path(out, split, index).exists()
  }
  missing = [e for e in chosen if e.index not in done]
  (out / split).mkdir(exist_ok=True)
  with tqdm.tqdm(
    total=len(chosen),
    initial=len(chosen) - len(missing),
    desc=split,
    unit='picture',
    disable=None,
  ) as bar:
    for example, image in drawn(cascade, plan, missing, seed, out):
      record = {
        'index': example.index,
        'caption': example.caption,
        'checker': checker.VERSION,
        **alignment.judge(image, example.scene, vocabulary),
      }
      records.append(path, record)
      done[example.index] = record
      bar.update()
  return [done[e.index] for e in chosen]


def drawn(cascade, plan, missing, seed, out):
  """Yields (example, picture), from the files or else drawn and kept."""
  fresh = []
  for example in missing:
    path = records.picture_path(out, example.split, example.index)
    if path.exists():
      yield example, pictures.read_png(path)[0]
    else:
      fresh.append(example)
  # Whole batches of every stage on every device: that changes nothing.
  group = cascade.group(len(plan))
  for first in range(0, len(fresh), group):
    part = fresh[first : first + group]
    requests = [
      cascade_lib.Request(caption=e.caption, index=e.repeat) for e in part
    ]
    images = cascade.draw(requests, plan, seed=seed)
    for example, image in zip(part, images):
      text = {
        'prompt': example.caption,
        'seed': str(seed),
        'index': str(example.repeat),
        'cascade': cascade.id,
      }
      path = records.picture_path(out, example.split, example.index)
      pictures.write_png(path, image, text)
      yield example, image


def write_sheet(split, judged, cascade, out):
  """Writes DIR/SPLIT.png, successes and failures."""

  def load(record):
    path = records.picture_path(out, split, record['index'])
    return pictures.read_png(path)[0]

  image = sheets.sheet(
    f'{split}, cascade {cascade.id}',
    judged,
    load,
  )
  pictures.write_png(out / f'{split}.png', image, {})


def write_scores(path, scores):
  """Adds the scores to those of earlier runs in the same directory."""
  try:
    scores = json_files.read(path) | scores
  except (TypeError, ValueError):
    pass  # none yet
  weights.save_json(path, scores)


def _splits(text):
  """An argparse type: names of splits separated by commas."""
  names = tuple(dict.fromkeys(text.split(',')))
  for name in names:
    if name not in splits.SIZES:
      raise argparse.ArgumentTypeError(
        f'unknown split {name!r}: choose of {", ".join(splits.SIZES)}'
      )
  return names


if __name__ == '__main__':
  sys.exit(main())
