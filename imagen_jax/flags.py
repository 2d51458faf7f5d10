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


def failed(error, out=None):
  """Says on one line what stopped a command; returns its exit code, 2.

  An OSError is one of writing `out`; None = nothing was being written.
  """
  if isinstance(error, OSError) and out is not None:
    error = f'--out={out} cannot be written: {error}'
  print('error:', ' '.join(str(error).splitlines()), file=sys.stderr)
  return 2


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
