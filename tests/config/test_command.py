"""How every command ends: one line, the right code, a traceback if wanted."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

import imagen_jax
from imagen_jax.config import command, debugging

PACKAGE = pathlib.Path(imagen_jax.__file__).parent


class Panic(BaseException):
  """As Rust's libraries have it."""


def _raising(error):
  def main():
    raise error

  return main


def _deep():
  return _deep()


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
  monkeypatch.setenv(debugging.VARIABLE, '')


@pytest.mark.parametrize(
  'main, code, said',
  [
    (_raising(RuntimeError('a\nb')), 2, 'error: RuntimeError: a b; nobody'),
    (_raising(KeyError('x')), 2, "error: KeyError: 'x'; nobody expected"),
    (_raising(ValueError('no such fox')), 2, 'error: no such fox\n'),
    (_raising(OSError(28, 'No space', 'f')), 2, 'error: [Errno 28] No space'),
    (_raising(MemoryError()), 2, 'error: the memory is not enough'),
    (_raising(Panic('overflow')), 2, 'error: Panic: overflow; nobody'),
    (_raising(RuntimeError('x' * 9999)), 2, 'error: RuntimeError: xxx'),
    (_raising(RuntimeError('RESOURCE_EXHAUSTED')), 2, 'error: the memory is'),
    (_raising(KeyboardInterrupt()), 130, 'stopped\n'),
    (_deep, 2, 'error: something that was read is nested too deep'),
  ],
)  # fmt: skip
def test_one_line_and_a_code(main, code, said, capsys):
  assert command.guarded(main) == code
  err = capsys.readouterr().err
  assert err.startswith(said) and len(err.splitlines()) == 1
  assert len(err) < 800


def test_a_command_that_ends_well():
  assert command.guarded(lambda a, b=0: a + b, 1, b=2) == 3
  with pytest.raises(SystemExit) as caught:
    command.guarded(_raising(SystemExit(7)))
  assert caught.value.code == 7


def test_the_traceback_is_shown_when_asked_for(monkeypatch, capsys):
  assert debugging.taken(['a', '--debug', '--', '--debug']) == [
    'a',
    '--',
    '--debug',
  ]
  assert debugging.is_on()
  assert command.guarded(_raising(ValueError('no fox'))) == 2
  err = capsys.readouterr().err
  assert 'Traceback' in err and err.endswith('error: no fox\n')
  monkeypatch.setenv(debugging.VARIABLE, '0')
  assert not debugging.is_on()


def _ends(path):
  """What a command's file does where it is run."""
  tree = ast.parse(path.read_text(encoding='utf-8'))
  last = tree.body[-1]
  assert isinstance(last, ast.If) and '__main__' in ast.unparse(last.test)
  return ast.unparse(last.body[-1])


def test_every_command_is_guarded():
  for path in PACKAGE.glob('[a-z]*.py'):
    assert _ends(path).startswith('command.run('), path
  assert _ends(PACKAGE / '__main__.py') == 'run()'


def _run(*words, **environment):
  return subprocess.run(
    [sys.executable, '-m', *words],
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
  )


def test_a_reader_that_has_ended():
  """As `| head` does; no traceback, and nothing of Python's own farewell."""
  done = subprocess.run(
    f'{sys.executable} -m imagen_jax.plan --topologies; echo $? >&2',
    shell=True,
    stdout=os.open(os.devnull, os.O_WRONLY),
    stderr=subprocess.PIPE,
    text=True,
  )
  assert done.stderr == '0\n'
  read, write = os.pipe()
  os.close(read)
  done = subprocess.run(
    [sys.executable, '-m', 'imagen_jax.plan', '--topologies'],
    stdout=write,
    stderr=subprocess.PIPE,
    text=True,
  )
  os.close(write)
  assert done.returncode == 2
  assert done.stderr.startswith('error: what reads the output has ended')
  assert done.stderr.count('\n') == 1


def test_names_in_messages_are_spelled():
  done = _run('imagen_jax.report', '--workdir=a\x1b]0;x\x07b\u202e')
  assert done.returncode == 2
  assert r'a\x1b]0;x\x07b\u202e' in done.stderr
  assert '\x1b' not in done.stderr


def test_debug_of_a_command():
  done = _run('imagen_jax', 'report', '--workdir=/nonesuch', '--debug')
  assert done.returncode == 2
  assert 'Traceback' in done.stderr
  assert done.stderr.splitlines()[-1].startswith('error: --workdir=/nonesuch')
  done = _run('imagen_jax.report', '--workdir=/n', IMAGEN_JAX_DEBUG='1')
  assert 'Traceback' in done.stderr
