"""The base's train step beside diffusers' `UNet2DConditionModel`.

  python benchmarks/train_step_diffusers.py --torch_python=PYTHON \
      [--width=128] [--depth=1] [--batch=2] [--rounds=2] [--parts]

Both sides train the `layout` of --width with --depth residual blocks a level,
DeepFloyd IF's base, and 64 tokens of text; loss, gradients clipped by their
norm, Adam and the weights' average; float32 on one core, in turns, each in a
process of its own. Each side counts the operations of its own step, forward and
backward: convolutions and matrix products from our jaxpr, and by torch's
`FlopCounterMode`, which is told of the CPU's fused attention.

--parts times what a step is made of, forward and backward: 3x3 convolutions,
group norm with its activation, attention and the optimizer, in the shapes of
the network. PYTHON is that of an environment with torch and diffusers.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import layout
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIDE, HEAD = layout.RESOLUTION, layout.HEAD_WIDTH
TAKEN = 3  # times each part is timed; the least counts


def sizes(args):
  return layout.Layout(
    width=args.width, blocks=args.depth, tokens=64, text_width=512
  )


def timed(step, steps):
  """Seconds of each step after one to warm up: (wall, of the processor)."""
  step()
  walls, busy = [], []
  for _ in range(steps):
    start, cpu = time.perf_counter(), time.process_time()
    step()
    walls.append(time.perf_counter() - start)
    busy.append(time.process_time() - cpu)
  return walls, busy


# Ours.


def our_step(args):
  """(function that makes a step, its operations, parameters)."""
  import jax

  from imagen_jax import stages
  from imagen_jax.data import pipeline
  from imagen_jax.diffusion import schedules
  from imagen_jax.parallel import partitioning
  from imagen_jax.training import flops, jobs, optimizers
  from imagen_jax.training import state as state_lib

  shared = sizes(args)
  job = jobs.TrainConfig(
    stage=stages.Stage(
      name='beside',
      resolution=SIDE,
      model=shared.config(),
      schedule=schedules.Cosine(),
      text_width=shared.text_width,
      max_length=shared.tokens,
      prediction='eps',
    ),
    data=None,
    pictures=pipeline.Pictures(resolution=SIDE),
    optimizer=optimizers.Adam(),
    batch_size=args.batch,
  )
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  state, shardings, optimizer = jobs.make_state(job, mesh)
  rng = np.random.default_rng(0)
  text = args.batch, shared.tokens, shared.text_width
  batch = {
    'image': rng.integers(0, 256, [args.batch, SIDE, SIDE, 3], np.uint8),
    'text': rng.standard_normal(text, np.float32),
    'mask': np.ones(text[:2], bool),
  }
  batch = partitioning.put_batch(batch, mesh)
  step = jobs.make_train_step(job, optimizer, None, mesh, shardings)
  count = flops.of_traced(step.trace(state, {}, batch))

  def run():
    nonlocal state
    state, metrics = step(state, {}, batch)
    metrics['loss'].block_until_ready()

  return run, count, state_lib.count(state.params)


def our_parts(args):
  """{name: function}, forward and backward."""
  import jax
  import jax.numpy as jnp
  from flax import linen as nn

  from imagen_jax.models import layers
  from imagen_jax.parallel import compilation, partitioning

  shared = sizes(args)
  options = compilation.options(
    partitioning.make_mesh()
  )  # as the step has them

  class NormAndSwish(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.swish(layers.GroupNorm()(x))

  class Attention(nn.Module):
    @nn.compact
    def __call__(self, x):
      heads = x.shape[-1] // HEAD
      text = jnp.ones([x.shape[0], shared.tokens, shared.projection])
      known = layers.TextKeysValues(heads, HEAD)(text)
      mask = jnp.ones(text.shape[:2], bool)
      return layers.FusedAttention(heads, HEAD)(x, *known, mask)

  def both_ways(module, side, width):
    x = jnp.ones([args.batch, side, side, width])
    params = module.init(jax.random.key(0), x)

    def loss(params, x):
      return jnp.square(module.apply(params, x)).sum()

    grad = jax.jit(jax.grad(loss, argnums=(0, 1)), compiler_options=options)
    return lambda: jax.block_until_ready(grad(params, x))

  made = {}
  for i, width in enumerate(shared.widths):
    side = SIDE >> i
    where = f'{side} x {side} x {width}'
    conv = layers.conv3x3(width, 'float32', 'conv')
    made[f'convolution, {where}'] = both_ways(conv, side, width)
    made[f'norm and activation, {where}'] = both_ways(
      NormAndSwish(), side, width
    )
    if i:
      made[f'attention, {where}'] = both_ways(Attention(), side, width)
  return made


# diffusers.


def their_step(args):
  """(function that makes a step, its operations, parameters)."""
  import torch
  from torch.utils import flop_counter

  torch.manual_seed(0)
  shared = sizes(args)
  model = shared.diffusers_unet().train()
  params = list(model.parameters())
  average = [p.detach().clone() for p in params]
  optimizer = torch.optim.Adam(params, lr=1e-4)
  x = torch.randn(args.batch, 3, SIDE, SIDE)
  eps, t = torch.randn_like(x), torch.randint(0, 1000, [args.batch])
  text = torch.randn(args.batch, shared.tokens, shared.text_width)
  if args.channels_last:
    model = model.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)

  def run():
    found = model(x + eps, t, encoder_hidden_states=text).sample
    torch.nn.functional.mse_loss(found, eps).backward()
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    torch._foreach_lerp_(average, [p.detach() for p in params], 1e-4)

  # The counter does not know the CPU's fused attention: twice forward's
  # products backward, whatever is recomputed, as our own count has it.
  def forward(q, k, v, *rest, **more):
    return flop_counter.sdpa_flop_count(q, k, v)

  def backward(grad, q, k, v, *rest, **more):
    return 2 * flop_counter.sdpa_flop_count(q, k, v)

  fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
  fused_backward = (
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
  )
  with flop_counter.FlopCounterMode(
    display=False, custom_mapping={fused: forward, fused_backward: backward}
  ) as counter:
    run()
  return run, counter.get_total_flops(), sum(p.numel() for p in params)


def their_parts(args):
  """{name: function}, forward and backward."""
  import torch
  from diffusers.models import attention_processor

  shared = sizes(args)

  def both_ways(module, side, width, *more):
    x = torch.ones(args.batch, width, side, side, requires_grad=True)
    if args.channels_last:
      module = module.to(memory_format=torch.channels_last)
      x = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    inputs = [x, *module.parameters()]

    def run():
      loss = module(x, *more).square().sum()
      torch.autograd.grad(loss, inputs, allow_unused=True)

    return run

  made = {}
  text = torch.ones(args.batch, shared.tokens, shared.projection)
  for i, width in enumerate(shared.widths):
    side = SIDE >> i
    where = f'{side} x {side} x {width}'
    conv = torch.nn.Conv2d(width, width, 3, padding=1)
    made[f'convolution, {where}'] = both_ways(conv, side, width)
    norm = torch.nn.Sequential(torch.nn.GroupNorm(32, width), torch.nn.SiLU())
    made[f'norm and activation, {where}'] = both_ways(norm, side, width)
    if i:
      attention = attention_processor.Attention(
        query_dim=width,
        cross_attention_dim=width,
        heads=width // HEAD,
        dim_head=HEAD,
        added_kv_proj_dim=shared.projection,
        norm_num_groups=32,
        bias=True,
        upcast_softmax=True,
        only_cross_attention=False,
        cross_attention_norm='group_norm',
        processor=attention_processor.AttnAddedKVProcessor2_0(),
      )
      made[f'attention, {where}'] = both_ways(attention, side, width, text)
  return made


# Both.


def child(args):
  """In a process of its own: one side, as JSON."""
  if args.child == 'ours':
    sys.path.insert(0, str(ROOT))
    from imagen_jax.parallel import compilation

    compilation.enable_cache()
    compilation.keep_heap()  # as training does
    make_step, make_parts = our_step, our_parts
  else:
    import torch

    torch.set_num_threads(args.cores)
    make_step, make_parts = their_step, their_parts
  if args.parts:
    found = {}
    for name, run in make_parts(args).items():
      found[name] = min(timed(run, TAKEN)[1])
    print(json.dumps(found))
    return
  run, count, parameters = make_step(args)
  walls, busy = timed(run, args.steps)
  found = {'flops': count, 'parameters': parameters}
  found |= {'walls': walls, 'busy': busy}
  print(json.dumps(found))


def report_steps(found):
  """A line for each side, and the ratio that is asked for."""
  rates = {}
  for side, runs in found.items():
    # Of the processor: others may take turns on the core.
    busy = [seconds for run in runs for seconds in run['busy']]
    walls = [seconds for run in runs for seconds in run['walls']]
    flops = runs[0]['flops']
    rates[side] = flops / statistics.median(busy)
    print(
      f'{side:10} {runs[0]["parameters"] / 1e6:6.1f}M parameters, '
      f'{flops / 1e9:7.1f} GFLOP a step, median of {len(busy)}: '
      f'{statistics.median(busy):.2f} s of the processor '
      f'({statistics.median(walls):.2f} by the clock), '
      f'{rates[side] / 1e9:.1f} GFLOP/s; fastest {flops / min(busy) / 1e9:.1f}'
    )
  print(f'ours per operation: {rates["ours"] / rates["diffusers"]:.2f} times')


def report_parts(found):
  rows = {side: runs[0] for side, runs in found.items()}
  for name, ours in rows['ours'].items():
    theirs = rows['diffusers'][name]
    print(
      f'{name:40} {1e3 * ours:8.1f} ms, {1e3 * theirs:8.1f} ms theirs: '
      f'{theirs / ours:.2f} times'
    )


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--torch_python', help='of the environment with torch')
  parser.add_argument('--width', type=int, default=128)
  parser.add_argument('--depth', type=int, default=1, help='blocks a level')
  parser.add_argument('--batch', type=int, default=2)
  parser.add_argument('--steps', type=int, default=3, help='in a round')
  parser.add_argument('--rounds', type=int, default=2)
  parser.add_argument('--cores', type=int, default=1)
  parser.add_argument('--channels_last', action='store_true', help='of torch')
  parser.add_argument('--parts', action='store_true')
  parser.add_argument('--child', help='a side; internal')
  args = parser.parse_args()
  if args.child:
    return child(args)
  if not args.torch_python:
    parser.error('--torch_python is missing')
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-args.cores :])
  sides = {'ours': sys.executable, 'diffusers': args.torch_python}
  found = {side: [] for side in sides}
  print(f'load before {os.getloadavg()[0]:.1f}', flush=True)
  for _ in range(1 if args.parts else args.rounds):
    for side, python in sides.items():
      command = [python, __file__, *sys.argv[1:], f'--child={side}']
      done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
      found[side].append(json.loads(done.stdout.splitlines()[-1]))
  (report_parts if args.parts else report_steps)(found)


if __name__ == '__main__':
  main()
