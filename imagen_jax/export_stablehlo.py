"""Writes a cascade as programs of StableHLO, which need none of this package.

  python -m imagen_jax.export_stablehlo --out=DIR [--cascade=DIR] [--upto=64]
  python DIR/run.py "a red fox at sunset" fox.png 7

One program for the text, for the layout, and for each stage with all its
steps; weights beside them, `programs.json` with every input and output, and
run.py, which draws by jax alone. The programs run with later releases of jax
too, for as long as jax.export promises (six months at least).
"""

import argparse
import pathlib

from imagen_jax.config import command, flags
from imagen_jax.files import hub
from imagen_jax.sampling import cascade as cascade_lib
from imagen_jax.sampling import exporting, manifests, setting_flags


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.export_stablehlo',
    description='Writes a cascade as programs of StableHLO, which need none of '
    'this package.',
    allow_abbrev=False,
  )
  add = p.add_argument
  add(
    '--out',
    required=True,
    metavar='DIR',
    help='the directory to make (no default)',
  )
  flags.add_cascade(p)
  add(
    '--upto',
    type=flags.whole('pixels', 1, 2**20),
    metavar='PIXELS',
    help='resolution of the last stage to export (default: all)',
  )
  setting_flags.add_preset(p)
  add(
    '--batch',
    type=flags.whole('pictures', 1, 2**16),
    default=1,
    metavar='N',
    help='pictures that a program draws at a time (default: 1)',
  )
  add(
    '--platforms',
    type=_platforms,
    default=('cpu', 'cuda', 'tpu'),
    metavar='NAME[,NAME...]',
    help=f'of {", ".join(exporting.PLATFORMS)}; where the programs are to run '
    '(default: cpu,cuda,tpu)',
  )
  setting_flags.add(p, default="the stages' own")
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  out = pathlib.Path(args.out)
  try:
    if out.exists():
      raise ValueError(f'--out={out} exists; give another, or remove it')
    cascade = cascade_lib.load_cascade(args.cascade)
    plan = cascade.plan(
      upto=args.upto, preset=args.preset, **setting_flags.given(args)
    )
    directory = hub.local(args.cascade or cascade_lib.SHIPPED)
    found = exporting.programs(cascade, directory, plan, args.batch)
    with manifests.appearing(out) as fresh:
      exporting.write(fresh, found, cascade, args.platforms)
  except (ValueError, OSError) as e:
    return flags.failed(e, out)
  size = sum(path.stat().st_size for path in out.iterdir())
  names = ', '.join(program.name for program in found)
  print(f'{out}: {names}; {size / 1e6:.1f} MB, for {", ".join(args.platforms)}')
  return 0


def _platforms(text):
  names = tuple(dict.fromkeys(text.split(',')))
  for name in names:
    if name not in exporting.PLATFORMS:
      raise argparse.ArgumentTypeError(
        f'{name!r} is no platform; give some of '
        f'{", ".join(exporting.PLATFORMS)}, separated by commas'
      )
  return names


if __name__ == '__main__':
  command.run(main)
