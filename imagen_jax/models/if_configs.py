"""An IF U-Net's config.json in diffusers, to `IFUNetConfig` and back.

Their `UNet2DConditionModel` is many networks in one; the keys below choose
IF's. What they choose otherwise is refused by the key's name. A key that is
absent has the default of their constructor, whatever release wrote the file.
"""

from imagen_jax.models import if_unet

CLASS = 'UNet2DConditionModel'
_PLAIN_DOWN, _ATTENDING_DOWN = (
  'ResnetDownsampleBlock2D',
  'SimpleCrossAttnDownBlock2D',
)
_UP = {
  _PLAIN_DOWN: 'ResnetUpsampleBlock2D',
  _ATTENDING_DOWN: 'SimpleCrossAttnUpBlock2D',
}
# Key: (their default, the values that are IF's, the first of them written).
_FIXED = {
  'act_fn': ('silu', ('gelu',)),
  'addition_embed_type': (None, ('text',)),
  'attention_type': ('default', ('default',)),
  'center_input_sample': (False, (False,)),
  'class_embeddings_concat': (False, (False,)),
  'conv_in_kernel': (3, (3,)),
  'conv_out_kernel': (3, (3,)),
  'cross_attention_norm': (None, ('group_norm',)),
  'dual_cross_attention': (False, (False,)),
  'encoder_hid_dim_type': (None, ('text_proj', None)),  # None: before 0.17
  'flip_sin_to_cos': (True, (True,)),
  'freq_shift': (0, (0,)),
  'mid_block_only_cross_attention': (None, (None, False)),
  'mid_block_type': (
    'UNetMidBlock2DCrossAttn',
    ('UNetMidBlock2DSimpleCrossAttn',),
  ),
  'norm_eps': (1e-5, (1e-5,)),
  'num_attention_heads': (None, (None,)),
  'num_class_embeds': (None, (None,)),
  'only_cross_attention': (False, (False,)),
  'out_channels': (4, (2 * if_unet.COLOURS,)),
  'resnet_time_scale_shift': ('default', ('scale_shift',)),
  'time_cond_proj_dim': (None, (None,)),
  'time_embedding_type': ('positional', ('positional',)),
  'timestep_post_act': (None, (None,)),
}
# Of the layers that IF has not, or of training alone.
_UNUSED = (
  'addition_time_embed_dim',
  'downsample_padding',
  'dropout',
  'projection_class_embeddings_input_dim',
  'reverse_transformer_layers_per_block',
  'transformer_layers_per_block',
  'upcast_attention',
  'use_linear_projection',
)
# Read below, with their defaults; None = must be there.
_SIZES = {
  'addition_embed_type_num_heads': 64,
  'attention_head_dim': 8,
  'block_out_channels': (320, 640, 1280, 1280),
  'class_embed_type': None,
  'cross_attention_dim': 1280,
  'down_block_types': None,
  'encoder_hid_dim': None,
  'in_channels': 4,
  'layers_per_block': 2,
  'mid_block_scale_factor': 1,
  'norm_num_groups': 32,
  'resnet_out_scale_factor': 1.0,
  'resnet_skip_time_act': False,
  'sample_size': None,
  'time_embedding_act_fn': None,
  'time_embedding_dim': None,
  'up_block_types': None,
}
_NOT_IF = (
  'this is not the U-Net of a DeepFloyd IF stage, the only diffusers model '
  'that is read'
)


def from_diffusers(fields: dict, where: str) -> if_unet.IFUNetConfig:
  """The sizes in a config.json; ValueError names the key that does not fit.

  Args:
    fields: the file's object.
    where: the file, for error messages.
  """
  _check_fixed(fields, where)
  get = _Getter(fields, where)
  widths = get.numbers('block_out_channels')
  levels = len(widths)
  kinds = _block_types(get, levels)
  resolution = get.one('sample_size')
  stage_two = _check_stage(get)
  sizes = {
    'resolution': resolution,
    'widths': widths,
    'blocks': get.numbers('layers_per_block', levels),
    'attention': tuple(
      resolution // 2**i
      for i, kind in enumerate(kinds)
      if kind == _ATTENDING_DOWN
    ),
    'head_width': get.one('attention_head_dim'),
    'embedding_width': get('time_embedding_dim') or 4 * widths[0],
    'text_width': get.one('encoder_hid_dim'),
    'text_projection': get.one('cross_attention_dim'),
    'pool_heads': get.one('addition_embed_type_num_heads'),
    'groups': get.one('norm_num_groups'),
    'low_res': stage_two,
    'divisor': float(get('resnet_out_scale_factor')),
  }
  try:
    return if_unet.IFUNetConfig(**sizes)
  except (TypeError, ValueError) as e:
    raise ValueError(f'{where}: {e}') from e


def to_diffusers(config: if_unet.IFUNetConfig) -> dict:
  """The config.json of a network, as their releases since 0.17 read it."""
  down = [
    _ATTENDING_DOWN if grid in config.attention else _PLAIN_DOWN
    for grid in config.grids
  ]
  return {
    '_class_name': CLASS,
    **{key: allowed[0] for key, (_, allowed) in _FIXED.items()},
    'addition_embed_type_num_heads': config.pool_heads,
    'attention_head_dim': config.head_width,
    'block_out_channels': [*config.widths],
    'class_embed_type': 'timestep' if config.low_res else None,
    'cross_attention_dim': config.text_projection,
    'down_block_types': down,
    'encoder_hid_dim': config.text_width,
    'in_channels': if_unet.COLOURS * (2 if config.low_res else 1),
    'layers_per_block': [*config.blocks],
    'mid_block_scale_factor': config.divisor,
    'norm_num_groups': config.groups,
    'resnet_out_scale_factor': config.divisor,
    'resnet_skip_time_act': config.low_res,
    'sample_size': config.resolution,
    'time_embedding_act_fn': 'gelu' if config.low_res else None,
    'time_embedding_dim': config.embedding_width,
    'up_block_types': [_UP[kind] for kind in down[::-1]],
  }


class _Getter:
  """Reads values of a config.json by their keys."""

  def __init__(self, fields, where):
    self.fields, self.where = fields, where

  def __call__(self, key):
    return self.fields.get(key, _SIZES[key])

  def refuse(self, key, wanted):
    raise ValueError(f'{self.where}: {key} is {self(key)!r}; {wanted}')

  def numbers(self, key, count=None):
    """A list of whole numbers; a single one stands for `count`."""
    value = self(key)
    if _whole(value) and count:
      value = [value] * count
    if not isinstance(value, (list, tuple)) or not all(map(_whole, value)):
      self.refuse(key, 'it must be a list of whole numbers')
    if not value or len(value) != (count or len(value)):
      self.refuse(key, f'it must have {count or "some"} of them')
    return tuple(value)

  def one(self, key):
    """A whole number, or a list of equal ones."""
    value = self(key)
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values or not all(map(_whole, values)) or len(set(values)) > 1:
      self.refuse(key, 'it must be one whole number')
    return values[0]


def _whole(value):
  return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_fixed(fields, where):
  """Raises ValueError for another network, naming the key that says so."""
  kind = fields.get('_class_name')
  if kind != CLASS:
    raise ValueError(
      f'{where}: _class_name is {kind!r}, not {CLASS}; {_NOT_IF}'
    )
  for key, (default, allowed) in _FIXED.items():
    value = fields.get(key, default)
    # By type too: True == 1.
    if not any(value == x and _alike(value, x) for x in allowed):
      raise ValueError(
        f'{where}: {key} is {value!r}, IF has {allowed[0]!r}; {_NOT_IF}'
      )
  known = {*_FIXED, *_UNUSED, *_SIZES}
  for key, value in fields.items():
    unknown = key not in known and not key.startswith('_')
    if unknown and value not in (None, False):
      raise ValueError(
        f'{where}: {key} is {value!r}, which no IF network has; {_NOT_IF}'
      )


def _alike(a, b):
  return isinstance(a, bool) == isinstance(b, bool)


def _block_types(get, levels):
  """The kinds of the levels on the way down; those up must mirror them."""
  down, up = get('down_block_types'), get('up_block_types')
  known = isinstance(down, (list, tuple)) and all(
    isinstance(kind, str) and kind in _UP for kind in down
  )
  if not known:
    get.refuse('down_block_types', f'IF has {" and ".join(_UP)}; {_NOT_IF}')
  if len(down) != levels:
    get.refuse('down_block_types', f'block_out_channels has {levels} levels')
  if not isinstance(up, (list, tuple)) or [*up] != [_UP[k] for k in down[::-1]]:
    get.refuse('up_block_types', 'IF mirrors down_block_types')
  return down


def _check_stage(get):
  """Whether it is a super-resolution stage; ValueError where it is neither."""
  embed = get('class_embed_type')
  if embed not in (None, 'timestep'):
    get.refuse('class_embed_type', f"IF has null or 'timestep'; {_NOT_IF}")
  stage_two = embed == 'timestep'
  channels = if_unet.COLOURS * (2 if stage_two else 1)
  if get('in_channels') != channels:
    get.refuse(
      'in_channels', f'with class_embed_type {embed!r} IF has {channels}'
    )
  # Activated once for all blocks, or in each of them: the same numbers.
  once = get('time_embedding_act_fn'), get('resnet_skip_time_act')
  if once not in ((None, False), ('gelu', True)):
    get.refuse(
      'time_embedding_act_fn',
      f"and resnet_skip_time_act {once[1]!r}; IF has null and false or 'gelu' "
      'and true',
    )
  scale, middle = get('resnet_out_scale_factor'), get('mid_block_scale_factor')
  if scale != middle or not isinstance(scale, (int, float)):
    get.refuse(
      'resnet_out_scale_factor',
      f'mid_block_scale_factor {middle!r}: IF has one number for both',
    )
  return stage_two
