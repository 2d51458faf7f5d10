"""Memory of T5-XXL's encoder on a slice of eight TPU v5e chips, by compiling.

  TPU_SKIP_MDS_QUERY=1 python benchmarks/text_tpu.py [--batch=32] [--length=128]

Needs libtpu (pip install libtpu) and no TPU: XLA compiles `encoders.embed` in
bfloat16 for the named slice, with the weights spread as `load_encoder` spreads
them, and says what each chip holds. A program that does not fit is an error
that names the bytes. --layers=N compiles fewer of the 24 layers; --quick lets
XLA try less hard, with which it compiles sooner and may need more memory.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import time

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from imagen_jax.files import weights
from imagen_jax.models import t5
from imagen_jax.parallel import partitioning
from imagen_jax.text import encoders, tensors


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--batch', type=int, default=32)
  parser.add_argument('--length', type=int, default=128)
  parser.add_argument('--layers', type=int, default=t5.XXL.num_encoder_layers)
  parser.add_argument('--topology', default='v5e:2x4')
  parser.add_argument('--quick', action='store_true')
  args = parser.parse_args()
  if args.quick:
    jax.config.update('jax_optimization_level', 'O1')
    jax.config.update('jax_memory_fitting_level', 'O0')
  slice_ = topologies.get_topology_desc(
    platform='tpu', topology_name=args.topology
  )
  settings = partitioning.MeshConfig(data=1, fsdp=len(slice_.devices))
  mesh = partitioning.make_mesh(settings, slice_.devices)
  config = dataclasses.replace(
    t5.XXL,
    dtype='bfloat16',
    num_encoder_layers=args.layers,
    num_decoder_layers=0,
  )
  flat = {}
  for name, shape in encoders.param_shapes(config).items():
    dtype = tensors.leaf_dtype(name, config.dtype)
    spec = tensors.spec_for(
      name, shape, dtype, mesh, config.num_heads, settings
    )
    sharding = jax.sharding.NamedSharding(mesh, spec)
    flat[name] = jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
  batch = partitioning.batch_sharding(mesh)
  shape = (args.batch, args.length)
  tokens = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=batch)
  mask = jax.ShapeDtypeStruct(shape, jnp.bool_, sharding=batch)
  start = time.perf_counter()
  with jax.set_mesh(mesh):
    lowered = jax.jit(encoders.embed, static_argnums=0).lower(
      config, weights.unflatten(flat), tokens, mask
    )
    compiled = lowered.compile()
  memory = compiled.memory_analysis()
  sizes = {
    'weights and tokens': memory.argument_size_in_bytes,
    'temporaries': memory.temp_size_in_bytes,
    'text': memory.output_size_in_bytes,
    'program': memory.generated_code_size_in_bytes,
  }
  print(
    f'{args.topology}, {args.layers} layers, {args.batch} captions of '
    f'{args.length} tokens: '
    + ', '.join(f'{name} {size / 1e9:.3f} GB' for name, size in sizes.items())
    + f' a chip; {sum(sizes.values()) / 1e9:.3f} GB together; compiled in '
    f'{time.perf_counter() - start:.0f} s'
  )


if __name__ == '__main__':
  main()
