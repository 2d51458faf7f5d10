"""Hugging Face directories: config.json and safetensors, of T5, CLIP, BERT.

One file, or several with an index; encoder alone or full model; names of
today and of older files. Names become ours, kernels [in, out]; nothing is read
before it is asked for. `.bin` and `.pt` files are pickles and are not opened.
CLIP's image tower is read beside the text where pictures are scored.
"""

import dataclasses

from imagen_jax.config import checks
from imagen_jax.files import json_files, remote, sharded
from imagen_jax.models import bert, clip_image, clip_text, t5
from imagen_jax.text import huggingface_names

CONFIG_FILE = 'config.json'


def is_one(names: list[str]) -> bool:
  """Does a directory with these files belong to this module?"""
  return CONFIG_FILE in names


def read(folder: remote.Folder, variant: str | None = None):
  """Config and tensors by our names; raises ValueError with the remedy.

  `variant` of the weights, such as 'fp16'; None = the best that is there.
  """
  fields = json_files.read_in(folder, CONFIG_FILE)
  found = sharded.find(folder, variant=variant)
  kind, where = fields.get('model_type'), f'{folder}/{CONFIG_FILE}'
  if kind in ('t5', 'mt5'):
    ours = huggingface_names.renamed(found, huggingface_names.t5_rules())
    return _t5_config(fields, where), ours
  if kind in ('clip', 'clip_text_model'):
    ours = huggingface_names.renamed(found, huggingface_names.clip_rules())
    config = _clip_config(fields, 'projection.kernel' in ours, where)
    return config, ours
  if kind == 'bert':
    ours = huggingface_names.renamed(found, huggingface_names.bert_rules())
    return _bert_config(fields, 'pooler.kernel' in ours, where), ours
  if kind == 'umt5':
    raise ValueError(
      f'{where}: model_type is umT5, whose every layer has a relative bias of '
      "its own, which is not read; take a 't5' or 'mt5', such as mT5 of the "
      'same size'
    )
  raise ValueError(
    f"{where}: model_type is {kind!r}; text encoders are 't5', "
    "'mt5', 'clip', 'clip_text_model' and 'bert'"
  )


def read_clip(folder: remote.Folder):
  """Both towers of CLIP: (text config, its tensors), (image's), fields.

  `fields` is what config.json says. Raises ValueError with the remedy.
  """
  fields = json_files.read_in(folder, CONFIG_FILE)
  kind, where = fields.get('model_type'), f'{folder}/{CONFIG_FILE}'
  if kind != 'clip':
    raise ValueError(
      f"{where}: model_type is {kind!r}; pictures are scored with 'clip', "
      'which has a tower for text and one for pictures'
    )
  found = sharded.find(folder)
  text, image = (
    huggingface_names.renamed(found, rules)
    for rules in (
      huggingface_names.clip_rules(),
      huggingface_names.clip_image_rules(),
    )
  )
  config = _clip_config(fields, True, where)
  return (config, text), (_clip_image_config(fields, where), image), fields


def _t5_config(fields, where):
  activation = fields.get('feed_forward_proj', 'relu')
  known = {
    'relu': ('relu',),
    'gated-gelu': ('gelu', 'linear'),
    'gated-silu': ('silu', 'linear'),
  }
  if activation not in [*known]:
    raise ValueError(
      f'feed_forward_proj is {activation!r}; known are {sorted(known)}'
    )
  return _config(
    t5.T5Config,
    fields,
    where,
    {
      'vocab_size': ('vocab_size', 32128),
      'emb_dim': ('d_model', 512),
      'num_heads': ('num_heads', 8),
      'head_dim': ('d_kv', 64),
      'mlp_dim': ('d_ff', 2048),
      'num_encoder_layers': ('num_layers', 6),
      'relative_attention_num_buckets': ('relative_attention_num_buckets', 32),
      'relative_attention_max_distance': (
        'relative_attention_max_distance',
        128,
      ),
      'layer_norm_epsilon': ('layer_norm_epsilon', 1e-6),
    },
    mlp_activations=known[activation],
  )


# What CLIP and BERT call alike: ours -> theirs and its default in both.
_TOWER = {
  'emb_dim': ('hidden_size', (512, 768)),
  'num_heads': ('num_attention_heads', (8, 12)),
  'mlp_dim': ('intermediate_size', (2048, 3072)),
  'num_layers': ('num_hidden_layers', (12, 12)),
  'vocab_size': ('vocab_size', (49408, 30522)),
  'max_positions': ('max_position_embeddings', (77, 512)),
  'activation': ('hidden_act', ('quick_gelu', 'gelu')),
  'layer_norm_epsilon': ('layer_norm_eps', (1e-5, 1e-12)),
}


def _tower(kind):
  """The table of CLIP (0) or BERT (1)."""
  return {k: (name, both[kind]) for k, (name, both) in _TOWER.items()}


def _clip_config(fields, projection, where):
  text = fields.get('text_config', fields)
  if not isinstance(text, dict):
    raise ValueError(f'{where}: text_config is {text!r}; copy it again')
  # Beside text_config, not in it.
  size = fields.get('projection_dim', 512) if projection else None
  checks.require(size, int | None, f'{where}: projection_dim')
  table = {**_tower(0), 'eos_id': ('eos_token_id', 49407)}
  return _config(
    clip_text.CLIPTextConfig, text, where, table, projection_dim=size
  )


def _clip_image_config(fields, where):
  image = fields.get('vision_config')
  if not isinstance(image, dict):
    raise ValueError(f'{where}: vision_config is {image!r}; copy it again')
  channels = image.get('num_channels', 3)
  if channels != 3:
    raise ValueError(f'{where}: num_channels is {channels!r}; pictures have 3')
  size = fields.get('projection_dim', 512)
  checks.require(size, int, f'{where}: projection_dim')
  tower = {
    ours: (theirs, default)
    for ours, (theirs, default) in _tower(0).items()
    if ours not in ('vocab_size', 'max_positions')
  }
  table = {
    **tower,
    # Other defaults than the text's.
    'emb_dim': ('hidden_size', 768),
    'num_heads': ('num_attention_heads', 12),
    'mlp_dim': ('intermediate_size', 3072),
    'patch': ('patch_size', 32),
    'resolution': ('image_size', 224),
  }
  return _config(
    clip_image.CLIPImageConfig, image, where, table, projection_dim=size
  )


def _bert_config(fields, pooler, where):
  positions = fields.get('position_embedding_type', 'absolute')
  if positions != 'absolute':
    raise ValueError(
      f"position_embedding_type is {positions!r}; only 'absolute' is read"
    )
  table = {**_tower(1), 'token_types': ('type_vocab_size', 2)}
  return _config(bert.BERTConfig, fields, where, table, pooler=pooler)


def _config(cls, fields, where, table, **others):
  """A config of ours from fields of theirs: {ours: (theirs, default)}."""
  kinds = {field.name: field.type for field in dataclasses.fields(cls)}
  values = {}
  for ours, (theirs, default) in table.items():
    values[ours] = fields.get(theirs, default)
    checks.require(values[ours], kinds[ours], f'{where}: {theirs}')
  return checks.build(cls, {**values, **others}, where)
