"""Features a second: FID's network on this machine.

  python benchmarks/features.py [--batch=8] [--size=256] [--seconds=20]

Random weights: the time does not depend on them. Prints what it took to
compile, pictures from uint8 arrays to features, by the clock and by the
processor's time (which other jobs beside it change little), and the
operations of one picture, convolutions and matrix products alone; and what part
FID over 30,000 pictures adds to generating them at the paper's size (2B base
and 600M super-resolution to 256 px, by the coco30k protocol), by operations.
"""

import argparse
import pathlib
import sys
import time

import jax
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from imagen_jax import train  # noqa: E402
from imagen_jax.data import coco  # noqa: E402
from imagen_jax.evaluation import inception_features, protocols  # noqa: E402
from imagen_jax.files import weights  # noqa: E402
from imagen_jax.models import inception  # noqa: E402
from imagen_jax.training import flops, gin_jobs  # noqa: E402


def main():
  p = argparse.ArgumentParser(description=__doc__)
  p.add_argument('--batch', type=int, default=8, help='pictures at a time')
  p.add_argument('--size', type=int, default=256, help='pixels of a side')
  p.add_argument('--seconds', type=float, default=20, help='to measure for')
  args = p.parse_args()
  rng = np.random.default_rng(0)
  flat = {
    name: (rng.standard_normal(shape) / np.prod(shape[:-1]) ** 0.5).astype(
      np.float32
    )
    for name, shape in weights.flatten(inception.param_shapes()).items()
  }
  extractor = inception_features.make(weights.unflatten(flat), batch=args.batch)
  shape = (extractor.batch, args.size, args.size, 3)
  images = rng.integers(0, 256, shape, np.uint8)
  start = time.perf_counter()
  extractor(images)
  compiled = time.perf_counter() - start
  done, start, worked = 0, time.perf_counter(), time.process_time()
  while time.perf_counter() - start < args.seconds:
    extractor(images)
    done += len(images)
  wall, work = time.perf_counter() - start, time.process_time() - worked
  picture = jax.ShapeDtypeStruct((1, 299, 299, 3), np.float32)
  count = flops.count(_network, extractor.params, picture)
  print(f'devices      {len(jax.devices())} {jax.devices()[0].device_kind}')
  print(f'first batch  {compiled:.1f} s, compilation with it')
  print(f'pictures     {args.size} px, batch {len(images)}')
  print(f'  a second by the clock      {done / wall:.2f}')
  print(f'  a second of one processor  {done / work:.2f}')
  print(f'operations   {count / 1e9:.2f} GFLOP a picture')
  generating = paper()
  reference = 1 + coco.IMAGES / protocols.PROTOCOLS['coco30k'].num
  print(f'generating   {generating / 1e12:,.0f} TFLOP a picture of coco30k')
  print(
    f'FID adds     {100 * count / generating:.5f}%, with the reference '
    f'{100 * count * reference / generating:.5f}%'
  )


def paper():
  """Operations of drawing one picture of coco30k with the paper's networks."""
  total, protocol = 0, protocols.PROTOCOLS['coco30k']
  for leaf, sampling in zip(('base64_2b', 'sr256_600m'), protocol.stages):
    gin_jobs.gin.clear_config()
    path = ROOT / 'gin' / f'{leaf}.gin'
    stage = gin_jobs.configure([path], [], train.TrainConfig).stage
    calls = sampling.steps * 2  # with guidance, and without
    total += calls * flops.per_image(stage, stage.resolution)
  return total


def _network(params, x):
  return inception.Inception().apply({'params': params}, x).pooled


if __name__ == '__main__':
  main()
