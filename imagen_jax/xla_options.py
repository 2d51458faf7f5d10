"""Options of XLA for the train step on a CPU.

Since jax 0.10, XLA hands convolutions, matrix products and what follows them to
YNNPACK on a CPU. For wide networks Eigen, which it replaced, is faster: forward
convolutions run at 150 in the place of 120 GFLOP/s on a core with AVX-512, and
gradients for their kernels in a quarter of the time. Sums stay with YNNPACK,
which is faster at those; see benchmarks/README.md.
"""

import functools

import jax

_CPU = {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_REDUCE'}
_UNKNOWN = 'No such compile option', 'is not a valid enum value'


def of(mesh):
  """What `jax.jit(compiler_options=...)` is given for programs on `mesh`.

  None on accelerators, and where this release of XLA has no such option: the
  program is then the same, only slower.
  """
  if mesh.devices.flat[0].platform != 'cpu':
    return None
  return _CPU if _known(tuple(_CPU.items())) else None


@functools.cache
def _known(options):
  """Whether XLA takes these options, as pairs, found by trying them."""
  here = jax.sharding.SingleDeviceSharding(jax.local_devices(backend='cpu')[0])
  number = jax.ShapeDtypeStruct((), 'float32', sharding=here)
  try:
    jax.jit(lambda x: -x).lower(number).compile(compiler_options=dict(options))
  except jax.errors.JaxRuntimeError as e:
    if any(words in str(e) for words in _UNKNOWN):
      return False
    raise
  return True
