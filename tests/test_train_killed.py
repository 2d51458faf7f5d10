"""The real command on the real leaf, killed and run again."""

import json
import os
import pathlib
import re
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


@pytest.mark.slow
def test_kills_across_processes_and_meshes(tmp_path):
  """Twenty SIGKILL and five SIGTERM at random moments; see `kill_matrix`."""
  flags = os.environ.get('XLA_FLAGS', '')
  flags = re.sub(r'--xla_force_host_platform_device_count=\d+', '', flags)
  done = subprocess.run(
    [
      sys.executable,
      '-m',
      'tests.support.kill_matrix',
      f'--out={tmp_path / "out"}',
    ],
    cwd=ROOT,
    env=os.environ | {'XLA_FLAGS': flags},
  )
  assert done.returncode == 0
  report = json.loads((tmp_path / 'out' / 'report.json').read_text())
  sent = [one['signal'] for one in report['interruptions']]
  assert sent.count('SIGKILL') == 20 and sent.count('SIGTERM') == 5
  went_on = [one for one in report['restarts'] if one['resumed_from']]
  assert len(went_on) >= 18, 'kills must come after saves'
  assert any(one['saved_by'] != one['place'] for one in went_on)
