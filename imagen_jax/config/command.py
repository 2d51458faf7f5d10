"""The one guard around every command: how it begins, and how it ends.

  if __name__ == '__main__':
    command.run(main)

Whatever a command does not tell itself ends it with one line and exit code 2;
--debug, or IMAGEN_JAX_DEBUG=1, prints where it happened as well.
"""

import os
import sys

from imagen_jax.config import debugging, environment, terminal

_LONG = 500  # characters of a message


def run(main, *args, **settings):
  """Runs `main(*args, **settings)` and ends the process with its exit code."""
  environment.in_utf8()
  environment.settle()
  sys.argv[1:] = debugging.taken(sys.argv[1:])
  terminal.guard()
  sys.exit(guarded(main, *args, **settings))


def guarded(main, *args, **settings):
  """The exit code of a command: its own, or that of how it ended.

  2 after one line for any exception, 130 for Ctrl+C.
  """
  try:
    code = main(*args, **settings)
    sys.stdout.flush()  # here, where a closed pipe can be told
    return code
  except SystemExit:
    raise
  except KeyboardInterrupt:
    _say('stopped')
    return 130
  except BrokenPipeError as e:
    # Python would flush it once more on its way out.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return _end(e)
  except BaseException as e:  # a panic of Rust's is no Exception
    return _end(e)


def _end(error):
  debugging.show(error)
  _say(f'error: {told(error)}')
  return 2


def _say(line):
  print(line, file=sys.stderr, flush=True)


def told(error: BaseException) -> str:
  """One line on an exception that no command has told itself."""
  text = ' '.join(str(error).split())
  text = text if len(text) <= _LONG else f'{text[:_LONG]}...'
  if isinstance(error, BrokenPipeError):
    return 'what reads the output has ended, such as head; the rest is not done'
  if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in text:
    return f'the memory is not enough ({text or "no more said"}); ask for less'
  if isinstance(error, RecursionError):
    return f'something that was read is nested too deep ({text})'
  if 'initialize backend' in text or 'Unknown backend' in text:
    asked = os.environ.get('JAX_PLATFORMS')
    return (
      f'JAX_PLATFORMS={asked} asks for what is not here; unset it to take '
      f'what there is, or set it to cpu ({text})'
    )
  if isinstance(error, OSError | ValueError):
    return text
  return (
    f'{type(error).__name__}: {text or "no more said"}; nobody expected this: '
    'the same command with --debug shows where it happened'
  )
