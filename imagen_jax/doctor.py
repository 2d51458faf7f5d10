"""Tells whether a training run is as it should be, and what to change.

  python -m imagen_jax.doctor --workdir=runs/scenes_64
  python -m imagen_jax.doctor --workdir=runs/mine --reference=runs/theirs

One line a subject: gradients, loss, noise levels, captions, validation, the
average of the weights, samples, speed. May be run while the training goes on.
Exit code 0: nothing is odd; 1: something is; 2: bad input. Not in the paper.
"""

import sys

from imagen_jax.config import command, flags
from imagen_jax.pages.run_report import diagnosis, runs


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.doctor',
    description='Tells whether a training run is as it should be, and what to '
    'change. Exit code 1 where something is odd.',
    allow_abbrev=False,
  )
  p.add_argument(
    '--workdir',
    required=True,
    metavar='DIR',
    help='the work directory of the run; it may still be running (no default)',
  )
  p.add_argument(
    '--reference',
    metavar='DIR',
    help='work directory of another run, whose losses after as many pictures '
    'this one is compared with (default: none)',
  )
  return p


def main(argv=None):
  """Runs the command line; returns the exit code."""
  args = parser().parse_args(argv)
  try:
    run = runs.read(args.workdir)
    reference = args.reference and _reference(args.reference)
  except (ValueError, OSError) as e:
    return flags.failed(e)
  for remark in run.remarks:
    print(f'note: {remark}', file=sys.stderr)
  findings = diagnosis.diagnose(run, reference)
  print(_headline(run))
  for finding in findings:
    print(f'{"odd" if finding.odd else "ok":4} {finding.subject}: ', end='')
    print(finding.message)
    if finding.odd:
      print(f'     do: {finding.remedy}')
  return int(any(finding.odd for finding in findings))


def _reference(directory):
  try:
    return runs.read(directory)
  except ValueError as e:
    raise ValueError(str(e).replace('--workdir=', '--reference=', 1)) from e


def _headline(run):
  step, total = run.rows[-1]['step'], run.count('TrainConfig.steps')
  text = f'{run.workdir}: step {step:,}' + (f' of {total:,}' if total else '')
  if run.count('TrainConfig.batch_size'):
    text += f', {diagnosis.seen(run):,} pictures seen'
  return text


if __name__ == '__main__':
  command.run(main)
