"""Time and memory of the sample command, in fresh processes.

  python benchmarks/sample.py [--preset=fast] [--cores=2] [--runs=3]

Draws one picture through all stages with an empty compilation cache (cold),
then again with the filled one (warm, the fastest and the median of --runs),
again up to each smaller stage, looks when the first step of a process is done,
and times the imports. Prints one JSON object. Run it on an idle machine: CPU
seconds are printed beside wall-clock ones, so that a busy one can be told.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROMPT = 'a red fox at sunset'
# Says when the first step is done, and ends.
FIRST_STEP = """
import os, sys
from imagen_jax.parallel import compilation
from imagen_jax.sampling import cascade

def told(name, step, steps):
  if step:
    print(name, flush=True)
    os._exit(0)

compilation.enable_cache()
drawn = cascade.load_cascade(sys.argv[1] or None)
drawn.sample([sys.argv[2]], preset=sys.argv[3] or None, progress=told)
"""


def run(command, cache):
  """Runs a command: wall-clock and CPU seconds, peak memory in MB."""
  environment = {
    **os.environ,
    'IMAGEN_JAX_CACHE': str(cache),
    'PYTHONPATH': str(ROOT),
  }
  start = time.perf_counter()
  process = subprocess.Popen(
    command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
  )
  errors = process.stderr.read()
  _, status, usage = os.wait4(process.pid, 0)
  seconds = time.perf_counter() - start
  if status:
    sys.exit(f'{" ".join(map(str, command))} failed:\n{errors.decode()}')
  unit = 1 if sys.platform == 'darwin' else 1024  # of ru_maxrss, in bytes
  return {
    'seconds': round(seconds, 2),
    'cpu_seconds': round(usage.ru_utime + usage.ru_stime, 2),
    'peak_mb': round(usage.ru_maxrss * unit / 1e6),
  }


def machine():
  """What the figures were measured on."""
  cpu = platform.processor() or platform.machine()
  info = pathlib.Path('/proc/cpuinfo')
  if info.exists():
    names = [
      line.split(':')[1].strip()
      for line in info.read_text().splitlines()
      if line.startswith('model name')
    ]
    cpu = names[0] if names else cpu
  cores = (
    len(os.sched_getaffinity(0))
    if hasattr(os, 'sched_getaffinity')
    else os.cpu_count()
  )
  load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else None
  return {
    'cpu': cpu,
    'cores': cores,
    'load_before': load and round(load, 2),
    'system': platform.platform(),
    'python': platform.python_version(),
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    '--cascade', help='cascade directory (default: the shipped one)'
  )
  parser.add_argument('--preset', help="settings (default: the stages' own)")
  parser.add_argument(
    '--smaller',
    default='64,256',
    help='resolutions to stop at as well, a run each (default: 64,256)',
  )
  parser.add_argument(
    '--cores', type=int, default=2, help='CPU cores to use (default: 2)'
  )
  parser.add_argument(
    '--runs', type=int, default=3, help='warm runs (default: 3)'
  )
  parser.add_argument(
    '--cache', help='a filled compilation cache; leaves out the cold run'
  )
  args = parser.parse_args()
  if hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
  result = {'machine': machine()}
  python = sys.executable
  with tempfile.TemporaryDirectory() as directory:
    cache = pathlib.Path(args.cache or f'{directory}/cache')
    sample = [python, '-m', 'imagen_jax.sample', PROMPT, f'--out={directory}']
    if args.cascade:
      sample.append(f'--cascade={args.cascade}')
    if args.preset:
      sample.append(f'--preset={args.preset}')
    if not args.cache:
      result['cold'] = run(sample, cache)
    warm = [run(sample, cache) for _ in range(args.runs)]
    for side in filter(None, args.smaller.split(',')):
      smaller = [*sample, f'--upto={side}']
      runs = [run(smaller, cache) for _ in range(args.runs)]
      result[f'warm to {side}'] = min(runs, key=lambda f: f['seconds'])
    first = [python, '-c', FIRST_STEP, args.cascade or '', PROMPT]
    runs = [run([*first, args.preset or ''], cache) for _ in range(args.runs)]
    result['first step'] = min(runs, key=lambda f: f['seconds'])
    files = [path for path in cache.iterdir() if path.is_file()]
    result['cache_mb'] = round(sum(p.stat().st_size for p in files) / 1e6, 1)
  result['warm'] = min(warm, key=lambda figures: figures['seconds'])
  result['warm_median_seconds'] = statistics.median(
    figures['seconds'] for figures in warm
  )
  for name in ('jax', 'imagen_jax', 'jax, imagen_jax', 'imagen_jax.sample'):
    times = [run([python, '-c', f'import {name}'], 'off') for _ in range(3)]
    result[f'import {name}'] = min(times, key=lambda f: f['seconds'])
  print(json.dumps(result, indent=2))


if __name__ == '__main__':
  main()
