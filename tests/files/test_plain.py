"""Only plain files are opened, and no more of them read than is bounded."""

import errno
import os
import pathlib
import socket

import pytest

from imagen_jax.files import plain, retrying


def _odd(kind, path):
  """Makes what is no file at a path that is short enough for a socket."""
  if kind == 'pipe':
    os.mkfifo(path)
  elif kind == 'socket':
    return socket.socket(socket.AF_UNIX).bind(str(path))
  elif kind == 'device':
    path.symlink_to('/dev/zero')
  else:
    path.mkdir()


@pytest.mark.parametrize('kind', ['pipe', 'socket', 'device', 'directory'])
def test_what_is_no_file_is_not_waited_for(kind, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  path = pathlib.Path('x')
  _odd(kind, path)
  wanted = IsADirectoryError if kind == 'directory' else plain.NotPlain
  for open_it in (plain.opened, lambda p: plain.read(p, 10)):
    with pytest.raises(wanted) as caught:
      open_it(path)
    assert caught.value.strerror in ('is no plain file', 'is a directory')
    assert not retrying.may_pass(caught.value)


def test_names_that_no_file_has():
  for name in ('a\0b', 'a\ud800b'):
    with pytest.raises(plain.NotPlain, match='no name of a file'):
      plain.opened(name)
  with pytest.raises(OSError) as caught:
    plain.opened('x' * 100_000)
  assert caught.value.errno == errno.ENAMETOOLONG


def test_no_more_is_read_than_may_be(tmp_path):
  path = tmp_path / 'x'
  path.write_bytes(b'0123456789')
  assert plain.read(path, 10) == b'0123456789'
  with pytest.raises(plain.TooLarge, match='has 10 bytes, more than 9'):
    plain.read(path, 9)
  with open(path, 'wb') as file:
    file.truncate(1 << 40)  # a terabyte that takes no room
  with pytest.raises(plain.TooLarge):
    plain.read(path, 1 << 20)
  (tmp_path / 'link').symlink_to(path)
  with plain.opened(tmp_path / 'link') as file:
    assert file.read(3) == b'\0' * 3
  assert len(plain.read('/proc/self/status', 1 << 20)) > 100  # of no size


def test_a_line_without_an_end_costs_its_bound(tmp_path):
  path = tmp_path / 'lines'
  path.write_bytes(b'one\n' + b'x' * 100 + b'\n' + b'y' * 8 + b'\nlast')
  with plain.opened(path) as file:
    assert list(plain.lines(file, 9)) == [
      b'one\n',
      None,
      b'y' * 8 + b'\n',
      b'last',
    ]


def test_descriptors_are_closed(tmp_path):
  (tmp_path / 'file').write_bytes(b'x')
  before = len(os.listdir('/proc/self/fd'))
  for _ in range(5):
    for path in (tmp_path, '/dev/null', tmp_path / 'none'):
      with pytest.raises(OSError):
        plain.opened(path)
    plain.read(tmp_path / 'file', 1)
  assert len(os.listdir('/proc/self/fd')) == before


def test_pipes_of_the_shell_are_read_where_a_person_names_them():
  reader, writer = os.pipe()
  os.write(writer, b'a red fox')
  os.close(writer)
  try:
    with pytest.raises(plain.NotPlain):
      plain.read(f'/dev/fd/{reader}', 100)
    assert plain.read_named(f'/dev/fd/{reader}', 100) == b'a red fox'
  finally:
    os.close(reader)


def test_no_more_of_a_pipe_is_read_than_may_be(tmp_path):
  reader, writer = os.pipe()
  os.write(writer, b'x' * 200)
  try:
    with pytest.raises(plain.TooLarge, match='more than 100'):
      plain.read_named(f'/dev/fd/{reader}', 100)
  finally:
    os.close(reader)
    os.close(writer)
  os.mkfifo(tmp_path / 'fifo')
  with pytest.raises(plain.NotPlain):
    plain.read_named(tmp_path / 'fifo', 100)
