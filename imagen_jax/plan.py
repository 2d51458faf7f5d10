"""Compiles a training job for TPUs that are not there, and says what it costs.

  python -m imagen_jax.plan --gin_file=gin/base64_2b.gin --topology=v5e:16x16

The real train step, or with --sample the real sampler, is compiled by libtpu
(pip install libtpu), which needs no TPU, in a process of its own. Per chip it
prints memory against what there is, operations, bytes, each kind of collective,
and by three estimates the time of a step, images per second, share of the peak
and days for the paper's 2.5M steps of 2048 (section 4.1). Where the job does
not fit, changes are tried, the smallest first. Text comes as embeddings from a
cache, as at this scale.
"""

import argparse
import dataclasses
import gc
import json
import os
import pathlib
import subprocess
import sys
import tempfile

# Where libtpu is installed, JAX would look for a TPU and its metadata server.
os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')

from imagen_jax.config import flags
from imagen_jax.files import json_files, weights
from imagen_jax.parallel import partitioning
from imagen_jax.planning import (
  compiling,
  estimates,
  report,
  sampler_shapes,
  slices,
  variants,
)
from imagen_jax.training import flops, jobs
from imagen_jax.training import state as state_lib

_AS_IT_IS = variants.Variant()


def measure(config, slice_, level):
  """Compiles the job's train step; what it costs, as a JSON-able dict."""
  compiling.set_level(level)
  mesh = partitioning.make_mesh(config.mesh, slices.devices(slice_))
  state, shardings, optimizer = jobs.make_state(
    config, mesh, state_lib.describe
  )
  batch = jobs.batch_shapes(config, mesh)
  plan = _about(config, slice_, level) | {
    'batch': config.batch_size,
    'mesh': dict(mesh.shape),
    'compute': dataclasses.asdict(config.compute),
    'parameters': state_lib.count(state.params),
  }
  step = jobs.make_train_step(config, optimizer, None, mesh, shardings)
  traced = step.trace(state, {}, batch)
  try:
    compiled = compiling.compile_traced(traced, slice_.chip, level)
  except compiling.DoesNotFit as e:
    return plan | {'fits': False, 'problem': str(e)}
  forward = flops.per_image(config.stage, config.pictures.crop)
  held = {
    'parameters': partitioning.bytes_each(state.params),
    'ema': partitioning.bytes_each(state.ema),
    'optimizer': partitioning.bytes_each(state.opt),
    'batch': partitioning.bytes_each(batch),
  }
  return plan | _figures(
    slice_,
    compiled,
    held | compiled.memory,
    images=config.batch_size,
    model_flops=flops.STEP_OVER_FORWARD * forward * config.batch_size,
    computed_flops=flops.of_traced(traced),
  )


def measure_sampler(config, slice_, level, cut=False):
  """Compiles the sampler of the job's stage; the same of one of its steps."""
  compiling.set_level(level)
  stage = config.stage
  sampler = sampler_shapes.trace(stage, slices.devices(slice_), cut)
  plan = _about(config, slice_, level) | {
    'batch': sampler.pictures,
    'cut': cut,
    'sampling': dataclasses.asdict(stage.sampling),
    'parameters': state_lib.count(sampler.params),
  }
  try:
    compiled = {
      name: compiling.compile_traced(traced, slice_.chip, level)
      for name, traced in sampler.programs.items()
    }
  except compiling.DoesNotFit as e:
    return plan | {'fits': False, 'problem': str(e)}
  held = {
    'parameters': partitioning.bytes_each(sampler.params),
    'batch': partitioning.bytes_each(sampler.carry),
  }
  largest = max(compiled.values(), key=lambda c: c.memory['peak'])
  # `run` takes as many steps as it is told; it is counted as one.
  computed = flops.of_traced(sampler.programs['run'])
  found = _figures(
    slice_,
    compiled['run'],
    held | largest.memory,
    images=sampler.pictures,
    model_flops=computed,
    computed_flops=computed,
    steps=stage.sampling.steps,
  )
  seconds = sum(c.seconds for c in compiled.values())
  return plan | found | {'compile_seconds': seconds}


def _about(config, slice_, level):
  return {
    'name': config.stage.name,
    'topology': slice_.name,
    'chips': slice_.chips,
    'chip': slice_.chip.name,
    'level': level,
  }


def _figures(slice_, compiled, sizes, **known):
  """Memory, operations, collectives and times of a `compiling.Compiled`."""
  chip = slice_.chip
  work = estimates.Work(
    chip=chip,
    chips=slice_.chips,
    moved=compiled.moved,
    sent=compiled.sent,
    xla=compiled.xla,
    **known,
  )
  return {
    'compile_seconds': compiled.seconds,
    'fits': sizes['peak'] <= chip.memory,
    'problem': f'peak {sizes["peak"] / 1e9:.1f} GB of '
    f'{chip.memory / 1e9:.1f} GB',
    'memory': sizes,
    'hbm': chip.memory,
    'flops': {'model': work.model_flops, 'computed': work.computed_flops},
    'moved': work.moved,
    'sent': work.sent,
    'collectives': [
      dataclasses.asdict(c) | {'sent': c.sent} for c in compiled.collectives
    ],
    'seconds': estimates.seconds(work),
    'estimates': estimates.all_figures(work),
  }


def compile_apart(args, bindings, variant=_AS_IT_IS):
  """`measure` of the job, or its sampler, in a process of its own.

  A compiler that runs out of memory takes only that process with it: Died.
  """
  with tempfile.TemporaryDirectory(prefix='plan_') as directory:
    out = pathlib.Path(directory) / 'plan.json'
    command = [sys.executable, '-m', 'imagen_jax.plan']
    command += [f'--gin_file={name}' for name in args.gin_file]
    command += [f'--gin.{binding}' for binding in bindings]
    command += [f'--topology={args.topology}', f'--level={args.level}']
    command += ['--sample'] if args.sample else []
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
  raise variants.Died(
    f'the compiler ended with code {done.returncode}, saying {last}; a code '
    'of -9 means that this machine ran out of memory'
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
    '--sample',
    action='store_true',
    help="compile the sampler of the job's stage instead of its train step; "
    '--gin.Sampling.batch=1 sets what each chip draws at once (default: no)',
  )
  p.add_argument(
    '--level',
    choices=[*compiling.LEVELS],
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
  from imagen_jax.training import gin_jobs

  p = parser()
  args, bindings = gin_jobs.with_bindings(p, argv)
  if args.topologies:
    for name in slices.NAMES:
      found = slices.find(name)
      print(f'{name:12} {found.chips:5} x {found.chip.name}')
    return 0
  if not args.gin_file or not args.topology:
    p.error('--gin_file=FILE and --topology=NAME are needed')
  if args.sample and args.search:
    p.error('--search ranks train steps; leave it or --sample out')
  try:
    slice_ = slices.find(args.topology)
    config = gin_jobs.configure(args.gin_file, bindings, jobs.TrainConfig)
    variant = variants.Variant(**json_files.parse(args.variant, '--variant'))
    config = variant.of(config)
    if not args.sample:
      variants.check(config, slice_)
    if args.inside:
      # Tracing makes millions of objects and hardly any garbage: of the 2B
      # base it takes 8 s instead of 10.
      gc.disable()
      weights.save_json(args.inside, _measured(config, slice_, variant, args))
      return 0

    def compile_variant(variant):
      return compile_apart(args, bindings, variant)

    if args.search:
      tried = variants.searched(config, slice_)
      plans = variants.search(tried, compile_variant)
    else:
      how = variants.sampling_remedies if args.sample else variants.remedies
      plans = variants.fit(how(config, slice_), compile_variant)
  except (ValueError, OSError) as e:
    return flags.failed(e)
  code = _print(plans, args.search)
  try:  # what took minutes is on the screen, come what may
    if args.json:
      weights.save_json(args.json, plans)
  except OSError as e:
    return flags.failed(ValueError(f'--json={args.json}: {e}'))
  return code


def _measured(config, slice_, variant, args):
  if args.sample:
    return measure_sampler(config, slice_, args.level, bool(variant.cut))
  return measure(config, slice_, args.level)


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
