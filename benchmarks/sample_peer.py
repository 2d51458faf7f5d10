"""Sampling beside diffusers' IF U-Net, and what a step costs by part.

  python benchmarks/sample_peer.py --torch_python=PYTHON [--cores=1]

Both sides draw 64 px pictures with random weights of one `layout`: DDPM,
classifier-free guidance in one batch, dynamic thresholding, the same number of
steps, float32. Each runs in a process of its own on the cores given; the two
take turns, so that what else the machine does falls on both. PYTHON is that of
an environment with torch and diffusers. Times are without loading and
compiling; the best round counts.

Printed for a single picture and for a batch of 8: pictures a second, products
a picture (counted on each side), the ratio of pictures and of products a
second; a step of our sampler beside the network's own time at the same batch;
and the share of each part of a step, by profiler.
"""

import argparse
import collections
import glob
import gzip
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import layout
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAYOUT = layout.Layout()
STEPS = {1: 4, 8: 1}  # of a picture, by batch
GUIDANCE = 5.0
_LONG = 256  # steps of the grid that single steps are taken from


class Ours:
  """This package's sampler; the text is read once for all steps."""

  def __init__(self, batch):
    sys.path.insert(0, str(ROOT))
    import jax

    from imagen_jax import stages
    from imagen_jax.diffusion import grids, schedules
    from imagen_jax.sampling import bundles, stage_programs

    self.jax, self.batch = jax, batch
    self.stage = stages.Stage(
      name='peer',
      resolution=layout.RESOLUTION,
      model=LAYOUT.config(),
      schedule=schedules.Cosine(),
      prediction='eps',
      text_width=LAYOUT.text_width,
      max_length=LAYOUT.tokens,
      sampling=stages.Sampling(
        sampler='ddpm', steps=STEPS[batch], guidance=GUIDANCE, batch=batch
      ),
    )
    network = stages.network(self.stage)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(
      network.init, jax.random.key(0), **stages.example_inputs(self.stage)
    )['params']
    self.params = jax.tree.map(
      lambda x: jax.numpy.asarray(0.03 * rng.standard_normal(x.shape, 'f')),
      shapes,
    )
    shape = (batch, LAYOUT.tokens, LAYOUT.text_width)
    self.text = rng.standard_normal(shape, np.float32), np.ones(shape[:2], bool)
    self.programs = stage_programs.make(
      self.stage,
      stage_programs.compiled_part(self.stage, self.stage.sampling),
      (layout.RESOLUTION,) * 2,
      None,
      None,
    )
    self.carry, self.keys, self.levels, self.inputs = self.programs.begin(
      self.params,
      bundles.Seeds(seed=np.uint32(0), index=np.arange(batch, dtype=np.int32)),
      bundles.Conditions(text=self.text[0], mask=self.text[1]),
      stage_programs.Numbers(
        fractions=grids.fractions(_LONG, _LONG, 0),
        steps=np.int32(_LONG),
        guidance=np.float32(GUIDANCE),
        aug_level=np.float32(0),
      ),
      None,
      None,
    )
    self.at = 0
    text, mask = (np.concatenate([x, x]) for x in self.text)
    self.given = (
      jax.jit(lambda p, *t: stages.text_context(self.stage, p, *t))(
        self.params, text, mask
      ),
      mask,
    )
    self.apply = jax.jit(lambda p, *given: network.apply({'params': p}, *given))

  def draw(self):
    from imagen_jax.sampling import bundles, stage_sampler

    stage_sampler.draw(
      self.stage,
      self.params,
      self.stage.sampling,
      bundles.Conditions(text=self.text[0], mask=self.text[1]),
      bundles.Seeds(seed=0, index=range(self.batch)),
    )

  def steps(self):
    n = STEPS[self.batch]
    self.carry = self.programs.run(
      self.carry,
      np.int32(self.at),
      np.int32(n),
      self.levels,
      self.keys,
      (self.params, self.inputs),
    )
    self.carry.z.block_until_ready()
    self.at += n

  def network(self):
    z = self.jax.numpy.concatenate([self.carry.z] * 2)
    for _ in range(STEPS[self.batch]):
      said = self.apply(self.params, z, np.zeros(len(z), 'f'), *self.given)
      said.block_until_ready()

  def about(self):
    from imagen_jax.training import flops

    z = np.zeros((2 * self.batch, layout.RESOLUTION, layout.RESOLUTION, 3), 'f')
    leaves = self.jax.tree.leaves(self.params)
    return {
      'parameters': sum(x.size for x in leaves),
      'products': flops.count(
        self.apply, self.params, z, z[:, 0, 0, 0], *self.given
      ),
    }

  def parts(self):
    """Seconds of a step by part, from a trace and the program's own names."""
    given = self.carry, np.int32(self.at), np.int32(1), self.levels
    program = self.programs.run.lower(
      *given, self.keys, (self.params, self.inputs)
    ).compile()
    found = re.findall(r'%?([\w.\-]+) = .*op_name="([^"]*)"', program.as_text())
    named, seconds = dict(found), collections.Counter()
    with tempfile.TemporaryDirectory() as directory:
      with self.jax.profiler.trace(directory):
        self.steps()
      (path,) = glob.glob(f'{directory}/**/*.trace.json.gz', recursive=True)
      events = json.loads(gzip.open(path).read())['traceEvents']
    for event in events:
      name = event.get('name', '').removeprefix('end: ')
      if event.get('ph') == 'X' and name in named:
        part = _our_part(name, named[name])
        seconds[part] += event['dur'] * 1e-6 / STEPS[self.batch]
    return dict(seconds)


def _our_part(name, op):
  """What an instruction belongs to, by its name and where it comes from."""
  if 'UNet' not in op:
    return 'guidance, threshold, solver'
  if 'attention' in op:
    return 'attention'
  if 'conv' in op.rsplit('/', 1)[-1]:
    return 'convolution'
  if re.search(r'/(output_)?norm', op):
    return 'norms'
  return 'dense layers, skips and the rest'


class Theirs:
  """diffusers' U-Net and scheduler, called as its IF pipeline does."""

  def __init__(self, batch):
    import diffusers
    import torch

    torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
    torch.manual_seed(0)
    self.torch, self.batch = torch, batch
    self.unet = LAYOUT.diffusers_unet().eval()
    self.scheduler = diffusers.DDPMScheduler(
      beta_schedule='squaredcos_cap_v2',
      variance_type='fixed_small',
      thresholding=True,
      dynamic_thresholding_ratio=0.995,
      sample_max_value=100.0,
    )
    self.text = torch.randn(2 * batch, LAYOUT.tokens, LAYOUT.text_width)

  def _start(self):
    shape = (self.batch, 3, layout.RESOLUTION, layout.RESOLUTION)
    return self.torch.randn(shape)

  def draw(self):
    with self.torch.inference_mode():
      z = self._start()
      self.scheduler.set_timesteps(STEPS[self.batch])
      for t in self.scheduler.timesteps:
        said = self.unet(
          self.torch.cat([z, z]), t, encoder_hidden_states=self.text
        ).sample
        null, text = said.chunk(2)
        z = self.scheduler.step(null + GUIDANCE * (text - null), t, z)
        z = z.prev_sample
      (255 * (z / 2 + 0.5).clamp(0, 1)).round().to(self.torch.uint8).numpy()

  def network(self):
    with self.torch.inference_mode():
      z = self._start()
      for _ in range(STEPS[self.batch]):
        self.unet(self.torch.cat([z, z]), 500, encoder_hidden_states=self.text)

  def about(self):
    from torch.utils import flop_counter

    # The counter does not know the CPU's fused attention.
    fused = self.torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def count_fused(q, k, v, *rest, **more):
      return flop_counter.sdpa_flop_count(q, k, v)

    with flop_counter.FlopCounterMode(
      display=False, custom_mapping={fused: count_fused}
    ) as counter:
      with self.torch.inference_mode():
        z = self._start()
        self.unet(self.torch.cat([z, z]), 500, encoder_hidden_states=self.text)
    return {
      'parameters': sum(p.numel() for p in self.unet.parameters()),
      'products': counter.get_total_flops(),
    }

  def parts(self):
    profiler, seconds = self.torch.profiler, collections.Counter()
    with profiler.profile() as profile:
      self.draw()
    for event in profile.key_averages():
      spent = event.self_cpu_time_total * 1e-6 / STEPS[self.batch]
      seconds[_their_part(event.key)] += spent
    return dict(seconds)


def _their_part(key):
  if 'conv' in key:
    return 'convolution'
  if re.search('bmm|softmax|attention', key):  # the products of a head
    return 'attention'
  if 'norm' in key:
    return 'norms'
  if re.search('sort|quantile', key):
    return 'guidance, threshold, solver'
  return 'dense layers, skips and the rest'


def child(side):
  """Serves one side: a line {batch, what} in, a line of figures out."""
  made = {}
  print('ready', flush=True)
  for line in sys.stdin:
    batch, what = json.loads(line)
    if batch not in made:
      made.clear()  # one at a time in memory
      made[batch] = {'ours': Ours, 'theirs': Theirs}[side](batch)
    begun, cpu = time.perf_counter(), time.process_time()
    said = getattr(made[batch], what)()
    figures = said or {
      'seconds': time.perf_counter() - begun,
      'cpu': time.process_time() - cpu,
    }
    print(json.dumps(figures), flush=True)


class Side:
  """A process that answers for one side."""

  def __init__(self, python, side, cores):
    environment = os.environ | {'OMP_NUM_THREADS': str(cores)}
    if cores == 1:  # others are a matter of affinity, with XLA
      environment['XLA_FLAGS'] = (
        '--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1'
      )
    self._process = subprocess.Popen(
      [python, __file__, '--child', side],
      env=environment,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    assert self._process.stdout.readline() == 'ready\n'

  def ask(self, batch, what):
    self._process.stdin.write(json.dumps([batch, what]) + '\n')
    self._process.stdin.flush()
    return json.loads(self._process.stdout.readline())

  def close(self):
    self._process.stdin.close()
    self._process.wait()


def compare(sides, batch, rounds):
  """The figures of a batch size, both sides in turns."""
  about = {name: side.ask(batch, 'about') for name, side in sides.items()}
  jobs = [('ours', 'draw'), ('theirs', 'draw')]
  jobs += [('ours', 'steps'), ('ours', 'network'), ('theirs', 'network')]
  for name, what in jobs:
    sides[name].ask(batch, what)  # compiles and warms
  times = collections.defaultdict(list)
  for _ in range(rounds):
    for job in jobs:
      times[job].append(sides[job[0]].ask(batch, job[1]))
  steps = STEPS[batch]
  result = {'batch': batch, 'steps': steps}
  for clock in ('seconds', 'cpu'):
    best = {job: min(t[clock] for t in times[job]) for job in jobs}
    rate = {name: batch / best[name, 'draw'] for name in sides}
    work = {name: about[name]['products'] * steps / batch for name in sides}
    result[clock] = {
      'pictures a second': rate,
      'ours to theirs, pictures': rate['ours'] / rate['theirs'],
      'ours to theirs, products': (rate['ours'] * work['ours'])
      / (rate['theirs'] * work['theirs']),
      'our step to our network': best['ours', 'steps']
      / best['ours', 'network'],
      'their step to their network': best['theirs', 'draw']
      / best['theirs', 'network'],
    }
  result['about'] = about
  result['parts of a step'] = {
    name: side.ask(batch, 'parts') for name, side in sides.items()
  }
  return result


def rounded(value):
  """Numbers to three digits, in tables of tables."""
  if isinstance(value, dict):
    return {k: rounded(v) for k, v in value.items()}
  return float(f'{value:.3g}') if isinstance(value, float) else value


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--torch_python', help='of the environment with torch')
  parser.add_argument('--cores', type=int, default=1)
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--batches', default='1,8')
  parser.add_argument('--child', help='side; internal')
  args = parser.parse_args()
  if args.child:
    return child(args.child)
  if not args.torch_python:
    parser.error('--torch_python is missing')
  if args.cores > 1:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
  print(f'load before {os.getloadavg()[0]:.1f}, {args.cores} cores', flush=True)
  for batch in map(int, args.batches.split(',')):
    sides = {
      'ours': Side(sys.executable, 'ours', args.cores),
      'theirs': Side(args.torch_python, 'theirs', args.cores),
    }
    result = compare(sides, batch, args.rounds)
    print(json.dumps(rounded(result), indent=2), flush=True)
    for side in sides.values():
      side.close()


if __name__ == '__main__':
  main()
