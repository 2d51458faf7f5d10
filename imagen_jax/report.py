"""Writes a report on a training run: one HTML page that needs nothing else.

  python -m imagen_jax.report --workdir=runs/scenes_64

Curves, loss by noise level, what the caption is worth, samples over time,
scores with their protocols, hardware, configuration. May be run while the
training goes on. Not in the paper.
"""

import pathlib
import sys
import uuid

from imagen_jax.config import command, flags
from imagen_jax.pages.run_report import page, runs, score_files

NAME = 'report.html'


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.report',
    description='Writes a report on a training run as one HTML page.',
    allow_abbrev=False,
  )
  add = p.add_argument
  add(
    '--workdir',
    required=True,
    metavar='DIR',
    help='the work directory of the run; it may still be running (no default)',
  )
  add(
    '--scores',
    type=lambda text: [part for part in text.split(',') if part],
    default=[],
    metavar='DIR[,DIR...]',
    help='directories that evaluate, fid or clip_score wrote, with all below '
    '(default: none)',
  )
  add(
    '--out',
    metavar='FILE',
    help=f'the page (default: {NAME} in the work directory)',
  )
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  out = pathlib.Path(args.out or pathlib.Path(args.workdir) / NAME)
  try:
    run = runs.read(args.workdir)
    tables, remarks = score_files.read(args.scores)
    text = page.page(run, tables, remarks)
  except (ValueError, OSError) as e:
    return flags.failed(e)
  try:
    write(out, text)
  except OSError as e:
    return flags.failed(e, out)
  for remark in (*run.remarks, *remarks):
    print(f'note: {remark}', file=sys.stderr)
  print(f'{out}: {len(text) / 1e6:.1f} MB, {len(run.rows):,} reports')
  return 0


def write(path, text):
  """Whole or not at all: a browser may be reading it."""
  fresh = path.with_name(f'.{uuid.uuid4().hex[:8]}.html')
  try:
    fresh.write_text(text, encoding='utf-8', errors='replace')
    fresh.replace(path)
  finally:
    fresh.unlink(missing_ok=True)


if __name__ == '__main__':
  command.run(main)
