"""The command line of gin-configured jobs; the only importer of gin.

  python -m imagen_jax.JOB --gin_file=LEAF --workdir=DIR [--gin.X=Y ...]

A leaf in gin/ includes one model and one run. Strings given by --gin.X need
their own quotes inside the shell's: --gin.TrainConfig.text="'my/text'".
"""

import contextlib
import fcntl
import pathlib
import sys

import absl.logging

import gin
from imagen_jax.config import checks, debugging, flags
from imagen_jax.files import weights
from imagen_jax.parallel import agreements, compilation, processes
from imagen_jax.training import gin_files

_BAD_INPUT = (ValueError, FloatingPointError, OSError)  # told in one line

_LONG = 600  # characters of a line of a message

# What gin raises for files and bindings that it cannot use.
_GIN_ERRORS = (
  ValueError,
  TypeError,
  SyntaxError,
  NameError,
  AttributeError,
  ImportError,
  OSError,
)


def parser(function=None, distributed=False):
  """The argparse parser of a job, which `function` runs.

  `distributed` says that it may run on several hosts, and be profiled.
  """
  module = function and sys.modules[function.__module__]
  p = flags.Parser(
    prog=module and f'python -m {module.__name__}',
    description=module and module.__doc__.splitlines()[0],
    epilog='--gin.NAME=VALUE changes one setting, such as '
    '--gin.TrainConfig.steps=1000; strings need inner quotes, as in '
    '--gin.TrainConfig.text="\'my/text\'". --dry_run prints what there is.',
    allow_abbrev=False,
  )
  p.add_argument(
    '--gin_file',
    action='append',
    required=True,
    metavar='FILE',
    help='configuration, a leaf of gin/; may be given several times '
    '(no default)',
  )
  p.add_argument(
    '--workdir',
    metavar='DIR',
    help='where everything of this run is kept; the same directory again '
    'resumes it; may be left out with --dry_run (no default)',
  )
  p.add_argument(
    '--dry_run',
    action='store_true',
    help='print the resolved configuration and the parameter count, and stop '
    '(default: no)',
  )
  if distributed:
    processes.add_flags(p)
    p.add_argument(
      '--profile_steps',
      type=flags.span('steps'),
      metavar='A:B',
      help='write a profile of steps A to B - 1 into WORKDIR/profile '
      '(default: none)',
    )
  return p


def parse(argv, function=None, distributed=False):
  """argv -> (namespace, gin bindings)."""
  p = parser(function, distributed)
  args, bindings = with_bindings(p, argv)
  if not args.workdir and not args.dry_run:
    p.error('--workdir=DIR is missing: where the run is kept')
  return args, bindings


def with_bindings(p, argv):
  """What a parser makes of argv besides --gin.NAME=VALUE, and these."""
  p.passed = ('--gin.',)
  args, rest = p.parse_known_args(argv)
  bindings = [a.removeprefix('--gin.') for a in rest if a.startswith('--gin.')]
  unknown = [a for a in rest if not a.startswith('--gin.')]
  if unknown:
    p.error(f'unknown argument {unknown[0]}; settings are --gin.NAME=VALUE')
  for binding in bindings:
    if '=' not in binding:
      p.error(f'--gin.{binding} has no value; write --gin.NAME=VALUE')
  return args, bindings


def configure(leaves, bindings, config_class):
  """Parses gin and returns an instance of `config_class`.

  Raises ValueError with one line for a missing file or a misspelt setting.
  """
  try:
    for name in leaves:
      _parse(name)
    for binding in bindings:
      _bind(binding)
    gin.finalize()
    config = gin.get_configurable(config_class)()
  except RecursionError as e:
    raise ValueError(
      'configuration: settings refer to each other in a circle, such as '
      'A = %B and B = %A'
    ) from e
  except _GIN_ERRORS as e:
    raise ValueError(f'configuration: {_one_line(e)}') from e
  checks.check(config, config_class.__name__)
  return config


def _parse(name):
  """Parses a gin file; includes are relative to it."""
  path = pathlib.Path(name).absolute()
  if not path.is_file():
    raise ValueError(f'gin file {name} not found; see the leaves in gin/')
  with contextlib.chdir(path.parent):
    for part in gin_files.parts(path.name):
      gin.parse_config(part)


def _bind(binding):
  """Parses one setting of the command line, 'NAME=VALUE'."""
  try:
    binding = gin_files.moved(binding, f'--gin.{binding}')
    gin.parse_config(binding)
  except SyntaxError as e:
    name, _, value = binding.partition('=')
    raise ValueError(
      f'the value of --gin.{binding} cannot be read; a string needs quotes '
      f'inside those of the shell: --gin.{name}="\'{value}\'"'
    ) from e
  except _GIN_ERRORS as e:
    raise ValueError(
      f'--gin.{binding}: {str(e).splitlines()[0]} --dry_run prints the settings'
    ) from e


def _one_line(error):
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  # gin quotes the line that it cannot read, however long.
  return '; '.join(
    line if len(line) <= _LONG else line[:_LONG] + '...' for line in lines[:3]
  )


@contextlib.contextmanager
def _alone(workdir):
  """Makes the work directory; a second job there at a time is refused.

  Two would write one another's checkpoints and metrics. The system lets go of
  the lock when the process ends, however. Of several processes the first has
  the lock, and all learn what came of it.
  """
  problem, file = None, contextlib.nullcontext()
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    file = open(workdir / '.lock', 'ab')
  except OSError as e:
    problem = f'--workdir={workdir} cannot be written: {e}'
  with file as held:
    if held and processes.is_first():
      problem = _lock(held, workdir)
    agreements.agree(problem)
    yield


def _lock(file, workdir):
  """What is wrong with locking a file, or None."""
  try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except (BlockingIOError, PermissionError):
    return (
      f'--workdir={workdir}: another process is training there; wait for it '
      'or give another'
    )
  except OSError:
    pass  # a file system without locks
  return None


@contextlib.contextmanager
def _recorded(workdir):
  """Keeps the configuration in the work directory of the run that it is of.

  One that fails before it has saved anything leaves that of the checkpoints.
  """
  if not processes.is_first():
    yield
    return
  path = workdir / 'config.gin'
  saved = _saved(workdir)
  try:
    before = path.read_bytes() if path.exists() else None
    weights.save_bytes(path, gin.operative_config_str().encode())
  except OSError as e:
    raise ValueError(f'--workdir={workdir} cannot be written: {e}') from e
  try:
    yield
  except _BAD_INPUT:
    if before is not None and _saved(workdir) == saved:
      weights.save_bytes(path, before)
    raise


def _saved(workdir):
  """The names of the checkpoints in a work directory."""
  return {path.name for path in workdir.glob('checkpoints/*')}


def run(function, config_class, describe, argv=None, distributed=False):
  """Runs `function(config, workdir)` as the command line says.

  Exits with 2 and one line on bad input; `describe(config)` is what --dry_run
  prints after the configuration. `distributed`: it may run on several hosts.
  """
  argv = sys.argv[1:] if argv is None else argv
  args, bindings = parse(argv, function, distributed)
  if distributed and args.profile_steps:
    steps = args.profile_steps
    bindings.append(f'{config_class.__name__}.profile_steps = {steps}')
  try:
    config = configure(args.gin_file, bindings, config_class)
    if args.dry_run:
      print(gin.operative_config_str())
      print(describe(config))
      return
    if distributed:
      processes.join(args)
    compilation.enable_cache()
    # orbax warns of each save that it had to wait for, which we mean to do, and
    # prints where in it a write has failed before we tell that it has.
    absl.logging.set_verbosity(absl.logging.FATAL)
    workdir = pathlib.Path(args.workdir)
    with _alone(workdir), _recorded(workdir):
      function(config, workdir)
  except _BAD_INPUT as e:
    if distributed and processes.is_loss(e):
      processes.leave_in_error(e)
    debugging.show(e)
    print(f'error: {_one_line(e)}', file=sys.stderr)
    processes.leave(2)
  except Exception as e:
    processes.leave_in_error(e)
    raise
