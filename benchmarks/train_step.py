"""The train step of any leaf on what is there: pictures a second, and memory.

  python benchmarks/train_step.py --gin_file=gin/scenes_64.gin --batch=8 \
      [--steps=5] [--cores=1] [--json=FILE] [--gin.NAME=VALUE ...]

Compiles the step that training runs, on all devices that JAX sees (or --cores
of the processor), and feeds it random pictures whose text is already encoded.
Prints one JSON object: times are the median and the least of --steps steps
after one to warm up; operations are those of the model, three times the forward
pass, whatever is recomputed; the rate of matrix products that they are set
against is measured here too, in the type that the network computes in.

A leaf made for more devices than there are gets a mesh of those, and its
micro-batches only where the batch divides.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import resource
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def configured(args, bindings):
  """The leaf's job, on the devices and with the batch that there is."""
  import jax

  from imagen_jax.parallel import partitioning
  from imagen_jax.training import compute, gin_jobs, jobs

  job = gin_jobs.configure(args.gin_file, bindings, jobs.TrainConfig)
  job = dataclasses.replace(job, batch_size=args.batch or job.batch_size)
  try:
    mesh = partitioning.make_mesh(job.mesh)
  except ValueError:
    job = dataclasses.replace(job, mesh=partitioning.MeshConfig())
    mesh = partitioning.make_mesh(job.mesh)
  shards = partitioning.batch_shards(mesh) * job.compute.micro_batches
  if job.batch_size % shards:
    parts = dataclasses.asdict(job.compute) | {'micro_batches': 1}
    job = dataclasses.replace(job, compute=compute.Compute(**parts))
  partitioning.check_batch(job.batch_size, mesh, job.compute.micro_batches)
  assert mesh.size == jax.device_count()
  return job, mesh


def random_batch(job, mesh):
  """Pictures and embeddings in the shapes of the leaf."""
  import jax
  import numpy as np

  from imagen_jax.training import jobs

  rng = np.random.default_rng(0)

  def values(shape):
    if shape.dtype == np.uint8:
      return rng.integers(0, 256, shape.shape, np.uint8)
    if shape.dtype == bool:
      return np.ones(shape.shape, bool)
    return rng.standard_normal(shape.shape, np.float32).astype(shape.dtype)

  return {
    name: jax.device_put(values(shape), shape.sharding)
    for name, shape in jobs.batch_shapes(job, mesh).items()
  }


def matmul_rate(dtype, devices, seconds=2.0):
  """Operations per second of square products, on all the devices together."""
  import jax
  import jax.numpy as jnp

  n = 1024 if devices[0].platform == 'cpu' else 8192
  rates = []
  for device in devices[:1]:  # they are alike
    x = jax.device_put(jnp.ones([n, n], dtype), device)
    product = jax.jit(jnp.matmul)
    product(x, x).block_until_ready()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
      start = time.perf_counter()
      product(x, x).block_until_ready()
      rates.append(2 * n**3 / (time.perf_counter() - start))
  return max(rates) * len(devices)


def memory(compiled, devices):
  """Bytes by what they are for; of one device."""
  found = compiled.memory_analysis()
  sizes = {
    'arguments': found.argument_size_in_bytes,  # the state, the batch
    'temporaries': found.temp_size_in_bytes,
  }
  stats = devices[0].memory_stats()
  if stats and 'peak_bytes_in_use' in stats:
    sizes['peak'] = stats['peak_bytes_in_use']
  unit = 1 if sys.platform == 'darwin' else 1024
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
  return {**sizes, 'peak_of_process': peak}


def measure(job, mesh, steps):
  """Runs the step; a dict of what came."""
  from imagen_jax.parallel import compilation
  from imagen_jax.training import flops, hardware, jobs
  from imagen_jax.training import state as state_lib

  if mesh.devices.flat[0].platform == 'cpu':
    compilation.keep_heap()  # as training does
  state, shardings, optimizer = jobs.make_state(job, mesh)
  parameters = state_lib.count(state.params)
  batch = random_batch(job, mesh)
  step = jobs.make_train_step(job, optimizer, None, mesh, shardings)
  start = time.perf_counter()
  compiled = step.lower(state, {}, batch).compile()
  compiling = time.perf_counter() - start
  walls, busy = [], []
  for k in range(steps + 1):
    start, cpu = time.perf_counter(), time.process_time()
    state, metrics = compiled(state, {}, batch)
    loss = float(metrics['loss'])
    if k:
      walls.append(time.perf_counter() - start)
      busy.append(time.process_time() - cpu)
  devices = list(mesh.devices.flat)
  forward = flops.per_image(job.stage, job.pictures.crop)
  operations = flops.STEP_OVER_FORWARD * forward * job.batch_size
  median = statistics.median(walls)
  products = matmul_rate(job.stage.model.dtype, devices)
  return {
    'ran_on': hardware.describe(devices) | {'load': os.getloadavg()[0]},
    'mesh': dict(mesh.shape),
    'batch': job.batch_size,
    'compute': dataclasses.asdict(job.compute),
    'dtype': job.stage.model.dtype,
    'parameters': parameters,
    'loss': loss,
    'compile_seconds': compiling,
    'step_seconds': median,
    'least_step_seconds': min(walls),
    'step_cpu_seconds': statistics.median(busy),
    'images_per_second': job.batch_size / median,
    'tflops_per_second': operations / median / 1e12,
    'least_step_tflops_per_second': operations / min(walls) / 1e12,
    'matmul_tflops_per_second': products / 1e12,
    'share_of_matmul': operations / median / products,
    'memory': memory(compiled, devices),
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--gin_file', action='append', required=True)
  parser.add_argument('--batch', type=int, help='(default: of the leaf)')
  parser.add_argument('--steps', type=int, default=5, help='(default: 5)')
  parser.add_argument('--cores', type=int, help='of the CPU (default: all)')
  parser.add_argument('--json', help='file to write (default: none)')
  from imagen_jax.parallel import compilation
  from imagen_jax.training import gin_jobs

  args, bindings = gin_jobs.with_bindings(parser, sys.argv[1:])
  if args.cores:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
  compilation.enable_cache()
  try:
    job, mesh = configured(args, bindings)
  except ValueError as e:
    sys.exit(f'error: {e}')
  found = {'leaf': args.gin_file, **measure(job, mesh, args.steps)}
  text = json.dumps(found, indent=2)
  print(text)
  if args.json:
    pathlib.Path(args.json).write_text(text + '\n')


if __name__ == '__main__':
  main()
