"""Command-line flags of the entry points: types, and errors on one line."""

import argparse
import sys


class Parser(argparse.ArgumentParser):
  """An ArgumentParser whose errors are one line, with exit code 2."""

  def error(self, message):
    self.exit(2, f'error: {message}; see --help\n')


def add_cascade(parser):
  """The flag of every command that draws."""
  parser.add_argument(
    '--cascade',
    metavar='DIR',
    help='cascade directory, see imagen_jax.bind (default: the one that '
    'ships with the package)',
  )


def add_seed(parser):
  """The seed of a command that draws."""
  parser.add_argument(
    '--seed',
    type=whole('seed', 0, 2**32 - 1),
    default=0,
    metavar='N',
    help='whole number from 0 to 2^32 - 1 (default: 0)',
  )


def add_server(parser, port):
  """Where a page is served, and who may come in; `port` is the default."""
  parser.add_argument(
    '--host',
    default='127.0.0.1',
    metavar='ADDRESS',
    help='to serve at; one that others can reach needs --token (default: '
    '127.0.0.1, this machine alone)',
  )
  parser.add_argument(
    '--port',
    type=whole('port', 0, 65535),
    default=port,
    metavar='N',
    help=f'to serve at, 0 = any that is free (default: {port})',
  )
  parser.add_argument(
    '--token',
    metavar='TEXT',
    help='16 or more letters and digits that a browser has to bring along; '
    'new = one is made (default: none)',
  )


def failed(error, out=None):
  """Says on one line what stopped a command; returns its exit code, 2.

  An OSError is one of writing `out`; None = nothing was being written.
  """
  if isinstance(error, OSError) and out is not None:
    error = f'--out={out} cannot be written: {error}'
  print('error:', ' '.join(str(error).splitlines()), file=sys.stderr)
  return 2


def stopped():
  """Says that Ctrl+C lost nothing; returns the exit code of such an end."""
  print('stopped; the same command goes on', file=sys.stderr)
  return 130


def whole(what, low, high):
  """A type: a whole number of `what` from `low` to `high`."""

  def parse(text):
    try:
      value = int(text)
    except ValueError:
      value = None
    if value is None or not low <= value <= high:
      raise argparse.ArgumentTypeError(
        f'{text!r} is no whole number ({what}) from {low} to {high}'
      )
    return value

  return parse


def span(what):
  """A type: 'A:B' -> (A, B), `what` from A, which is 1 or more, to B - 1."""

  def parse(text):
    first, _, end = text.partition(':')
    if not (first.isdecimal() and end.isdecimal()) or not 0 < int(first) < int(
      end
    ):
      raise argparse.ArgumentTypeError(
        f'{text!r} is no span of {what}; write 10:13 for 10, 11 and 12'
      )
    return int(first), int(end)

  return parse


def list_of(kind):
  """A type: one value or several separated by commas, each `kind`."""

  def parse(text):
    try:
      return [kind(part) for part in text.split(',')]
    except ValueError:
      numbers = 'whole numbers' if kind is int else 'numbers'
      raise argparse.ArgumentTypeError(
        f'{text!r} is no list of {numbers} separated by commas'
      ) from None

  return parse
