"""Pictures a second of one core, beside torch with webdataset and tf.data.

  python benchmarks/data.py --pictures=DIR \
      [--torch_python=PYTHON] [--tf_python=PYTHON] [--seconds=10]

DIR holds photographs. Crops of 512 x 512 are cut from them and encoded as JPEG
(quality 90), the same bytes for every reader: 100 tar shards for ours and
webdataset, files for tf.data. Each reader makes batches of 64 squares of uint8,
shuffled, at 64 and at 256 pixels, with one thread; what counts is processor
time of the whole process, which other work on the machine changes less than the
clock's. `reduced` lets the JPEG decoder leave out frequencies (draft in Pillow,
ratio in TensorFlow) down to twice the side, as ours does. Each reader has both
kernels: antialiased bicubic in one pass, and means of 2x2 pixels (`halved`, our
default), which fit these sides exactly: Pillow's reduce, and avg_pool2d, the
fastest of five ways in TensorFlow; --kernel=halved and --side=64 measure those
alone. Ours is measured with simplejpeg and OpenCV and, as where they are not
installed, by Pillow alone. Readers take turns; with --together they run at the
same time on one core, so that other work slows all of them alike.

Ours is also timed to its first batch, at batch 0 and at batch 1,000,000 (a
resumed run).

  python benchmarks/data.py --memory [--examples=100000]

reads that many small pictures (32 x 32, 100 shards) through the loader that
training uses, and prints the resident memory of the process as it goes on.
"""

import argparse
import collections
import io
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIDE, SHARDS, EACH, BATCH = 512, 100, 10, 64
SMALL = 32  # pixels, where memory is measured
KERNELS = ('halved', 'bicubic')
ROUNDS = 3


def write(pictures, directory):
  """The shards and files."""
  import numpy as np
  import PIL.Image

  rng = np.random.default_rng(0)
  photographs = []
  for path in sorted(pathlib.Path(pictures).iterdir()):
    image = PIL.Image.open(path).convert('RGB')
    scale = 640 / min(image.size)
    size = tuple(round(v * scale) for v in image.size)
    photographs.append(image.resize(size, PIL.Image.Resampling.LANCZOS))
  (directory / 'files').mkdir(parents=True)
  (directory / 'shards').mkdir()
  for shard in range(SHARDS):
    with tarfile.open(directory / 'shards' / f'{shard:05d}.tar', 'w') as tar:
      for i in range(EACH):
        image = photographs[rng.integers(len(photographs))]
        x, y = (int(rng.integers(v - SIDE + 1)) for v in image.size)
        out = io.BytesIO()
        image.crop((x, y, x + SIDE, y + SIDE)).save(out, 'JPEG', quality=90)
        key = f'{shard:05d}{i:04d}'
        (directory / 'files' / f'{key}.jpg').write_bytes(out.getvalue())
        add(tar, key, out.getvalue())


def write_small(directory, count):
  """The shards of `count` small pictures, of which a thousand differ."""
  import numpy as np
  import PIL.Image

  rng = np.random.default_rng(0)
  pictures = []
  for _ in range(1000):
    pixels = rng.integers(0, 256, (4, 4, 3), np.uint8)
    out = io.BytesIO()
    image = PIL.Image.fromarray(pixels).resize((SMALL, SMALL))
    image.save(out, 'JPEG', quality=90)
    pictures.append(out.getvalue())
  (directory / 'shards').mkdir()
  each = -(-count // SHARDS)
  for shard in range(SHARDS):
    with tarfile.open(directory / 'shards' / f'{shard:05d}.tar', 'w') as tar:
      for i in range(each):
        add(tar, f'{shard:05d}{i:04d}', pictures[(shard * each + i) % 1000])


def add(tar, key, picture):
  """Puts a picture and its caption into a shard."""
  for name, data in [
    (f'{key}.jpg', picture),
    (f'{key}.txt', f'photograph {key}'.encode()),
  ]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def rate(next_batch, seconds):
  """Pictures per second of processor time."""
  next_batch()
  start, count = time.process_time(), 0
  while time.process_time() - start < seconds:
    count += len(next_batch())
  return count / (time.process_time() - start)


class Words:
  """Captions as they are."""

  def columns(self, captions):
    return {'captions': list(captions)}


def our_batches(directory, side, kernel='halved'):
  """The real pipeline: index, permutation, captions and all."""
  from imagen_jax.data import index, photographs, pipeline, sources

  reading = photographs.Reading(keep=index.Filter(min_side=side))
  source = sources.Shards(files=str(directory / 'shards'), reading=reading)
  pictures = pipeline.Pictures(resolution=side, halve=kernel == 'halved')
  return pipeline.Batches(source.open('train'), Words(), pictures, BATCH)


def ours(directory, side, kernel, reduced):
  del reduced  # as ever
  batches, k = our_batches(directory, side, kernel), iter(range(10**9))
  return lambda: batches.batch(next(k))['image']


def by_pillow(directory, side, kernel, reduced):
  """Ours where simplejpeg and OpenCV are not installed."""
  from imagen_jax.data import quick_jpeg

  quick_jpeg._libraries = lambda: None
  return ours(directory, side, kernel, reduced)


def torch(directory, side, kernel, reduced):
  """DataLoader in its own process, webdataset, Pillow for the pixels."""
  import numpy as np
  import PIL.Image
  import torch
  import webdataset

  torch.set_num_threads(1)

  def picture(sample):
    image = PIL.Image.open(io.BytesIO(sample['jpg']))
    if reduced:
      image.draft('RGB', (2 * side, 2 * side))
    image = image.convert('RGB')
    if kernel == 'halved':
      image = image.reduce(image.size[0] // side)
    else:
      image = image.resize((side, side), PIL.Image.BICUBIC)
    return torch.from_numpy(np.array(image)), sample['txt'].decode()

  last = f'{SHARDS - 1:05d}'
  urls = f'{directory}/shards/{{00000..{last}}}.tar'
  data = webdataset.WebDataset(urls, shardshuffle=SHARDS).shuffle(200)
  loader = torch.utils.data.DataLoader(
    data.map(picture).repeat(), batch_size=BATCH
  )
  stream = iter(loader)
  return lambda: next(stream)[0]


def tf(directory, side, kernel, reduced):
  """tf.data with one thread."""
  import tensorflow as tf

  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1)
  ratio = max(r for r in (1, 2, 4, 8) if SIDE // r >= 2 * side or r == 1)
  ratio = ratio if reduced else 1
  factor = SIDE // ratio // side

  def picture(path):
    image = tf.io.decode_jpeg(tf.io.read_file(path), 3, ratio=ratio)
    if kernel == 'halved':
      image = tf.cast(image, tf.float32)[None]
      image = tf.nn.avg_pool2d(image, factor, factor, 'VALID')[0]
    else:
      image = tf.image.resize(image, (side, side), 'bicubic', antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)

  paths = sorted(str(p) for p in (directory / 'files').iterdir())
  data = tf.data.Dataset.from_tensor_slices(paths).shuffle(1000).repeat()
  options = tf.data.Options()
  options.threading.private_threadpool_size = 1
  data = data.map(picture).batch(BATCH).with_options(options)
  stream = data.as_numpy_iterator()
  return lambda: next(stream)


READERS = {'ours': ours, 'by_pillow': by_pillow, 'torch': torch, 'tf': tf}


def first_batches(directory):
  """Seconds to a first batch at the start and far into a run."""
  for name, k in (('start', 0), ('resumed', 1_000_000)):
    start = time.perf_counter(), time.process_time()
    our_batches(directory, 64).batch(k)
    yield name, time.perf_counter() - start[0], time.process_time() - start[1]


def memory(directory, examples):
  """(examples read, resident bytes) after each tenth of them."""
  from imagen_jax.data import loading

  stream = loading.stream(
    our_batches(directory, SMALL), 0, loading.Loading(threads=1)
  )
  tenth = examples // 10
  for k, batch in enumerate(stream):
    before, after = k * BATCH // tenth, (k + 1) * BATCH // tenth
    del batch
    if after > before:
      with open('/proc/self/statm') as file:
        pages = int(file.read().split()[1])
      yield after * tenth, pages * resource.getpagesize()
    if after == 10:
      return


def measure(args):
  """One reader, in a process of its own."""
  if args.measure != 'memory':
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  sys.path.insert(0, str(ROOT))
  directory = pathlib.Path(args.directory)
  if args.measure == 'first':
    print(json.dumps(list(first_batches(directory))))
  elif args.measure == 'memory':
    for row in memory(directory, args.examples):
      print(json.dumps(row), flush=True)
  else:
    reader = READERS[args.measure]
    reader = reader(directory, args.side, args.kernel, args.reduced)
    if args.together:
      reader()
      print('ready', flush=True)
      for _ in sys.stdin:  # a line starts a round
        print(json.dumps(rate(reader, args.seconds)), flush=True)
      return
    print(json.dumps(rate(reader, args.seconds)))


def run(python, directory, *flags):
  command = [python, __file__, f'--directory={directory}', *flags]
  result = subprocess.run(command, capture_output=True, text=True)
  if result.returncode:
    raise SystemExit(f'{" ".join(command)}\n{result.stderr[-2000:]}')
  return json.loads(result.stdout.splitlines()[-1])


def together(pythons, directory, side, kernels, seconds):
  """label -> rates of readers that run at the same time."""
  running, rates = {}, collections.defaultdict(list)
  for label, name, flags in readers(pythons, side, kernels):
    command = [pythons[name], __file__, f'--directory={directory}', *flags]
    command += ['--together', f'--side={side}', f'--seconds={seconds}']
    running[label] = subprocess.Popen(
      command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
  for process in running.values():
    while 'ready' not in (line := process.stdout.readline()):
      if not line:
        raise SystemExit(f'{process.args} failed')
  for _ in range(ROUNDS):
    for process in running.values():
      process.stdin.write('go\n')
      process.stdin.flush()
    for label, process in running.items():
      rates[label].append(json.loads(process.stdout.readline()))
  for process in running.values():
    process.communicate()
  return rates


def in_turn(pythons, directory, side, kernels, seconds):
  """label -> rates of readers, one after another."""
  rates = collections.defaultdict(list)
  for _ in range(ROUNDS):
    for label, name, flags in readers(pythons, side, kernels):
      flags = [*flags, f'--side={side}', f'--seconds={seconds}']
      rates[label].append(run(pythons[name], directory, *flags))
  return rates


def readers(names, side, kernels):
  """(label, reader, flags) of all that are measured at a side."""
  for kernel in kernels:
    for name in names:
      flags = [f'--measure={name}', f'--kernel={kernel}']
      if name in ('ours', 'by_pillow'):
        yield f'{name} {kernel}', name, flags
        continue
      yield f'{name} {kernel} whole', name, flags
      if SIDE >= 4 * side:  # else there is nothing to leave out
        yield f'{name} {kernel} reduced', name, [*flags, '--reduced']


def parse():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--pictures', help='directory of photographs')
  parser.add_argument('--directory', help='kept here (temporary)')
  parser.add_argument('--torch_python', help='with torch and webdataset')
  parser.add_argument('--tf_python', help='with TensorFlow')
  parser.add_argument('--seconds', type=float, default=10.0)
  parser.add_argument('--examples', type=int, default=100_000)
  parser.add_argument('--memory', action='store_true', help='memory alone')
  parser.add_argument(
    '--together', action='store_true', help='all at the same time'
  )
  parser.add_argument('--measure', help='one reader, no more')
  parser.add_argument('--side', type=int)
  parser.add_argument('--kernel', choices=KERNELS)
  parser.add_argument('--reduced', action='store_true')
  return parser.parse_args()


def main():
  args = parse()
  if args.measure:
    return measure(args)
  if args.memory:
    return show_memory(args)
  with tempfile.TemporaryDirectory() as temporary:
    directory = pathlib.Path(args.directory or temporary)
    if not (directory / 'shards').exists():
      write(args.pictures, directory)
    pythons = {
      'ours': sys.executable,
      'by_pillow': sys.executable,
      'torch': args.torch_python,
      'tf': args.tf_python,
    }
    pythons = {name: python for name, python in pythons.items() if python}
    kernels = [args.kernel] if args.kernel else KERNELS
    for side in [args.side] if args.side else (64, 256):
      way = together if args.together else in_turn
      rates = way(pythons, directory, side, kernels, args.seconds)
      for label, found in rates.items():
        print(
          f'{side:4d} px  {label:22s} {statistics.median(found):7.0f} '
          f'pictures/s of a core  ({min(found):.0f} to {max(found):.0f})',
          flush=True,
        )
    for name, wall, cpu in run(sys.executable, directory, '--measure=first'):
      print(f'first batch, {name}: {wall:.2f} s, of them {cpu:.2f} computing')


def show_memory(args):
  """Prints the memory of a process that reads small pictures."""
  with tempfile.TemporaryDirectory() as temporary:
    directory = pathlib.Path(args.directory or temporary)
    if not (directory / 'shards').exists():
      write_small(directory, args.examples)
    command = [sys.executable, __file__, f'--directory={directory}']
    command += ['--measure=memory', f'--examples={args.examples}']
    first = None
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
      for line in process.stdout:
        count, size = json.loads(line)
        first = first or size
        change = f'{size / first - 1:+.1%}'
        print(
          f'{count:9,} examples  {size / 1e6:7.1f} MB  {change}', flush=True
        )


if __name__ == '__main__':
  main()
