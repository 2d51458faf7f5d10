"""--debug: errors that are told in one line show their traceback as well."""

import os
import sys
import traceback

FLAG = '--debug'
VARIABLE = 'IMAGEN_JAX_DEBUG'


def taken(argv: list[str]) -> list[str]:
  """The arguments without --debug, which is on from here if it was there."""
  end = argv.index('--') if '--' in argv else len(argv)
  if FLAG in argv[:end]:
    os.environ[VARIABLE] = '1'  # for the processes that it starts too
  return [a for a in argv[:end] if a != FLAG] + argv[end:]


def is_on() -> bool:
  return os.environ.get(VARIABLE, '0') not in ('', '0')


def show(error) -> None:
  """Prints the traceback of an exception to standard error, if wanted."""
  if is_on() and isinstance(error, BaseException):
    traceback.print_exception(error, file=sys.stderr)
