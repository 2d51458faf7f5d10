"""The real embedding job with the shipped encoder, killed three times."""

import hashlib
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from imagen_jax.data.emoji_scenes import source
from imagen_jax.training import inputs

ROOT = pathlib.Path(__file__).parents[1]
SHARDS = 24


def _command(captions, out):
  return [
    sys.executable,
    '-m',
    'imagen_jax.embed',
    f'--encoder={inputs.SHIPPED_TEXT}',
    f'--captions={captions}',
    f'--out={out}',
    f'--shards={SHARDS}',
    '--batch_tokens=512',
  ]


def _files(directory):
  """sha256 of every file below, by its path."""
  return {
    str(path.relative_to(directory)): hashlib.sha256(
      path.read_bytes()
    ).hexdigest()
    for path in sorted(directory.rglob('*'))
    if path.is_file()
  }


def _shards(directory):
  return {
    name: value
    for name, value in (_files(directory) if directory.exists() else {}).items()
    if name.endswith('.arrayrecord')
  }


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_job_killed_three_times_ends_with_the_same_files(seed, tmp_path):
  scenes = source.EmojiScenes(split='train', vocabulary='lite')
  captions = tmp_path / 'captions.txt'
  captions.write_text('\n'.join(scenes.caption(i) for i in range(3000)) + '\n')
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  subprocess.run(_command(captions, whole), cwd=ROOT, check=True)
  expected = _files(whole)
  assert len(_shards(whole)) == SHARDS

  rng = random.Random(seed)
  finished = {}
  for done in sorted(rng.sample(range(1, SHARDS - 2), 3)):
    process = subprocess.Popen(_command(captions, killed), cwd=ROOT)
    while len(_shards(killed)) < done:
      assert process.poll() is None, 'ended before it was killed'
      time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.1))  # inside the work on a shard, anywhere
    process.send_signal(signal.SIGKILL)
    process.wait()
    now = _shards(killed)
    assert finished.items() <= now.items()  # nothing finished is touched
    assert len(now) < SHARDS, 'killed too late to show anything'
    finished = now
  subprocess.run(_command(captions, killed), cwd=ROOT, check=True)
  assert _files(killed) == expected
