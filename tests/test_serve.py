"""The command: it serves, draws, ends at once, and refuses in one line."""

import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest

from imagen_jax import serve
from imagen_jax.files import pictures
from tests.support import painting, tiny_cascade

ROOT = pathlib.Path(__file__).parents[1]


def start(*flags):
  """A server process and its address."""
  # A shell has its background jobs ignore Ctrl-C, and so would the server.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  process = subprocess.Popen(
    [
      sys.executable,
      '-m',
      'imagen_jax.serve',
      f'--cascade={tiny_cascade.directory()}',
      '--port=0',
      *flags,
    ],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  said = process.stdout.readline() + process.stdout.readline()
  port = re.search(r'http://127\.0\.0\.1:(\d+)/\n', said)
  return process, ('127.0.0.1', int(port[1]))


def test_a_picture_is_drawn_and_kept_and_ctrl_c_ends(tmp_path):
  process, address = start(f'--out={tmp_path / "a" / "b"}')
  with process:
    try:
      guest = painting.Guest(address)
      id = guest.draw('a red fox', seed='3', upto='8')
      assert guest.finished(id)['state'] == 'done'
      data = guest.get(f'/png/{id}')
    finally:
      process.send_signal(signal.SIGINT)
    try:
      out, err = process.communicate(timeout=60)
    finally:
      process.kill()  # or the test would wait for ever
  assert process.returncode == 0 and 'Traceback' not in err
  assert out == (
    f'stopped; the 1 pictures of the history are kept in {tmp_path / "a/b"}\n'
  )
  (path,) = (tmp_path / 'a' / 'b').iterdir()
  assert re.fullmatch(r'\d{8}-\d{6}_a-red-fox_seed3\.png', path.name)
  assert path.read_bytes() == data
  assert pictures.read_png(path)[1]['prompt'] == 'a red fox'


def refused(flags, capsys):
  """What is said on the one line, with exit code 2."""
  try:
    code = serve.main(flags)
  except SystemExit as stop:  # a flag that argparse refuses
    code = stop.code
  assert code == 2
  out, err = capsys.readouterr()
  (line,) = err.splitlines()
  assert line.startswith('error: ') and not out
  return line


@pytest.mark.parametrize(
  ('flags', 'said'),
  [
    (['--cascade=nowhere'], 'cascade directory nowhere does not exist'),
    (['--cascade=.'], 'is no cascade directory'),
    (['--host=0.0.0.0'], 'give --token=new as well'),
    (['--token=short'], '--token has 5 characters'),
    (['--queue=0'], "'0' is no whole number (pictures) from 1 to 1000"),
    (['--history=x'], "'x' is no whole number"),
    (['--port=65536'], "'65536' is no whole number (port)"),
    (['--out=/dev/null/x'], '--out=/dev/null/x cannot be written'),
    (['--que=3'], 'unknown flag --que: the nearest is --queue'),
  ],
)
def test_bad_input_is_one_line(flags, said, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(serve.compilation, 'enable_cache', lambda: None)
  assert said in refused(['--port=0', *flags], capsys)


def test_a_port_in_use(capsys):
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
    line = refused([f'--port={port}'], capsys)
  assert f'port {port} of 127.0.0.1 is in use; give another with' in line


def test_help_names_every_flag_with_its_default(capsys):
  with pytest.raises(SystemExit) as stop:
    serve.main(['--help'])
  assert stop.value.code == 0
  text = capsys.readouterr().out
  for action in serve.parser()._actions:
    if action.dest != 'help':
      assert f'--{action.dest}' in text and 'default' in action.help
