"""The command: it serves, survives a kill, reports, and refuses in one line."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest

from imagen_jax import rate
from imagen_jax.files import pictures as files
from tests.support import browsing, studio

ROOT = pathlib.Path(__file__).parents[1]


def _flags(tmp_path, *more):
  return [
    f'--a={studio.pictures(tmp_path / "first")}',
    f'--b={studio.pictures(tmp_path / "second", value=90)}',
    f'--out={tmp_path / "study.sqlite"}',
    *more,
  ]


def _serve(flags):
  """A server process and its address."""
  process = subprocess.Popen(
    [sys.executable, '-m', 'imagen_jax.rate', *flags, '--port=0'],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  process.stdout.readline()
  port = re.fullmatch(
    r'http://127\.0\.0\.1:(\d+)/\n', process.stdout.readline()
  )
  return process, ('127.0.0.1', int(port[1]))


def test_votes_survive_a_kill_and_are_reported(tmp_path, capsys):
  flags = _flags(tmp_path, '--simulated')
  process, address = _serve(flags)
  visitor = browsing.Visitor(address)
  visitor.post('/begin')
  visitor.get('/')
  answers = {'quality': 'left', 'caption': 'none'}
  assert visitor.post('/vote', ticket=visitor.ticket(), **answers) == 303
  shown = visitor.get('/')
  os.kill(process.pid, signal.SIGKILL)
  process.wait()
  process.stdout.close()
  process, address = _serve(flags)
  visitor = browsing.Visitor(address, visitor.cookies)
  assert visitor.get('/') == shown and 'Pair 2 of 4' in shown
  assert visitor.post('/vote', ticket=visitor.ticket(), **answers) == 303
  process.terminate()
  assert 'holds 4 votes of 1 raters' in process.stdout.read()
  assert process.wait() == 0
  process.stdout.close()
  assert rate.main([flags[2], '--report']) == 0
  said = capsys.readouterr().out
  assert 'pairs v1, 4 pairs, 1 simulated raters, 4 votes' in said
  assert 'A = first, B = second' in said
  names = ['study.png', 'study_preference.csv', 'study_votes.csv']
  assert all((tmp_path / n).stat().st_size and n in said for n in names)
  text = files.read_png(tmp_path / 'study.png')[1]
  assert text['raters'] == 'simulated' and len(text['study']) == 64


def _refused(flags, capsys):
  """What is said on the one line, with exit code 2."""
  try:
    code = rate.main(flags)
  except SystemExit as stop:  # a flag that argparse refuses
    code = stop.code
  assert code == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('error: ')
  return line


@pytest.mark.parametrize(
  ('more', 'said'),
  [
    (['--host=0.0.0.0'], 'give --token=new as well'),
    (['--token=short'], '--token has 5 characters'),
    (['--names=one'], 'not two different names'),
    (['--names=x,x'], 'not two different names'),
    (['--protocol=other'], "invalid choice: 'other'"),
    (['--batch=0'], 'no whole number (pairs) from 1'),
    (['--protocol=drawbench', '--batch=3'], 'a batch of drawbench is a categ'),
    (['--categories=none.csv'], '--categories=none.csv cannot be read'),
    (['--out=no/such/study.sqlite'], 'cannot be written'),
    (['--out=imagen_jax'], '--out=imagen_jax is a directory'),
    (['--out=pyproject.toml'], 'pyproject.toml is no SQLite database'),
    (['--a=nowhere'], '--a=nowhere is no directory'),
    (['--a=docs'], '--a=docs holds no picture with a prompt'),
    (['--out=none.sqlite', '--report'], '--out=none.sqlite does not exist'),
    (['--prot=pairs'], 'unknown flag --prot'),
  ],
)
def test_bad_input_is_one_line(more, said, tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(ROOT)
  assert said in _refused([*_flags(tmp_path), *more], capsys)


def test_different_prompts(tmp_path, capsys):
  flags = _flags(tmp_path)
  studio.pictures(tmp_path / 'first', [*studio.PROMPTS, 'more'])
  line = _refused(flags, capsys)
  assert "--a has the prompt 'more', --b has not; draw both from one" in line
  assert not (tmp_path / 'study.sqlite').exists()


def test_a_port_in_use(tmp_path, capsys):
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
    line = _refused(_flags(tmp_path, f'--port={port}'), capsys)
  assert f'port {port} of 127.0.0.1 is in use; give another' in line


def test_nothing_to_serve_and_nothing_to_tell(tmp_path, capsys):
  out = f'--out={tmp_path / "study.sqlite"}'
  assert '--a=DIR and --b=DIR missing' in _refused([out], capsys)
  studio.opened(tmp_path).close()
  assert 'holds no votes yet' in _refused([out, '--report'], capsys)
  assert 'arguments are required: --out' in _refused([], capsys)


def test_help_names_every_flag_with_its_default(capsys):
  with pytest.raises(SystemExit) as stop:
    rate.main(['--help'])
  assert not stop.value.code
  text = ' '.join(capsys.readouterr().out.split())
  for action in rate.parser()._actions:
    if action.dest != 'help':
      assert 'default' in action.help
      assert all(option in text for option in action.option_strings)
