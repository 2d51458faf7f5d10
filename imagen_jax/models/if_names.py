"""Names of an IF U-Net's weights in diffusers, theirs <-> ours, in one table.

Their modules are numbered by level, ours named by the grid they work on; their
kernels are [out, in, ...], ours [..., in, out]. Both directions, import and
export, read this table.

  of(config) -> {ours: Name(theirs, axes)},  ours = theirs.transpose(axes)
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax.models import if_unet

_DENSE, _CONV = (1, 0), (2, 3, 1, 0)
# Leaves of each kind of layer: (theirs, ours, axes; None = as they are).
_LEAVES = {
  'dense': (('weight', 'kernel', _DENSE), ('bias', 'bias', None)),
  'conv': (('weight', 'kernel', _CONV), ('bias', 'bias', None)),
  'norm': (('weight', 'scale', None), ('bias', 'bias', None)),
}
# Layers of each kind of module: (theirs, ours, kind of layer).
_LAYERS = {
  'time': (
    ('linear_1', 'dense_0', 'dense'),
    ('linear_2', 'dense_1', 'dense'),
  ),
  'pool': (
    ('norm1', 'norm', 'norm'),
    ('pool.q_proj', 'query', 'dense'),
    ('pool.k_proj', 'key', 'dense'),
    ('pool.v_proj', 'value', 'dense'),
    ('proj', 'output', 'dense'),
    ('norm2', 'output_norm', 'norm'),
  ),
  'block': (
    ('norm1', 'norm_0', 'norm'),
    ('conv1', 'conv_0', 'conv'),
    ('time_emb_proj', 'film', 'dense'),
    ('norm2', 'norm_1', 'norm'),
    ('conv2', 'conv_1', 'conv'),
    ('conv_shortcut', 'skip', 'conv'),  # where the width changes
  ),
  'attention': (
    ('group_norm', 'norm', 'norm'),
    ('to_q', 'query', 'dense'),
    ('to_k', 'key', 'dense'),
    ('to_v', 'value', 'dense'),
    ('to_out.0', 'output', 'dense'),
  ),
  'text': (
    ('norm_cross', 'norm', 'norm'),
    ('add_k_proj', 'key', 'dense'),
    ('add_v_proj', 'value', 'dense'),
  ),
}


class Name(NamedTuple):
  """Where a weight of ours is in their files."""

  theirs: str
  axes: tuple[int, ...] | None  # of theirs, in our order; None = as they are

  def to_ours(self, x):
    """Their array in our order."""
    return x if self.axes is None else x.transpose(self.axes)

  def to_theirs(self, x):
    """Our array in their order."""
    return x if self.axes is None else x.transpose(np.argsort(self.axes))

  def their_shape(self, shape):
    """The shape of theirs, from that of ours."""
    order = range(len(shape)) if self.axes is None else np.argsort(self.axes)
    return tuple(shape[i] for i in order)


def of(config: if_unet.IFUNetConfig) -> dict[str, Name]:
  """Every weight of the network, ours -> theirs."""
  table = {
    'text_pool.position': Name('add_embedding.pool.positional_embedding', None)
  }
  for theirs, ours, kind in _modules(config):
    layers = _LAYERS.get(kind)
    for below, mine, layer in layers or (('', '', kind),):
      for leaf, my_leaf, axes in _LEAVES[layer]:
        name = '.'.join(part for part in (ours, mine, my_leaf) if part)
        theirs_name = '.'.join(part for part in (theirs, below, leaf) if part)
        table[name] = Name(theirs_name, axes)
  shapes = shapes_of(config)
  assert set(shapes) <= set(table), sorted(set(shapes) - set(table))[:3]
  return {name: table[name] for name in shapes}


@functools.lru_cache(maxsize=8)
def shapes_of(config: if_unet.IFUNetConfig) -> dict[str, tuple[int, ...]]:
  """The shape of every weight by our names, nothing computed."""
  side = config.multiple
  inputs = {
    'z': jnp.zeros([1, side, side, if_unet.COLOURS]),
    'logsnr': jnp.zeros([1]),
    'text': jnp.zeros([1, 1, config.text_width]),
  }
  if config.low_res:
    inputs |= {'low_res': inputs['z'], 'aug_logsnr': inputs['logsnr']}
  network = if_unet.IFUNet(config)
  tree = jax.eval_shape(lambda k: network.init(k, **inputs), jax.random.key(0))
  return {
    jax.tree_util.keystr(path, simple=True, separator='.'): leaf.shape
    for path, leaf in jax.tree.leaves_with_path(tree['params'])
  }


def _modules(config):
  """(theirs, ours, kind) of every module, from input to output."""
  yield from (
    ('time_embedding', 'time_embedding', 'time'),
    ('class_embedding', 'level_embedding', 'time'),  # super-resolution
    ('add_embedding', 'text_pool', 'pool'),
    ('encoder_hid_proj', 'text_projection', 'dense'),
    ('conv_in', 'input_conv', 'conv'),
  )
  grids, blocks = config.grids, config.blocks
  for level, (grid, count) in enumerate(zip(grids, blocks)):
    yield from _level(f'down_blocks.{level}', f'down_{grid}', count)
    their_last = f'down_blocks.{level}.downsamplers.0'
    yield their_last, f'down_{grid}_downsample', 'block'
  for i in (0, 1):
    yield f'mid_block.resnets.{i}', f'middle_block_{i}', 'block'
  for kind in ('attention', 'text'):
    yield 'mid_block.attentions.0', f'middle_{kind}', kind
  for level, (grid, count) in enumerate(zip(grids[::-1], blocks[::-1])):
    yield from _level(f'up_blocks.{level}', f'up_{grid}', count + 1)
    yield f'up_blocks.{level}.upsamplers.0', f'up_{grid}_upsample', 'block'
  yield 'conv_norm_out', 'output_norm', 'norm'
  yield 'conv_out', 'output_conv', 'conv'


def _level(theirs, ours, count):
  """The modules of one level, those it may lack among them."""
  for i in range(count):
    yield f'{theirs}.resnets.{i}', f'{ours}_block_{i}', 'block'
    for kind in ('attention', 'text'):
      yield f'{theirs}.attentions.{i}', f'{ours}_{kind}_{i}', kind
