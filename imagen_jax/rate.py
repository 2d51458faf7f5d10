"""Lets people compare the pictures of two models, blind, in a browser.

  python -m imagen_jax.rate --a=DIR --b=DIR --out=study.sqlite
  python -m imagen_jax.rate --out=study.sqlite --report

The first command serves a page on this machine; votes go into the SQLite file,
each on the disk before the next pair is shown, and the same command goes on
after any interruption. The second tells what came of it, as text, CSV and a
figure. Section 4.3 and appendix C (DrawBench), section 4.2 (COCO).
"""

import argparse
import dataclasses
import pathlib
import secrets
import signal

from imagen_jax.config import command, flags
from imagen_jax.evaluation.ratings import (
  archive,
  figure,
  pictures,
  questionnaires,
  report,
  studies,
)
from imagen_jax.files import pictures as files
from imagen_jax.pages import rater, server


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.rate',
    description='A page on which people compare the pictures of two models, '
    'blind; and what came of it.',
    allow_abbrev=False,
  )
  add = p.add_argument
  for side, whose in (('a', 'one model'), ('b', 'the other, or photographs')):
    add(
      f'--{side}',
      metavar='DIR',
      help=f'pictures of {whose}, with their prompts, as imagen_jax.sample '
      'writes them (default: none; needed to serve)',
    )
  add(
    '--out',
    required=True,
    metavar='FILE',
    help='SQLite file of the study; the same one goes on where it was '
    'interrupted (no default; needed)',
  )
  add(
    '--protocol',
    choices=tuple(questionnaires.PROTOCOLS),
    default='pairs',
    help='pairs: picture against picture; drawbench: all pictures of a prompt '
    'against all, a category at a time; coco_quality, coco_alignment: against '
    'photographs in --b, with control trials (default: pairs)',
  )
  add(
    '--num',
    type=flags.whole('pairs', 1, 1_000_000),
    metavar='N',
    help='pairs drawn at random from those there are (default: all; 200 of '
    'the coco protocols)',
  )
  add(
    '--batch',
    type=flags.whole('pairs', 1, 1_000_000),
    metavar='N',
    help='pairs that a rater is asked for before a pause (default: all; a '
    'category of drawbench; 50 of the coco protocols)',
  )
  add(
    '--names',
    type=_two_names,
    metavar='A,B',
    help='what the report calls the two; raters never see it (default: the '
    "directories' names)",
  )
  add(
    '--categories',
    metavar='FILE',
    help='CSV or TSV with the columns prompt and category (default: what the '
    "pictures say, or the fixed prompts of the scenes', or none)",
  )
  add(
    '--seed',
    type=flags.seed,
    default=0,
    metavar='N',
    help='of what is drawn, of orders and of sides, from 0 to 2^32 - 1 '
    '(default: 0)',
  )
  add(
    '--simulated',
    action='store_true',
    help='scripts will vote, no people: said in the file, on the page and on '
    'every figure (default: no)',
  )
  flags.add_server(p, port=8765)
  add(
    '--report',
    action='store_true',
    help='tells what the votes say and writes CSV and a figure beside the '
    'file, instead of serving (default: no)',
  )
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    if args.report:
      tell(args)
    else:
      serve(args)
  except (ValueError, OSError) as e:
    return flags.failed(e, args.out)
  return 0


def serve(args):
  """Serves the page until it is stopped."""
  study = define(args)
  votes = archive.create(args.out, study)
  store = pictures.Store({'a': args.a, 'b': args.b}, study.size)
  token = secrets.token_urlsafe(24) if args.token == 'new' else args.token
  show = rater.RatingPage(study, votes, store)
  try:
    with server.listen(
      show, host=args.host, port=args.port, token=token
    ) as listening:
      # Before the address: whoever reads it may stop the server at once.
      signal.signal(signal.SIGTERM, signal.default_int_handler)
      try:
        print(
          f'{len(study.trials)} to rate, protocol {study.protocol.name}, study '
          f'{study.id[:12]}, votes in {args.out}; Ctrl+C stops'
        )
        print(listening.url, flush=True)
        listening.serve_forever()
      except KeyboardInterrupt:
        raters, cast = votes.counts()
        print(
          f'stopped; {args.out} holds {cast} votes of {raters} raters; the '
          'same command goes on, --report tells what they say'
        )
  finally:
    votes.close()


def define(args):
  """The study that the flags ask for."""
  missing = [f'--{side}=DIR' for side in 'ab' if getattr(args, side) is None]
  if missing:
    raise ValueError(
      f'{" and ".join(missing)} missing: the pictures to compare; or give '
      '--report'
    )
  return studies.define(
    {'a': args.a, 'b': args.b},
    chosen(args),
    seed=args.seed,
    names=args.names,
    simulated=args.simulated,
    sheet=args.categories,
  )


def chosen(args):
  """The protocol, with the numbers that were asked for."""
  protocol = questionnaires.PROTOCOLS[args.protocol]
  asked = {k: getattr(args, k) for k in ('num', 'batch')}
  if args.batch is not None and protocol.by_category:
    raise ValueError(
      f'--batch={args.batch}: a batch of {protocol.name} is a category; leave '
      'it out'
    )
  return dataclasses.replace(
    protocol, **{k: v for k, v in asked.items() if v is not None}
  )


def tell(args):
  """Prints the report; writes NAME.png and two CSV files beside the study."""
  out = pathlib.Path(args.out)
  votes = archive.load(out)
  try:
    summary = report.summary(votes)
  finally:
    votes.close()
  print(report.text(summary))
  stem = out.with_suffix('')
  written = report.write(summary, stem)
  drawing = stem.with_name(f'{stem.name}.png')
  text = {
    'study': summary.study.id,
    'raters': 'simulated' if summary.study.simulated else 'people',
  }
  files.write_png(drawing, figure.draw(summary), text)
  print(*written, drawing, sep='\n')


def _two_names(text):
  """An argparse type: two names separated by a comma."""
  names = [' '.join(name.split()) for name in text.split(',')]
  if len(names) != 2 or not all(names) or names[0] == names[1]:
    raise argparse.ArgumentTypeError(
      f'{text!r} is not two different names separated by a comma'
    )
  return names


if __name__ == '__main__':
  command.run(main)
