"""Low-rank adaptation (Hu et al. 2021): fine-tuning a few small matrices.

Not in the paper. A kernel W [c, d] of attention becomes W + scale A B with A
[c, rank] random and B [rank, d] zero at first; only A and B are trained. They
lie in the tree of parameters under 'lora', by the path of their kernel, and are
merged into plain weights wherever the network is used or written.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp

from imagen_jax.config import checks

KEY = 'lora'  # of the factors in the tree of parameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRA:
  """Which kernels are adapted, and how."""

  rank: int = 8  # of the matrix that is added to each kernel
  scale: float = 1.0  # of that matrix
  # Regex of kernels' paths: queries, keys, values and outputs of attention.
  paths: str = r'_(attention|text)(_\d+)?/\w+/kernel$'

  def __post_init__(self):
    if self.rank < 1:
      raise ValueError(f'LoRA.rank is {self.rank}; it must be at least 1')
    checks.require_regex(self.paths, 'LoRA.paths')


def with_factors(lora, params, key):
  """`params` and the factors of the kernels that `lora` names.

  Raises ValueError where there is no such matrix.
  """
  factors = {}
  for path, p in jax.tree.leaves_with_path(params):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    if p.ndim != 2 or not re.search(lora.paths, name):
      continue
    node = factors
    for part in name.split('/'):
      node = node.setdefault(part, {})
    key, one = jax.random.split(key)
    rows, columns = p.shape
    node['a'] = jax.random.normal(one, [rows, lora.rank]) / rows**0.5
    node['b'] = jnp.zeros([lora.rank, columns])
  if not factors:
    raise ValueError(
      f'LoRA.paths {lora.paths!r} matches no matrix; the paths look like '
      'middle_attention/query/kernel'
    )
  return {**params, KEY: factors}


def merged(lora, params):
  """The network's plain parameters; the same tree where there is no `lora`."""
  if lora is None:
    return params
  params = dict(params)
  return _add(params, params.pop(KEY), lora.scale)


def _add(tree, factors, scale):
  if 'a' in factors:
    return tree + scale * (factors['a'] @ factors['b'])
  return {
    name: _add(value, factors[name], scale) if name in factors else value
    for name, value in tree.items()
  }
