"""The real command on the real leaf, killed and run again."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 8


def _command(workdir):
  settings = {
    'TrainConfig.batch_size': 8,
    'TrainConfig.steps': STEPS,
    'TrainConfig.log_every': 1,
    'TrainConfig.checkpoint_every': 2,
    'TrainConfig.validate_every': 1000,
    'TrainConfig.validation_batches': 1,
    'TrainConfig.sample_every': 1000,
    'TrainConfig.preview_prompts': 1,
  }
  return [
    sys.executable,
    '-m',
    'imagen_jax.train',
    f'--gin_file={ROOT / "gin" / "scenes_64.gin"}',
    f'--workdir={workdir}',
    *(f'--gin.{name}={value}' for name, value in settings.items()),
  ]


def _steps(workdir):
  path = workdir / 'metrics.jsonl'
  if not path.exists():
    return []
  lines = path.read_text().splitlines()
  rows = [json.loads(line) for line in lines if line.endswith('}')]
  return [row['step'] for row in rows if 'loss' in row]


def _weights(workdir):
  return safetensors.numpy.load_file(workdir / 'stage' / 'model.safetensors')


@pytest.mark.slow
def test_killed_run_continues_to_the_same_weights(tmp_path):
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  subprocess.run(_command(whole), cwd=ROOT, check=True)
  process = subprocess.Popen(_command(killed), cwd=ROOT)
  deadline = time.monotonic() + 900
  while max(_steps(killed), default=0) < 3:
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.05)
  process.send_signal(signal.SIGKILL)
  process.wait()
  assert max(_steps(killed)) < STEPS, 'killed too late to show anything'
  subprocess.run(_command(killed), cwd=ROOT, check=True)
  assert _steps(killed) == list(range(1, STEPS + 1))
  expected, found = _weights(whole), _weights(killed)
  assert expected.keys() == found.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(value, found[name], err_msg=name)
