"""Compiles a training job for TPUs that are not there, and says what it costs.

  python -m imagen_jax.plan --gin_file=gin/base64_2b.gin --topology=v5e:16x16

The real train step is compiled by libtpu (pip install libtpu), which needs no
TPU, in a process of its own. Per chip it prints memory against what there is,
operations, bytes, each kind of collective, and by three estimates the time of a
step, images per second, share of the peak and days for the paper's 2.5M steps
of 2048 (section 4.1). Where the job does not fit, changes are tried, the
smallest first. Text comes as embeddings from a cache, as at this scale.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

# Where libtpu is installed, JAX would look for a TPU and its metadata server.
os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')

import jax

from imagen_jax import flags, jobs, partitioning, weights
from imagen_jax.models import execution
from imagen_jax.planning import collectives, estimates, report, slices
from imagen_jax.training import flops
from imagen_jax.training import state as state_lib

LEVELS = {  # of XLA: (optimization, effort to fit the memory)
  'quick': ('O1', 'O0'),
  'full': None,
}
_OUT_OF_MEMORY = re.compile(r'Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm')
_UNITS = {'': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}
_MOST_PARTS = 16  # micro-batches that are worth trying


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
  """Changes of a job that may make it fit, or faster; None = as it is."""

  fsdp: int | None = None
  remat: str | None = None
  micro_batches: int | None = None
  batch_size: int | None = None

  def of(self, config):
    """The job so changed."""
    given = {k: v for k, v in vars(self).items() if v is not None}
    if fsdp := given.pop('fsdp', None):
      mesh = dataclasses.replace(config.mesh, data=-1, fsdp=fsdp)
      config = dataclasses.replace(config, mesh=mesh)
    if batch := given.pop('batch_size', None):
      config = dataclasses.replace(config, batch_size=batch)
    changed = dataclasses.replace(config.compute, **given)
    return dataclasses.replace(config, compute=changed)


def check(config, slice_):
  """Raises ValueError where mesh or batch cannot be, before any compiling."""
  m = config.mesh
  rest = m.fsdp * m.tensor
  data = slice_.chips // rest if m.data == -1 else m.data
  if data * rest != slice_.chips:
    raise ValueError(
      f'mesh data={m.data} x fsdp={m.fsdp} x tensor={m.tensor} does not make '
      f'the {slice_.chips} chips of {slice_.name}; change MeshConfig '
      '(data=-1: all that are left)'
    )
  size = {'data': data, 'fsdp': m.fsdp, 'tensor': m.tensor}
  mesh = jax.sharding.AbstractMesh(tuple(size.values()), tuple(size))
  partitioning.check_batch(
    config.batch_size, mesh, config.compute.micro_batches
  )


def measure(config, slice_, level):
  """Compiles the job's step; what it costs, as a JSON-able dict."""
  if LEVELS[level] is not None:
    optimization, memory = LEVELS[level]
    jax.config.update('jax_optimization_level', optimization)
    jax.config.update('jax_memory_fitting_level', memory)
  # What is compiled for other devices is of no use to the next start.
  jax.config.update('jax_enable_compilation_cache', False)
  mesh = partitioning.make_mesh(config.mesh, slices.devices(slice_))
  state, shardings, optimizer = jobs.make_state(
    config, mesh, state_lib.describe
  )
  batch = jobs.batch_shapes(config, mesh)
  plan = {
    'name': config.stage.name,
    'topology': slice_.name,
    'chips': slice_.chips,
    'chip': slice_.chip.name,
    'batch': config.batch_size,
    'mesh': dict(mesh.shape),
    'compute': dataclasses.asdict(config.compute),
    'level': level,
    'parameters': state_lib.count(state.params),
  }
  step = jobs.make_train_step(config, optimizer, None, mesh, shardings)
  start = time.perf_counter()
  traced = step.trace(state, {}, batch)
  try:
    compiled = traced.lower().compile()
  except jax.errors.JaxRuntimeError as e:
    return plan | {'fits': False, 'problem': _problem(str(e))}
  plan['compile_seconds'] = time.perf_counter() - start
  return plan | _figures(config, slice_, traced, compiled, state, batch)


def _problem(message):
  """What the compiler says of a program that is too large, on one line."""
  if found := _OUT_OF_MEMORY.search(message):
    needs, unit, has, unit_of_all = found.groups()
    needs, has = (
      float(n) * _UNITS[u] / 1e9 for n, u in ((needs, unit), (has, unit_of_all))
    )
    return f'needs {needs:.1f} GB of the {has:.1f} GB of a chip'
  return message.strip().splitlines()[0][:300]


def _figures(config, slice_, traced, compiled, state, batch):
  """Memory, operations, collectives and times of a compiled step."""
  cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
  found = collectives.read(compiled.as_text())
  pictures = config.pictures
  forward = flops.per_image(config.stage, pictures.crop)
  work = estimates.Work(
    chip=slice_.chip,
    chips=slice_.chips,
    images=config.batch_size,
    model_flops=flops.STEP_OVER_FORWARD * forward * config.batch_size,
    computed_flops=flops.of_traced(traced),
    moved=cost.get('bytes accessed', 0.0),
    sent=sum(c.sent for c in found),
    xla=cost.get('optimal_seconds'),
  )
  sizes = {
    'parameters': partitioning.bytes_each(state.params),
    'ema': partitioning.bytes_each(state.ema),
    'optimizer': partitioning.bytes_each(state.opt),
    'batch': partitioning.bytes_each(batch),
    'temporaries': memory.temp_size_in_bytes,
    'program': memory.generated_code_size_in_bytes,
  }
  # The step's results take the place of what it was given.
  sizes['peak'] = (
    sizes['temporaries']
    + sizes['program']
    + (
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      - memory.alias_size_in_bytes
    )
  )
  return {
    'fits': sizes['peak'] <= slice_.chip.memory,
    'problem': f'peak {sizes["peak"] / 1e9:.1f} GB of '
    f'{slice_.chip.memory / 1e9:.1f} GB',
    'memory': sizes,
    'hbm': slice_.chip.memory,
    'flops': {'model': work.model_flops, 'computed': work.computed_flops},
    'moved': work.moved,
    'sent': work.sent,
    'collectives': [dataclasses.asdict(c) | {'sent': c.sent} for c in found],
    'seconds': estimates.seconds(work),
    'estimates': estimates.all_figures(work),
  }


def compile_apart(args, bindings, variant=Variant()):
  """`measure` of the job in a process of its own.

  A compiler that runs out of memory takes only that process with it.
  """
  with tempfile.TemporaryDirectory(prefix='plan_') as directory:
    out = pathlib.Path(directory) / 'plan.json'
    command = [sys.executable, '-m', 'imagen_jax.plan']
    command += [f'--gin_file={name}' for name in args.gin_file]
    command += [f'--gin.{binding}' for binding in bindings]
    command += [f'--topology={args.topology}', f'--level={args.level}']
    command += [f'--variant={json.dumps(vars(variant))}', f'--inside={out}']
    # Whatever accelerator this machine has is left alone.
    environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
    done = subprocess.run(
      command, env=environment, stderr=subprocess.PIPE, text=True
    )
    if out.exists():
      return json.loads(out.read_text())
  said = done.stderr.strip().splitlines()
  if done.returncode == 2 and said:
    raise ValueError(said[-1].removeprefix('error: '))
  last = said[-1][:200] if said else 'nothing'
  raise ValueError(
    f'the compiler ended with code {done.returncode}, saying {last}; a code '
    'of -9 means that this machine ran out of memory'
  )


def remedies(config, chips):
  """Variants that need less memory, the smallest change first."""
  remat = execution.REMATS[execution.REMATS.index(config.compute.remat) + 1 :]
  found = [Variant(remat=r) for r in remat]
  spread = None if config.mesh.fsdp == chips else chips
  if spread:
    found.append(Variant(fsdp=spread))
  last = remat[-1] if remat else None
  parts = config.compute.micro_batches
  while (parts := parts * 2) <= _MOST_PARTS:
    found.append(Variant(remat=last, micro_batches=parts))
    if spread:
      found.append(Variant(remat=last, micro_batches=parts, fsdp=spread))
  return found


def searched(config, chips):
  """[[variants of rising memory thrift]]: of each list the first that fits."""
  widths = [n for n in (8, 16, 32, 64, 128, 256) if n <= chips] or [chips]
  parts = [n for n in (1, 2, 4, 8) if n <= _MOST_PARTS]
  return [
    [Variant(fsdp=f, remat=r, micro_batches=n) for n in parts]
    for f in widths
    if chips % f == 0
    for r in execution.REMATS
  ]


def possible(config, slice_, variants):
  """Those of the variants whose mesh and batch divide."""
  kept = []
  for variant in variants:
    try:
      check(variant.of(config), slice_)
    except ValueError:
      continue
    kept.append(variant)
  return kept


def _note(plan):
  print(report.row(plan), file=sys.stderr, flush=True)


def fit(config, slice_, compile_variant):
  """Plans tried until one fits; the last is it, if any does."""
  plans = [compile_variant(Variant())]
  if plans[-1]['fits']:
    return plans
  _note(plans[-1])
  for variant in possible(config, slice_, remedies(config, slice_.chips)):
    plans.append(compile_variant(variant))
    _note(plans[-1])
    if plans[-1]['fits']:
      break
  return plans


def search(config, slice_, compile_variant):
  """Plans of all meshes and ways to compute, the fastest first."""
  plans = []
  for variants in searched(config, slice_.chips):
    for variant in possible(config, slice_, variants):
      plans.append(compile_variant(variant))
      _note(plans[-1])
      if plans[-1]['fits']:
        break
  return sorted(
    plans,
    key=lambda p: (
      (0, p['estimates']['in turn']['step_seconds']) if p['fits'] else (1, 0)
    ),
  )


def parser():
  p = flags.Parser(
    prog='python -m imagen_jax.plan',
    description=__doc__.splitlines()[0],
    epilog='--gin.NAME=VALUE changes one setting of the job, such as '
    '--gin.TrainConfig.batch_size=1024 or --gin.MeshConfig.fsdp=32.',
    allow_abbrev=False,
  )
  p.add_argument(
    '--gin_file',
    action='append',
    metavar='FILE',
    help='the training job, a leaf of gin/; may be given several times '
    '(no default)',
  )
  p.add_argument(
    '--topology',
    metavar='NAME',
    help="slice of chips to compile for, such as 'v5e:16x16' (no default)",
  )
  p.add_argument(
    '--topologies',
    action='store_true',
    help='list the slices that are known, and stop (default: no)',
  )
  p.add_argument(
    '--level',
    choices=[*LEVELS],
    default='quick',
    help="how hard XLA tries: 'quick' or 'full', which takes several times as "
    'long (default: quick)',
  )
  p.add_argument(
    '--search',
    action='store_true',
    help='try meshes, micro-batches and remat policies, and rank them '
    '(default: no)',
  )
  p.add_argument(
    '--json',
    metavar='FILE',
    help='also write all numbers there, as a list of plans (default: none)',
  )
  p.add_argument('--variant', default='{}', help=argparse.SUPPRESS)
  p.add_argument('--inside', help=argparse.SUPPRESS)
  return p


def main(argv):
  """Runs the command line; returns its exit code."""
  from imagen_jax import cli

  p = parser()
  args, bindings = cli.with_bindings(p, argv)
  if args.topologies:
    for name in slices.NAMES:
      found = slices.find(name)
      print(f'{name:12} {found.chips:5} x {found.chip.name}')
    return 0
  if not args.gin_file or not args.topology:
    p.error('--gin_file=FILE and --topology=NAME are needed')
  try:
    slice_ = slices.find(args.topology)
    config = cli.configure(args.gin_file, bindings, jobs.TrainConfig)
    config = Variant(**json.loads(args.variant)).of(config)
    check(config, slice_)
    if args.inside:
      plan = measure(config, slice_, args.level)
      weights.save_json(args.inside, plan)
      return 0

    def compile_variant(variant):
      return compile_apart(args, bindings, variant)

    how = search if args.search else fit
    plans = how(config, slice_, compile_variant)
    if args.json:
      weights.save_json(args.json, plans)
  except (ValueError, OSError) as e:
    return flags.failed(e, args.json)
  return _print(plans, args.search)


def _print(plans, ranked):
  """Tables on standard output; the exit code: 1 where nothing fits."""
  if ranked:
    print('seconds of a step, links not overlapped; the fastest first:')
    print('\n'.join(map(report.row, plans)) + '\n')
  shown = plans[0] if ranked else plans[-1]
  if not ranked and len(plans) > 1 and shown['fits']:
    print(f'does not fit as it is: {plans[0]["problem"]}')
    print(f'fits with: {report.settings(shown)}\n')
  print('\n'.join(report.table(shown)))
  return 0 if shown['fits'] else 1


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
