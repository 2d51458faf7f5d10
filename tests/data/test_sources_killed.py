"""The real command on each kind of source, killed at random moments."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from imagen_jax import build_tfds
from imagen_jax.text import encoders
from tests.support import sets, tiny_cascade, zoo

pytestmark = pytest.mark.slow  # five starts of the trainer for each source

ROOT = pathlib.Path(__file__).parents[2]
STEPS, KILLS = 300, 3
COUNT, SIZE = 60, (40, 30)  # pictures of a set, and their pixels
SETTINGS = {
  'TrainConfig.batch_size': 4,
  'TrainConfig.steps': STEPS,
  'TrainConfig.log_every': 1,
  'TrainConfig.checkpoint_every': 25,
  'TrainConfig.validate_every': 100,
  'TrainConfig.validation_batches': 1,
  'TrainConfig.sample_every': 0,
  'TrainConfig.preview_prompts': 1,
  'LearningRate.decay_start': 10_000,
  'Pictures.resolution': 16,
  'Stage.resolution': 16,
  'Stage.text_width': tiny_cascade.WIDTH,
  'Stage.max_length': tiny_cascade.LENGTH,
  'Sampling.steps': 2,
  'Sampling.batch': 1,
  'UNetConfig.resolution': 16,
  'UNetConfig.text_width': tiny_cascade.WIDTH,
  'UNetConfig.widths': '(32,)',
  'UNetConfig.blocks': '(1,)',
  'UNetConfig.attention': '()',
  'UNetConfig.head_width': 32,
  'UNetConfig.embedding_width': 16,
  'UNetConfig.text_projection': 16,
  'UNetConfig.groups': 8,
  'UNetConfig.fold': 4,
}
# What the sets below need: bad pictures are met again and again.
FILES = {
  'Loading.max_bad': 0.5,
  'Filter.max_rejected': 0.2,
  'Filter.min_side': 16,
}


def _overlay(name, settings):
  flags = [f'--gin_file=gin/data/{name}.gin']
  return flags + [f'--gin.{k}={v}' for k, v in {**settings, **FILES}.items()]


def _folder(root):
  """Two files that only decoding shows to be bad, one that the index finds."""
  sets.folder(root, COUNT, SIZE)
  for i in (4, 9):
    (root / f'{i:03d}.jpg').write_bytes(zoo.bad()['cut_late.jpg'][0])
  (root / '005.jpg').write_bytes(b'')
  return root


def _of_scenes(root):
  del root
  return []


def _of_folder(root):
  return _overlay('folder', {'Folder.directory': repr(str(_folder(root)))})


def _of_shards(root):
  found = sets.shards(root, 6, COUNT // 6, SIZE)
  return _overlay('shards', {'Shards.files': repr(str(found))})


def _of_mixture(root):
  return _overlay(
    'mixture',
    {
      'Folder.directory': repr(str(_folder(root / 'folder'))),
      'Shards.files': repr(str(sets.shards(root / 'shards', 6, 9, SIZE))),
      'Mixture.weights': '(0.7, 0.3)',
    },
  )


def _of_tfds(root):
  pytest.importorskip('tensorflow')
  pytest.importorskip('tensorflow_datasets')
  made = [f'--source={_folder(root / "set")}', '--name=few', f'--out={root}']
  assert build_tfds.main([*made, '--max_bad=0.2', '--min_side=16']) == 0
  return _overlay('tfds', _tfds('few', 'captions', root))


def _of_tfrecord(root):
  tfds = pytest.importorskip('tensorflow_datasets')
  pytest.importorskip('tensorflow')
  from imagen_jax.data.emoji_scenes import tfds_builder

  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(tfds_builder.TRAIN_SIZES, 64, COUNT)
    config = tfds.download.DownloadConfig(max_examples_per_split=COUNT)
    made = tfds_builder.builder('lite_64', data_dir=str(root))
    made.download_and_prepare(download_config=config)
  return _overlay('tfds', _tfds('emoji_scenes/lite_64', 'caption', root))


def _tfds(name, caption, root):
  values = {'name': name, 'caption': caption, 'data_dir': str(root)}
  return {f'Tfds.{k}': repr(v) for k, v in values.items()}


def _of_seqio(root):
  pytest.importorskip('seqio')
  sets.folder(root, COUNT, SIZE)
  (root / '014.jpg').write_bytes(zoo.bad()['cut_late.jpg'][0])
  task = root / 'task.gin'
  task.write_text(
    'from __gin__ import dynamic_registration\n'
    'from tests.support import seqio_pictures\n'
  )
  flags = _overlay('seqio', {'SeqioTask.task': repr('pictures')})
  return [*flags, f'--gin_file={task}']


def _start(flags, workdir, root):
  command = [
    sys.executable,
    '-m',
    'imagen_jax.train',
    '--gin_file=gin/scenes_64.gin',
    *flags,
    *(f'--gin.{name}={value}' for name, value in SETTINGS.items()),
    f'--gin.TrainConfig.text={str(workdir.parent / "text")!r}',
    f'--workdir={workdir}',
  ]
  environment = {
    'IMAGEN_JAX_CACHE': str(workdir.parent / 'programs'),
    **os.environ,
    'PICTURES': str(root),
    # One device, as a user has it; threads do not help so small a network.
    'XLA_FLAGS': '--xla_cpu_multi_thread_eigen=false',
  }
  return subprocess.Popen(
    command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
  )


def _run(flags, workdir, root):
  """To the end; what was said."""
  process = _start(flags, workdir, root)
  said = process.communicate()[1]
  assert process.returncode == 0, said[-3000:]
  return said


def _kill(flags, workdir, root, after, wait):
  """Kills the run `wait` seconds after a step; returns the step it reached."""
  process, said = _start(flags, workdir, root), []
  for line in process.stderr:
    said.append(line)
    if line.startswith('step ') and int(line.split()[1].split('/')[0]) >= after:
      break
  time.sleep(wait)
  assert process.poll() is None, 'ended before it was killed:\n' + ''.join(said)
  process.send_signal(signal.SIGKILL)
  process.wait()
  process.stderr.close()
  return max(row['step'] for row in _rows(workdir))


def _rows(workdir):
  """What the metrics file says of losses; a last line may be cut."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines if line.endswith('}')]
  kept = ('step', 'loss', 'grad_norm', 'validation_loss')
  return [{k: v for k, v in row.items() if k in kept} for row in rows]


def _weights(workdir):
  return (workdir / 'stage' / 'model.safetensors').read_bytes()


@pytest.mark.parametrize(
  'make',
  [
    _of_scenes,
    _of_folder,
    _of_shards,
    _of_mixture,
    _of_tfds,
    _of_tfrecord,
    _of_seqio,
  ],
)
def test_losses_of_a_killed_run_are_those_of_a_whole_one(make, tmp_path):
  root = tmp_path / 'data'
  flags = make(root)
  encoders.save(tmp_path / 'text', tiny_cascade.encoder(tmp_path))
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  said = _run(flags, whole, root)
  assert 'resuming' not in said
  rng, reached = random.Random(), []
  for k in range(KILLS):
    after = 40 + 80 * k + rng.randrange(60)
    reached.append(_kill(flags, killed, root, after, 0.3 * rng.random()))
  assert reached[-1] < STEPS, 'killed too late to show anything'
  said = _run(flags, killed, root)
  assert 'resuming from step' in said
  expected, found = _rows(whole), _rows(killed)
  print(f'{make.__name__}: killed at {reached}, {len(found)} rows', flush=True)
  assert len(expected) == STEPS + STEPS // 100
  assert found == expected
  assert _weights(killed) == _weights(whole)
  if make is _of_folder:
    listed = (killed / 'quarantine.jsonl').read_text().splitlines()
    assert {json.loads(line)['id'] for line in listed} == {
      '004.jpg', '005.jpg', '009.jpg',
    }  # fmt: skip
