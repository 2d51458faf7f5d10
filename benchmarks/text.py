"""Encoding speed beside transformers and torch, on the same weights.

  python benchmarks/text.py --torch_python=PYTHON [--captions=512] [--rounds=2]

Writes a random T5 1.1 small encoder (35M parameters) as a Hugging Face
directory, and token rows of mixed lengths. Each side encodes all of them in a
process of its own, in float32 on the cores given, in turns: ours, torch, ours,
torch. PYTHON is that of an environment with torch, transformers and
safetensors; this package needs none of them, and no other file imports them.

Torch takes 32 rows at a time as they come, padded to the longest of the 32; it
is also timed on rows sorted by length, which helps it most. We take the rows as
they come too, through the buckets of the embedding job. Times are without
loading and compiling; the largest difference of the outputs is printed.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
BATCH = 32
LONGEST = 128
KEPT = 64  # rows whose embeddings are compared
CONFIG = {
  'model_type': 't5',
  'architectures': ['T5EncoderModel'],
  'vocab_size': 32128,
  'd_model': 512,
  'd_kv': 64,
  'd_ff': 1024,
  'num_layers': 8,
  'num_heads': 6,
  'feed_forward_proj': 'gated-gelu',
  'relative_attention_num_buckets': 32,
  'relative_attention_max_distance': 128,
  'layer_norm_epsilon': 1e-6,
  'tie_word_embeddings': False,
  'is_encoder_decoder': False,
}


def shapes():
  """Names and shapes as Transformers stores them."""
  d, f = CONFIG['d_model'], CONFIG['d_ff']
  h = CONFIG['num_heads'] * CONFIG['d_kv']
  first = 'encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight'
  table = {
    'shared.weight': (CONFIG['vocab_size'], d),
    'encoder.final_layer_norm.weight': (d,),
    first: (32, CONFIG['num_heads']),
  }
  for i in range(CONFIG['num_layers']):
    block = f'encoder.block.{i}.layer'
    table |= {f'{block}.0.SelfAttention.{n}.weight': (h, d) for n in 'qkv'}
    table[f'{block}.0.SelfAttention.o.weight'] = (d, h)
    table |= {
      f'{block}.1.DenseReluDense.wi_{n}.weight': (f, d) for n in range(2)
    }
    table[f'{block}.1.DenseReluDense.wo.weight'] = (d, f)
    table |= {f'{block}.{n}.layer_norm.weight': (d,) for n in range(2)}
  return table


def write(directory, captions):
  """The encoder, and rows of tokens of mixed lengths."""
  import safetensors.numpy

  rng = np.random.default_rng(0)
  tensors = {}
  for name, shape in shapes().items():
    x = rng.standard_normal(shape, np.float32)
    if name.endswith('norm.weight'):
      tensors[name] = 1 + 0.1 * x
    elif name.endswith(('shared.weight', 'bias.weight')):
      tensors[name] = x
    else:
      tensors[name] = x / np.sqrt(shape[1], dtype=np.float32)
      if name.endswith('.q.weight'):  # T5 does not scale its logits
        tensors[name] /= np.sqrt(CONFIG['d_kv'], dtype=np.float32)
  safetensors.numpy.save_file(
    tensors, directory / 'model.safetensors', {'format': 'pt'}
  )
  (directory / 'config.json').write_text(json.dumps(CONFIG))
  # Captions of the web: half below 18 tokens, one in a hundred above 100.
  lengths = np.exp(rng.normal(np.log(18), 0.75, captions))
  lengths = np.clip(lengths, 3, LONGEST).astype(int)
  mask = np.arange(LONGEST) < lengths[:, None]
  tokens = np.where(mask, rng.integers(3, 32000, mask.shape), 0)
  tokens[np.arange(captions), lengths - 1] = 1
  np.savez(directory / 'rows.npz', tokens=tokens.astype(np.int32), mask=mask)


def ours(directory):
  """Encodes the rows with this package; a function to be timed."""
  sys.path.insert(0, str(ROOT))
  from imagen_jax.text import buckets, checkpoints, encoders

  config, params = checkpoints.load_weights(str(directory))

  class Rows:  # the encoder asks its tokenizer for this alone
    max_length = LONGEST

  encoder = buckets.BucketEncoder(
    encoders.TextEncoder(config=config, params=params, tokenizer=Rows()),
    batch_tokens=BATCH * 24,  # 32 rows of 24 tokens, as many as torch has
  )

  def encode(tokens, mask):
    found = [None] * len(tokens)
    for members, values in encoder.encode(tokens, mask):
      for row, value in zip(members, values):
        found[row] = value
    return found

  return {'in order': encode}


def torchs(directory, threads):
  """The same with transformers; functions to be timed."""
  import torch
  import transformers

  torch.set_num_threads(threads)
  model = transformers.T5EncoderModel.from_pretrained(directory).eval()

  @torch.inference_mode()
  def encode(tokens, mask):
    found = []
    for start in range(0, len(tokens), BATCH):
      part = slice(start, start + BATCH)
      longest = mask[part].sum(1).max()
      out = model(
        input_ids=torch.from_numpy(tokens[part, :longest].astype(np.int64)),
        attention_mask=torch.from_numpy(mask[part, :longest].astype(np.int64)),
      ).last_hidden_state.numpy()
      found += [x[m[:longest]] for x, m in zip(out, mask[part])]
    return found

  def by_length(tokens, mask):
    order = np.argsort(mask.sum(1), kind='stable')
    found = [None] * len(tokens)
    for row, value in zip(order, encode(tokens[order], mask[order])):
      found[row] = value
    return found

  return {'in order': encode, 'sorted': by_length}


def child(directory, side, threads):
  """In a process of its own: times one side, keeps some embeddings."""
  rows = np.load(directory / 'rows.npz')
  tokens, mask = rows['tokens'], rows['mask']
  made = ours(directory) if side == 'ours' else torchs(directory, threads)
  result = {}
  for name, encode in made.items():
    found = encode(tokens, mask)  # compiles and warms
    start, cpu = time.perf_counter(), time.process_time()
    encode(tokens, mask)
    result[name] = {
      'seconds': time.perf_counter() - start,
      'cpu_seconds': time.process_time() - cpu,
    }
  np.save(directory / f'{side}.npy', np.concatenate(found[:KEPT]))
  print(json.dumps(result))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--torch_python', help='of the environment with torch')
  parser.add_argument('--captions', type=int, default=512)
  parser.add_argument('--rounds', type=int, default=2)
  parser.add_argument('--cores', type=int, default=2)
  parser.add_argument('--child', nargs=2, help='directory and side; internal')
  args = parser.parse_args()
  if args.child:
    return child(pathlib.Path(args.child[0]), args.child[1], args.cores)
  if not args.torch_python:
    parser.error('--torch_python is missing')
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
  with tempfile.TemporaryDirectory() as temporary:
    directory = pathlib.Path(temporary)
    write(directory, args.captions)
    mask = np.load(directory / 'rows.npz')['mask']
    print(
      f'{args.captions} captions, {mask.sum() / args.captions:.1f} tokens on '
      f'average, load before {os.getloadavg()[0]:.1f}'
    )
    sides = {'ours': sys.executable, 'torch': args.torch_python}
    for _ in range(args.rounds):
      for side, python in sides.items():
        command = [python, __file__, '--child', temporary, side]
        command += [f'--cores={args.cores}']
        result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        for name, t in json.loads(result.stdout.splitlines()[-1]).items():
          print(
            f'{side:5} {name:8} {args.captions / t["seconds"]:8.1f} '
            f'captions/s, {args.captions / t["cpu_seconds"]:8.1f} a second of '
            'processor time',
            flush=True,
          )
    here, there = (np.load(directory / f'{side}.npy') for side in sides)
    print(f'largest difference of the outputs {np.abs(here - there).max():.1e}')


if __name__ == '__main__':
  main()
