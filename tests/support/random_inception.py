"""FID's InceptionV3 with weights from a formula, by their names in torch.

The formula is that of the reference values in tests/data/evaluation: normal
numbers of a generator seeded with 3 and the CRC-32 of the parameter's name.
"""

import zlib

import numpy as np

from imagen_jax.files import weights
from imagen_jax.models import inception

SEED = 3


def state() -> dict[str, np.ndarray]:
  """All parameters, in torch's layout, float32."""
  found = {}
  for name, shape in weights.flatten(inception.param_shapes()).items():
    module, leaf = name.rsplit('.', 1)
    if leaf == 'bias':
      continue
    if module == 'fc':
      found['fc.weight'] = 0.02 * _normal('fc.weight', shape[::-1])
      found['fc.bias'] = 0.02 * _normal('fc.bias', shape[1:])
      continue
    height, width, inputs, outputs = shape
    conv, norm = f'{module}.conv.weight', f'{module}.bn'
    fan_in = height * width * inputs
    n = _normal(conv, (outputs, inputs, height, width))
    found[conv] = n * np.sqrt(2 / fan_in)
    for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
      found[f'{norm}.{leaf}'] = 0.1 * _normal(f'{norm}.{leaf}', (outputs,))
    found[f'{norm}.weight'] += 1
    variance = f'{norm}.running_var'
    found[variance] = np.exp(2 * found[variance])
  return {k: v.astype(np.float32) for k, v in found.items()}


def _normal(name, shape):
  rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
  return rng.standard_normal(shape)
