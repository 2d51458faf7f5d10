"""Host memory while a text encoder of 1.2B parameters is loaded.

  python benchmarks/text_memory.py [--directory=DIR]

Writes a synthetic T5 XL encoder as Hugging Face directory (bfloat16, 2.4 GB,
five files) unless DIR holds one, loads it in a fresh process onto the default
device, and prints the peak of that process beside the bound: the weights in
bfloat16 plus the largest tensor. On a CPU the weights themselves are counted;
on an accelerator the peak is far below.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = 5
CONFIG = {
  'model_type': 't5',
  'vocab_size': 32128,
  'd_model': 2048,
  'd_kv': 64,
  'd_ff': 5120,
  'num_layers': 24,
  'num_heads': 32,
  'feed_forward_proj': 'gated-gelu',
}


def shapes():
  """Names and shapes as Transformers stores them."""
  d, f = CONFIG['d_model'], CONFIG['d_ff']
  h = CONFIG['num_heads'] * CONFIG['d_kv']
  table = {
    'shared.weight': (CONFIG['vocab_size'], d),
    'encoder.final_layer_norm.weight': (d,),
    'encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight': (
      32,
      CONFIG['num_heads'],
    ),
  }
  for i in range(CONFIG['num_layers']):
    block = f'encoder.block.{i}.layer'
    for name in 'qkv':
      table[f'{block}.0.SelfAttention.{name}.weight'] = (h, d)
    table[f'{block}.0.SelfAttention.o.weight'] = (d, h)
    table[f'{block}.1.DenseReluDense.wi_0.weight'] = (f, d)
    table[f'{block}.1.DenseReluDense.wi_1.weight'] = (f, d)
    table[f'{block}.1.DenseReluDense.wo.weight'] = (d, f)
    table[f'{block}.0.layer_norm.weight'] = (d,)
    table[f'{block}.1.layer_norm.weight'] = (d,)
  return table


def write(directory):
  """The directory; one block of values again and again."""
  directory.mkdir(parents=True, exist_ok=True)
  block = np.random.default_rng(0).standard_normal(4 << 20, np.float32)
  block = (block.view(np.uint32) >> 16).astype(np.uint16).tobytes()
  names, weight_map = sorted(shapes().items()), {}
  for i in range(FILES):
    file = f'model-{i + 1:05d}-of-{FILES:05d}.safetensors'
    header, offset = {}, 0
    for name, shape in names[i::FILES]:
      end = offset + 2 * int(np.prod(shape))
      offsets = [offset, end]
      header[name] = {'dtype': 'BF16', 'shape': shape, 'data_offsets': offsets}
      weight_map[name], offset = file, end
    text = json.dumps(header).encode()
    with open(directory / file, 'wb') as out:
      out.write(len(text).to_bytes(8, 'little') + text)
      for start in range(0, offset, len(block)):
        out.write(block[: offset - start])
  index = directory / 'model.safetensors.index.json'
  index.write_text(json.dumps({'weight_map': weight_map}))
  (directory / 'config.json').write_text(json.dumps(CONFIG))


def peak_bytes():
  """Largest resident size of this process so far (Linux: in KiB)."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(directory):
  """In a process of its own: loads, prints one line of JSON."""
  sys.path.insert(0, str(ROOT))
  import jax

  from imagen_jax.models import t5
  from imagen_jax.text import checkpoints, encoders

  jax.device_put(np.zeros(8)).block_until_ready()
  before = peak_bytes()
  encoders.param_shapes(t5.XL)  # traces the network: JAX's memory, not ours
  traced = peak_bytes()
  _, params = checkpoints.load_weights(directory, dtype='bfloat16')
  leaves = jax.tree.leaves(params)
  print(
    json.dumps(
      {
        'parameters': sum(x.size for x in leaves),
        'weights': sum(x.nbytes for x in leaves),
        'largest': max(x.nbytes for x in leaves),
        'tracing': traced - before,
        'peak': peak_bytes() - before,
      }
    )
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--directory', help='where the files lie (temporary)')
  parser.add_argument('--measure', action='store_true', help='load, no more')
  args = parser.parse_args()
  if args.measure:
    return measure(args.directory)
  with tempfile.TemporaryDirectory() as temporary:
    directory = pathlib.Path(args.directory or temporary)
    if not (directory / 'config.json').exists():
      write(directory)
    command = [
      sys.executable,
      __file__,
      '--measure',
      f'--directory={directory}',
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
  r = json.loads(result.stdout)
  bound = r['weights'] + r['largest']
  print(
    f'{r["parameters"] / 1e9:.3f}B parameters, {r["weights"] / 1e9:.3f} GB in '
    f'bfloat16, largest tensor {r["largest"] / 1e9:.3f} GB; peak above the '
    f'start {r["peak"] / 1e9:.3f} GB ({r["tracing"] / 1e9:.3f} GB of it to '
    f'trace the network), bound {bound / 1e9:.3f} GB'
  )


if __name__ == '__main__':
  main()
