"""Shards appear whole, the same every time, and one process writes them."""

import errno
import pathlib
import random
import resource
import signal
import subprocess
import sys

import pytest

from imagen_jax.text import cache, cache_writer
from tests.support import tiny_cache

ROOT = pathlib.Path(__file__).parents[2]


def _bytes(directory):
  return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize('dtype', ['bfloat16', 'int8'])
def test_same_bytes_whatever_the_order(tmp_path, dtype):
  made = tiny_cache.manifest(dtype=dtype)
  rows = tiny_cache.entries(tiny_cache.embeddings(), 0, made.shards)
  paths = []
  for seed in range(2):
    random.Random(seed).shuffle(rows)
    directory = tmp_path / str(seed)
    cache_writer.adopt(directory, made)
    size = cache_writer.write_shard(directory, made, 0, rows)
    paths.append(directory)
  assert _bytes(paths[0]) == _bytes(paths[1])
  assert size == cache.shard_path(paths[0], 0, made.shards).stat().st_size


def test_hosts_share_the_shards_out():
  own = [cache_writer.own_shards(10, host, 3) for host in range(3)]
  assert sorted(n for shards in own for n in shards) == list(range(10))


def test_adopting_the_cache_of_another_job(tmp_path):
  cache_writer.adopt(tmp_path, tiny_cache.manifest())
  cache_writer.adopt(tmp_path, tiny_cache.manifest())  # the same job again
  with pytest.raises(ValueError, match='dtype is bfloat16 there and int8 here'):
    cache_writer.adopt(tmp_path, tiny_cache.manifest(dtype='int8'))
  other = tiny_cache.manifest(encoder={'kind': 't5', 'weights': 'b' * 64})
  with pytest.raises(ValueError, match='encoder.weights is aaa.*give another'):
    cache_writer.adopt(tmp_path, other)


def test_shards_without_a_manifest_are_left_alone(tmp_path):
  (tmp_path / 'shard_00000-of-00003.arrayrecord').write_bytes(b'precious')
  with pytest.raises(ValueError, match='holds shards but no cache.json'):
    cache_writer.adopt(tmp_path, tiny_cache.manifest())


HOLDER = """
import sys
from imagen_jax.text import cache_writer
with cache_writer.lock(sys.argv[1], range(1, 3)):
  print('locked', flush=True)
  sys.stdin.read()
"""


def test_two_jobs_on_one_cache(tmp_path):
  """Refused where they share a shard, until the other is gone, however."""
  holder = subprocess.Popen(
    [sys.executable, '-c', HOLDER, tmp_path],
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert holder.stdout.readline() == 'locked\n'
  with pytest.raises(ValueError, match='another process is writing shard 1'):
    with cache_writer.lock(tmp_path, range(3)):
      pass
  with cache_writer.lock(tmp_path, [0, 3]):
    pass  # another host of the job
  holder.send_signal(signal.SIGKILL)
  holder.wait()
  with cache_writer.lock(tmp_path, range(3)):
    pass


def test_no_room_is_one_line_and_keeps_what_is_finished(tmp_path):
  made = tiny_cache.manifest(width=4096)
  table = tiny_cache.embeddings(width=made.width)
  cache_writer.adopt(tmp_path, made)
  first = tiny_cache.entries(table, 0, made.shards)[:2]
  cache_writer.write_shard(tmp_path, made, 0, first)
  before = _bytes(tmp_path)
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
  try:
    with pytest.raises(ValueError) as stop:
      rows = tiny_cache.entries(table, 1, made.shards)
      cache_writer.write_shard(tmp_path, made, 1, rows)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, ignored)
  said = str(stop.value)
  assert 'File too large' in said and 'make room and run the same' in said
  assert '\n' not in said
  assert _bytes(tmp_path) == before


def test_a_failing_rename_leaves_nothing(tmp_path, monkeypatch):
  made = tiny_cache.manifest()
  cache_writer.adopt(tmp_path, made)

  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(cache_writer.os, 'replace', full)
  with pytest.raises(ValueError, match='No space left on device'):
    cache_writer.write_shard(tmp_path, made, 0, [])
  assert [path.name for path in tmp_path.iterdir()] == [cache.FILE]
