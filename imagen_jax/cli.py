"""The command line of gin-configured jobs; the only importer of gin.

  python -m imagen_jax.JOB --gin_file=LEAF --workdir=DIR [--gin.X=Y ...]

A leaf in gin/ includes one model and one run. Strings given by --gin.X need
their own quotes inside the shell's: --gin.TrainConfig.text="'my/text'".
"""

import argparse
import contextlib
import pathlib
import sys

import absl.logging

import gin
from imagen_jax import compilation_cache


def parser(prog=None):
  """The argparse parser of every job."""
  p = argparse.ArgumentParser(
    prog=prog,
    formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    epilog='--gin.NAME=VALUE changes one setting; strings need inner quotes, '
    'as in --gin.TrainConfig.text="\'my/text\'".',
  )
  p.add_argument(
    '--gin_file',
    action='append',
    required=True,
    metavar='FILE',
    help='configuration, a leaf of gin/; may be given several times',
  )
  p.add_argument(
    '--workdir',
    metavar='DIR',
    help='where everything of this run is kept; the same directory again '
    'resumes it; may be left out with --dry_run',
  )
  p.add_argument(
    '--dry_run',
    action='store_true',
    help='print the resolved configuration and the parameter count, and stop',
  )
  return p


def parse(argv, prog=None):
  """argv -> (namespace, gin bindings)."""
  p = parser(prog)
  args, rest = p.parse_known_args(argv)
  bindings = [a.removeprefix('--gin.') for a in rest if a.startswith('--gin.')]
  unknown = [a for a in rest if not a.startswith('--gin.')]
  if unknown:
    p.error(f'unknown argument {unknown[0]}; settings are --gin.NAME=VALUE')
  for binding in bindings:
    if '=' not in binding:
      p.error(f'--gin.{binding} has no value; write --gin.NAME=VALUE')
  if not args.workdir and not args.dry_run:
    p.error('--workdir=DIR is missing: where the run is kept')
  return args, bindings


def configure(gin_files, bindings, config_class):
  """Parses gin and returns an instance of `config_class`.

  Raises ValueError with one line for a missing file or a misspelt setting.
  """
  try:
    for name in gin_files:
      path = pathlib.Path(name).absolute()
      if not path.is_file():
        raise ValueError(f'gin file {name} not found; see the leaves in gin/')
      # Includes are relative to the leaf. Changing there, rather than adding a
      # search path, because gin first looks for a Python package named like
      # the include's folder, and trips over a user's own directory runs/.
      with contextlib.chdir(path.parent):
        gin.parse_config_file(path.name)
    gin.parse_config(bindings)
    gin.finalize()
    return gin.get_configurable(config_class)()
  except (TypeError, SyntaxError, AttributeError, OSError) as e:
    raise ValueError(f'configuration: {_one_line(e)}') from e


def _one_line(error):
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  return '; '.join(lines[:3])


def run(function, config_class, describe, argv=None):
  """Runs `function(config, workdir)` as the command line says.

  Exits with 2 and one line on bad input; `describe(config)` is what --dry_run
  prints after the configuration.
  """
  args, bindings = parse(sys.argv[1:] if argv is None else argv)
  try:
    config = configure(args.gin_file, bindings, config_class)
    if args.dry_run:
      print(gin.config_str())
      print(describe(config))
      return
    compilation_cache.enable()
    # orbax warns of each save that it had to wait for, which we mean to do.
    absl.logging.set_verbosity(absl.logging.ERROR)
    workdir = pathlib.Path(args.workdir)
    try:
      workdir.mkdir(parents=True, exist_ok=True)
      (workdir / 'config.gin').write_text(gin.operative_config_str())
    except OSError as e:
      raise ValueError(f'--workdir={workdir} cannot be written: {e}') from e
    function(config, workdir)
  except ValueError as e:
    print(f'error: {_one_line(e)}', file=sys.stderr)
    sys.exit(2)
