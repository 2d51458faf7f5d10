"""The scripts that start jobs: run where that can be, else read and checked."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support import tiny_leaf

LAUNCH = pathlib.Path(__file__).parents[2] / 'launch'
GKE = [
  '--image=us-docker.pkg.dev/p/r/imagen:1',
  '--bucket=my-bucket',
  '--hosts=64',
  '--accelerator=tpu-v5-lite-podslice',
  '--topology=16x16',
]
# The wheel puts it beside this Python, which need not be on PATH.
SHELLCHECK = shutil.which(
  'shellcheck',
  path=f'{pathlib.Path(sys.executable).parent}:{os.environ["PATH"]}',
)
TPU = ['--zone=us-east5-b', '--type=v5litepod-256', '--runtime=v2-alpha']


def _run(script, *arguments, **environment):
  return subprocess.run(
    ['bash', LAUNCH / script, *arguments],
    capture_output=True,
    text=True,
    cwd=LAUNCH.parent,
    env=os.environ | {'PYTHON': sys.executable} | environment,
  )


@pytest.mark.skipif(not SHELLCHECK, reason='no shellcheck')
@pytest.mark.parametrize('script', sorted(p.name for p in LAUNCH.glob('*.sh')))
def test_shellcheck_has_nothing_to_say(script):
  found = subprocess.run(
    [SHELLCHECK, '-x', LAUNCH / script],
    cwd=LAUNCH.parent,  # what a script names is told from the root
    capture_output=True,
    text=True,
  )
  assert found.returncode == 0, found.stdout


def test_the_jobset_is_filled_in():
  yaml = pytest.importorskip('yaml')
  arguments = ['--gin_file=gin/x.gin', '--gin.TrainConfig.cache="\'a b\\c\'"']
  done = _run('gke.sh', 'base-64', *GKE, '--dry_run', '--', *arguments)
  assert done.returncode == 0, done.stderr
  assert '__' not in done.stdout
  job = yaml.safe_load(done.stdout)
  assert (job['apiVersion'], job['kind']) == (
    'jobset.x-k8s.io/v1alpha2',
    'JobSet',
  )
  assert job['metadata'] == {'name': 'base-64'}
  assert job['spec']['failurePolicy'] == {'maxRestarts': 100}
  (workers,) = job['spec']['replicatedJobs']
  spec = workers['template']['spec']
  assert spec['parallelism'] == spec['completions'] == 64
  assert (spec['completionMode'], spec['backoffLimit']) == ('Indexed', 0)
  pod = spec['template']['spec']
  assert pod['restartPolicy'] == 'Never'
  assert pod['nodeSelector'] == {
    'cloud.google.com/gke-tpu-accelerator': 'tpu-v5-lite-podslice',
    'cloud.google.com/gke-tpu-topology': '16x16',
  }
  (container,) = pod['containers']
  assert container['command'] == ['python', '-m', 'imagen_jax.train']
  assert container['args'] == arguments
  assert container['resources']['limits'] == {'google.com/tpu': 4}
  mounts = {mount['name'] for mount in container['volumeMounts']}
  assert mounts == {volume['name'] for volume in pod['volumes']}


@pytest.fixture(scope='module')
def problems():
  """A function of a JobSet: paths at which its schema says no."""
  jsonschema = pytest.importorskip('jsonschema')
  path = pathlib.Path(__file__).parents[1] / 'data' / 'launch' / 'jobset.json'
  schema = json.loads(path.read_text())
  jsonschema.Draft202012Validator.check_schema(schema)
  validator = jsonschema.Draft202012Validator(schema)
  return lambda job: [e.json_path for e in validator.iter_errors(job)]


def _jobset(*flags):
  yaml = pytest.importorskip('yaml')
  done = _run('gke.sh', 'base-64', *GKE, *flags, '--dry_run', '--', '--a="b"')
  assert done.returncode == 0, done.stderr
  return yaml.safe_load(done.stdout)


def test_the_jobset_is_what_its_schema_asks_for(problems):
  assert problems(_jobset()) == []
  assert problems(_jobset('--restarts=0', '--chips_per_host=8')) == []
  # What YAML would read as a number or a truth is told as text.
  assert problems(_jobset('no', '--bucket=123', '--topology=1e3')) == []


@pytest.mark.parametrize(
  ('path', 'value'),
  [
    ('apiVersion', 'jobset.x-k8s.io/v1'),
    ('spec.failurePolicy.maxRestart', 3),
    ('spec.failurePolicy.maxRestarts', '3'),
    ('spec.replicatedJobs[0].template.spec.completionMode', 'indexed'),
    ('spec.replicatedJobs[0].template.spec.template.spec.restartPolicy', None),
    ('spec.replicatedJobs[0].template.spec.containers', []),
  ],
)
def test_the_schema_refuses_what_a_cluster_would(problems, path, value):
  job = part = _jobset()
  *names, last = path.replace('[0]', '.0').split('.')
  for name in names:
    part = part[int(name) if name.isdigit() else name]
  part[last] = value
  assert len(problems(job)) == 1


@pytest.mark.parametrize(
  ('script', 'arguments', 'said'),
  [
    ('gke.sh', ['a', *GKE], '-- --gin_file'),
    ('gke.sh', ['A_b', *GKE, '--'], "the name 'A_b' must be of lower-case"),
    ('gke.sh', ['a', *GKE[1:], '--'], '--image=... is missing'),
    ('gke.sh', ['a', *GKE, '--hosts=x', '--'], "--hosts='x' is no number"),
    ('tpu_vm.sh', ['a', *TPU[1:], '--'], 'NAME --zone=Z --type=T'),
    ('tpu_vm.sh', ['a', *TPU, '--spt', '--'], 'unknown flag --spt'),
    ('local.sh', ['two', '--'], "'two' processes: write: local.sh N --"),
    ('local.sh', ['2', '--gin_file=x'], 'write: local.sh N --'),
    ('slurm.sh', ['--gin_file=x'], 'usage: sbatch launch/slurm.sh'),
    ('slurm.sh', ['--', '--gin_file=x'], 'not inside a Slurm job'),
  ],
)
def test_what_is_missing_is_one_line(script, arguments, said):
  done = _run(script, *arguments, SLURM_JOB_ID='')
  assert done.returncode != 0
  assert said in done.stderr and done.stderr.count('\n') == 1


def test_dry_runs_print_the_commands():
  flags = ['--gin_file=x.gin', '--workdir=w', '--gin.A.b="\'c d\'"']
  local = _run('local.sh', '2', '--dry_run', '--', *flags, PORT='4711')
  first, second = local.stdout.splitlines()
  assert (
    '--coordinator=localhost:4711 --num_processes=2 --process_id=0' in first
  )
  assert second.rstrip().endswith('--process_id=1')
  slurm = _run('slurm.sh', '--dry_run', '--', *flags)
  assert slurm.stdout.startswith('srun --kill-on-bad-exit=1 ')
  assert slurm.stdout.rstrip().endswith('\\"\\\'c\\ d\\\'\\"')
  tpu = _run(
    'tpu_vm.sh', 'a', *TPU, '--spot', '--bucket=b', '--dry_run', '--', *flags
  )
  steps = [line for line in tpu.stderr.splitlines() if line.startswith('+ ')]
  assert [line.split()[1] for line in steps] == ['gcloud', 'git'] + [
    'gcloud'
  ] * 5
  assert 'queued-resources create a --zone=us-east5-b --node-id=a' in steps[0]
  assert '--spot' in steps[0] and '--worker=all' in steps[3]
  assert 'imagen_jax.train' in steps[5]
  assert 'queued-resources delete a' in steps[6]


@pytest.mark.slow  # two processes train in every run in test_hosts.py
def test_two_processes_train_here_and_stop_at_a_signal(tmp_path):
  """The real script and command: SIGTERM to it saves, and it exits with 143."""
  leaf, workdir = tiny_leaf.write(tmp_path), tmp_path / 'run'
  script = subprocess.Popen(
    ['bash', LAUNCH / 'local.sh', '2', '--devices=1', '--']
    + [f'--gin_file={leaf}', f'--workdir={workdir}'],
    env=os.environ | {'PYTHON': sys.executable, 'IMAGEN_JAX_CACHE': 'off'},
    stderr=subprocess.PIPE,
    text=True,
  )
  metrics, deadline = workdir / 'metrics.jsonl', time.monotonic() + 900
  try:
    while not metrics.exists() or not metrics.read_text():
      assert time.monotonic() < deadline
      assert script.poll() is None, script.communicate()[1]
      time.sleep(0.1)
    script.send_signal(signal.SIGTERM)
    _, said = script.communicate(timeout=600)
  finally:
    script.kill()
  assert script.returncode == 143, said
  assert said.count('stopped by SIGTERM after step') == 1, 'of one process'
  rows = [json.loads(line) for line in metrics.read_text().splitlines()]
  steps = [row['step'] for row in rows]
  np.testing.assert_array_equal(steps, np.arange(len(steps)) + 1)
  assert (workdir / 'checkpoints' / str(steps[-1])).is_dir()
  assert (workdir / 'stage' / 'model.safetensors').is_file()


def test_gke_arguments_arrive_whole():
  """Whatever they hold: the YAML has them on one line, as JSON."""
  odd = ['--a=b\nc', '--t=a\tb', '--q="\'\\', '--u=é 日', '--w=', '--__ARGS__']
  done = _run('gke.sh', 'job', *GKE, '--dry_run', '--', *odd)
  assert done.returncode == 0, done.stderr
  (line,) = [x for x in done.stdout.splitlines() if x.strip()[:5] == 'args:']
  assert json.loads(line.partition(':')[2]) == odd


@pytest.mark.parametrize('flag', ['image', 'bucket', 'accelerator', 'topology'])
@pytest.mark.parametrize(
  'value', ["x'\n  evil: 'y", "x'", 'a b', 'x\n', '$(id)']
)
def test_gke_names_that_would_change_the_yaml(flag, value):
  done = _run('gke.sh', 'job', *GKE, f'--{flag}={value}', '--dry_run', '--')
  assert done.returncode == 1
  assert f'--{flag}=' in done.stderr and 'evil' not in done.stdout


def test_gke_control_characters_are_refused():
  done = _run('gke.sh', 'job', *GKE, '--dry_run', '--', '--a=\x1b[2J')
  assert done.returncode == 1 and 'control characters' in done.stderr
  assert '\x1b' not in done.stderr
