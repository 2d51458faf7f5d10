"""Hugging Face directories: config.json and safetensors, of T5, CLIP, BERT.

One file, or several with an index; encoder alone or full model; names of
today and of older files. Names become ours, kernels [in, out]; nothing is read
before it is asked for. `.bin` and `.pt` files are pickles and are not opened.
"""

import re

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
  for theirs, ours in (('layer_norm1', 'attention'), ('layer_norm2', 'mlp')):
    rules += _rows(rf'{layer}\.{theirs}', rf'layers_\1.{ours}_norm', _NORM)
  for theirs, ours in (
    (r'self_attn\.q_proj', 'attention.query'),
    (r'self_attn\.k_proj', 'attention.key'),
    (r'self_attn\.v_proj', 'attention.value'),
    (r'self_attn\.out_proj', 'attention.out'),
    (r'mlp\.fc1', 'mlp.wi'),
    (r'mlp\.fc2', 'mlp.wo'),
  ):
    rules += _rows(rf'{layer}\.{theirs}', rf'layers_\1.{ours}', _WEIGHT_OR_BIAS)
  return rules


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
  for theirs, ours in (
    (r'attention\.output\.LayerNorm', 'attention_norm'),
    (r'output\.LayerNorm', 'mlp_norm'),
  ):
    rules += _rows(rf'{layer}\.{theirs}', rf'layers_\1.{ours}', _NORM)
  for theirs, ours in (
    (r'attention\.self\.query', 'attention.query'),
    (r'attention\.self\.key', 'attention.key'),
    (r'attention\.self\.value', 'attention.value'),
    (r'attention\.output\.dense', 'attention.out'),
    (r'intermediate\.dense', 'mlp.wi'),
    (r'output\.dense', 'mlp.wo'),
  ):
    rules += _rows(rf'{layer}\.{theirs}', rf'layers_\1.{ours}', _WEIGHT_OR_BIAS)
  return rules


def is_one(names: list[str]) -> bool:
  """Does a directory with these files belong to this module?"""
  return CONFIG_FILE in names


def read(folder: files.Folder):
  """Config and tensors by our names; raises ValueError with the remedy."""
  fields = files.read_json(folder, CONFIG_FILE)
  found = _all_tensors(folder)
  kind = fields.get('model_type')
  if kind in ('t5', 'mt5'):
    return _t5_config(fields), _renamed(found, _t5_rules())
  if kind in ('clip', 'clip_text_model'):
    ours = _renamed(found, _clip_rules())
    config = _clip_config(fields, 'projection.kernel' in ours)
    return config, ours
  if kind == 'bert':
    ours = _renamed(found, _bert_rules())
    return _bert_config(fields, 'pooler.kernel' in ours), ours
  raise ValueError(
    f"{folder}/{CONFIG_FILE}: model_type is {kind!r}; text encoders are 't5', "
    "'mt5', 'clip', 'clip_text_model' and 'bert'"
  )


def _t5_config(fields):
  activation = fields.get('feed_forward_proj', 'relu')
  known = {
    'relu': ('relu',),
    'gated-gelu': ('gelu', 'linear'),
    'gated-silu': ('silu', 'linear'),
  }
  if activation not in known:
    raise ValueError(
      f'feed_forward_proj is {activation!r}; known are {sorted(known)}'
    )
  return t5.T5Config(
    vocab_size=fields.get('vocab_size', 32128),
    emb_dim=fields.get('d_model', 512),
    num_heads=fields.get('num_heads', 8),
    head_dim=fields.get('d_kv', 64),
    mlp_dim=fields.get('d_ff', 2048),
    num_encoder_layers=fields.get('num_layers', 6),
    mlp_activations=known[activation],
    relative_attention_num_buckets=fields.get(
      'relative_attention_num_buckets', 32
    ),
    relative_attention_max_distance=fields.get(
      'relative_attention_max_distance', 128
    ),
    layer_norm_epsilon=fields.get('layer_norm_epsilon', 1e-6),
  )


def _clip_config(fields, projection):
  text = fields.get('text_config', fields)
  return clip_text.CLIPTextConfig(
    vocab_size=text.get('vocab_size', 49408),
    emb_dim=text.get('hidden_size', 512),
    num_heads=text.get('num_attention_heads', 8),
    mlp_dim=text.get('intermediate_size', 2048),
    num_layers=text.get('num_hidden_layers', 12),
    max_positions=text.get('max_position_embeddings', 77),
    activation=text.get('hidden_act', 'quick_gelu'),
    eos_id=text.get('eos_token_id', 49407),
    projection_dim=fields.get('projection_dim', 512) if projection else None,
    layer_norm_epsilon=text.get('layer_norm_eps', 1e-5),
  )


def _bert_config(fields, pooler):
  positions = fields.get('position_embedding_type', 'absolute')
  if positions != 'absolute':
    raise ValueError(
      f"position_embedding_type is {positions!r}; only 'absolute' is read"
    )
  return bert.BERTConfig(
    vocab_size=fields.get('vocab_size', 30522),
    emb_dim=fields.get('hidden_size', 768),
    num_heads=fields.get('num_attention_heads', 12),
    mlp_dim=fields.get('intermediate_size', 3072),
    num_layers=fields.get('num_hidden_layers', 12),
    max_positions=fields.get('max_position_embeddings', 512),
    token_types=fields.get('type_vocab_size', 2),
    activation=fields.get('hidden_act', 'gelu'),
    pooler=pooler,
    layer_norm_epsilon=fields.get('layer_norm_eps', 1e-12),
  )


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
