"""Hugging Face directories: config.json and safetensors, of T5, CLIP, BERT.

One file, or several with an index; encoder alone or full model; names of
today and of older files. Names become ours, kernels [in, out]; nothing is read
before it is asked for. `.bin` and `.pt` files are pickles and are not opened.
"""

import dataclasses
import re

from imagen_jax import fields as field_types
from imagen_jax.models import bert, clip_text, t5
from imagen_jax.text import files, tensors

CONFIG_FILE = 'config.json'
_INDEX = 'model.safetensors.index.json'
_WHOLE = 'model.safetensors'
PICKLES = ('.bin', '.pt', '.pth', '.ckpt')

# (theirs, ours); a trailing 'T' in ours transposes; None = known, not needed.
_WEIGHT_OR_BIAS = [('weight', 'kernel T'), ('bias', 'bias')]
_NORM = [
  ('(?:weight|gamma)', 'scale'),
  ('(?:bias|beta)', 'bias'),
]


def _rows(theirs, ours, leaves):
  return [(rf'{theirs}\.{t}', f'{ours}.{o}') for t, o in leaves]


def _layer_rules(theirs, norms, linear):
  """Rules of a layer's norms and linear maps, each (theirs, ours)."""
  rules = []
  for pairs, leaves in ((norms, _NORM), (linear, _WEIGHT_OR_BIAS)):
    for name, ours in pairs:
      rules += _rows(rf'{theirs}\.{name}', rf'layers_\1.{ours}', leaves)
  return rules


def _t5_rules():
  block = r'encoder\.block\.(\d+)\.layer'
  rules = [
    (r'shared\.weight', 'token_embedder.embedding'),
    (r'encoder\.embed_tokens\.weight', 'token_embedder.embedding'),
    (r'encoder\.final_layer_norm\.weight', 'encoder.encoder_norm.scale'),
    (
      r'encoder\.block\.0\.layer\.0\.SelfAttention'
      r'\.relative_attention_bias\.weight',
      'encoder.relpos_bias.rel_embedding T',
    ),
    (
      rf'{block}\.0\.layer_norm\.weight',
      r'encoder.layers_\1.pre_attention_layer_norm.scale',
    ),
    (
      rf'{block}\.1\.layer_norm\.weight',
      r'encoder.layers_\1.pre_mlp_layer_norm.scale',
    ),
    (
      rf'{block}\.1\.DenseReluDense\.(wi|wi_0|wi_1|wo)\.weight',
      r'encoder.layers_\1.mlp.\2.kernel T',
    ),
    (r'decoder\..*|lm_head\.weight', None),
  ]
  for theirs, ours in zip('qkvo', ('query', 'key', 'value', 'out')):
    rules.append(
      (
        rf'{block}\.0\.SelfAttention\.{theirs}\.weight',
        rf'encoder.layers_\1.attention.{ours}.kernel T',
      )
    )
  return rules


def _clip_rules():
  top, layer = r'(?:text_model\.)?', r'(?:text_model\.)?encoder\.layers\.(\d+)'
  rules = [
    (
      rf'{top}embeddings\.(token|position)_embedding\.weight',
      r'\1_embedding.embedding',
    ),
    (r'text_projection\.weight', 'projection.kernel T'),
    (rf'{top}embeddings\.position_ids', None),
    (r'vision_model\..*|visual_projection\.weight|logit_scale', None),
  ]
  rules += _rows(rf'{top}final_layer_norm', 'final_norm', _NORM)
  return rules + _layer_rules(
    layer,
    norms=(('layer_norm1', 'attention_norm'), ('layer_norm2', 'mlp_norm')),
    linear=(
      (r'self_attn\.q_proj', 'attention.query'),
      (r'self_attn\.k_proj', 'attention.key'),
      (r'self_attn\.v_proj', 'attention.value'),
      (r'self_attn\.out_proj', 'attention.out'),
      (r'mlp\.fc1', 'mlp.wi'),
      (r'mlp\.fc2', 'mlp.wo'),
    ),
  )


def _bert_rules():
  top, layer = r'(?:bert\.)?', r'(?:bert\.)?encoder\.layer\.(\d+)'
  rules = [
    (
      rf'{top}embeddings\.(word|position)_embeddings\.weight',
      r'\1_embedding.embedding',
    ),
    (
      rf'{top}embeddings\.token_type_embeddings\.weight',
      'type_embedding.embedding',
    ),
    (rf'{top}embeddings\.(?:position_ids|token_type_ids)', None),
    (r'cls\..*', None),
  ]
  rules += _rows(rf'{top}embeddings\.LayerNorm', 'embedding_norm', _NORM)
  rules += _rows(rf'{top}pooler\.dense', 'pooler', _WEIGHT_OR_BIAS)
  return rules + _layer_rules(
    layer,
    norms=(
      (r'attention\.output\.LayerNorm', 'attention_norm'),
      (r'output\.LayerNorm', 'mlp_norm'),
    ),
    linear=(
      (r'attention\.self\.query', 'attention.query'),
      (r'attention\.self\.key', 'attention.key'),
      (r'attention\.self\.value', 'attention.value'),
      (r'attention\.output\.dense', 'attention.out'),
      (r'intermediate\.dense', 'mlp.wi'),
      (r'output\.dense', 'mlp.wo'),
    ),
  )


def is_one(names: list[str]) -> bool:
  """Does a directory with these files belong to this module?"""
  return CONFIG_FILE in names


def read(folder: files.Folder):
  """Config and tensors by our names; raises ValueError with the remedy."""
  fields = files.read_json(folder, CONFIG_FILE)
  found = _all_tensors(folder)
  kind, where = fields.get('model_type'), f'{folder}/{CONFIG_FILE}'
  if kind in ('t5', 'mt5'):
    return _t5_config(fields, where), _renamed(found, _t5_rules())
  if kind in ('clip', 'clip_text_model'):
    ours = _renamed(found, _clip_rules())
    config = _clip_config(fields, 'projection.kernel' in ours, where)
    return config, ours
  if kind == 'bert':
    ours = _renamed(found, _bert_rules())
    return _bert_config(fields, 'pooler.kernel' in ours, where), ours
  raise ValueError(
    f"{where}: model_type is {kind!r}; text encoders are 't5', "
    "'mt5', 'clip', 'clip_text_model' and 'bert'"
  )


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
  field_types.require(size, int | None, f'{where}: projection_dim')
  table = {**_tower(0), 'eos_id': ('eos_token_id', 49407)}
  return _config(
    clip_text.CLIPTextConfig, text, where, table, projection_dim=size
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
    field_types.require(values[ours], kinds[ours], f'{where}: {theirs}')
  return field_types.build(cls, {**values, **others}, where)


def _renamed(found, rules):
  """Tensors by our names; those without a rule keep theirs, and are left over.

  Of two names for one of ours (older files repeat the embedding) the first
  rule wins.
  """
  ours, rank = {}, {}
  for name, tensor in found.items():
    match, template, i = _rule(name, rules)
    if match is None:
      ours[name] = tensor
    elif template is not None:
      new, _, transpose = match.expand(template).partition(' ')
      if i < rank.get(new, len(rules)):
        ours[new] = tensors.transposed(tensor) if transpose else tensor
        rank[new] = i
  return ours


def _rule(name, rules):
  """Match, template and place of the first rule for a name."""
  for i, (pattern, template) in enumerate(rules):
    if match := re.fullmatch(pattern, name):
      return match, template, i
  return None, None, None


def _all_tensors(folder):
  """Tensors of the directory's safetensors by their names in it."""
  there = folder.names()
  if _INDEX in there:
    return _sharded(folder, there)
  if _WHOLE in there:
    return tensors.safetensors(folder, _WHOLE)
  found = [name for name in there if name.endswith('.safetensors')]
  if len(found) == 1 and '-of-' not in found[0]:
    return tensors.safetensors(folder, found[0])
  if found:
    raise ValueError(
      f'{folder} has {", ".join(found[:6])} but no {_INDEX}: half of a '
      'sharded checkpoint; copy the whole directory'
    )
  pickles = [name for name in there if name.endswith(PICKLES)]
  if pickles:
    raise ValueError(no_pickles(folder, pickles))
  raise ValueError(f'{folder} has a {CONFIG_FILE} but no safetensors file')


def _sharded(folder, there):
  weight_map = files.read_json(folder, _INDEX).get('weight_map', {})
  texts = isinstance(weight_map, dict)
  if not texts or not all(isinstance(v, str) for v in weight_map.values()):
    raise ValueError(
      f'{folder}/{_INDEX}: weight_map is no table of file names; copy it again'
    )
  names = sorted(set(weight_map.values()))
  missing = [name for name in names if name not in there]
  if missing or not names:
    raise ValueError(
      f'{folder}: {_INDEX} names {len(names)} files, missing are '
      f'{", ".join(missing) or "all"}; copy the whole directory'
    )
  found = {}
  for file in names:
    found |= tensors.safetensors(folder, file)
  absent = sorted(set(weight_map) - set(found))
  if absent:
    raise ValueError(
      f'{folder}: {weight_map[absent[0]]} has no {absent[0]}, which {_INDEX} '
      'says it has; copy the whole directory again'
    )
  return found


def no_pickles(folder: files.Folder, names: list[str]) -> str:
  """Why such files are refused, and what to do."""
  return (
    f'{folder} has its weights in {", ".join(names[:6])} alone: pickles, '
    'which can run any program and are never opened. Download the '
    'safetensors files of the same model, or convert it where you trust the '
    'file: model.save_pretrained(DIR, safe_serialization=True)'
  )
