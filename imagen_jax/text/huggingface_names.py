"""Names of tensors in Hugging Face files, theirs -> ours.

T5, CLIP's text and image towers, BERT; the names of today and of older files.
Kernels become [in, out], those of convolutions [h, w, in, out].
"""

import re

from imagen_jax.files import tensors

# (theirs, ours); a trailing 'T' in ours transposes, 'C' is of a convolution;
# None = known, not needed.
_CHANGES = {'T': tensors.transposed, 'C': tensors.of_convolution}
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


def t5_rules():
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


def clip_rules():
  top = r'(?:text_model\.)?'
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
  return rules + _clip_layer_rules(top)


def clip_image_rules():
  top = r'vision_model\.'
  rules = [
    (rf'{top}embeddings\.class_embedding', 'class_embedding'),
    (
      rf'{top}embeddings\.patch_embedding\.weight',
      'patch_embedding.kernel C',
    ),
    (
      rf'{top}embeddings\.position_embedding\.weight',
      'position_embedding.embedding',
    ),
    (r'visual_projection\.weight', 'projection.kernel T'),
    (rf'{top}embeddings\.position_ids', None),
    (r'text_model\..*|text_projection\.weight|logit_scale', None),
  ]
  rules += _rows(rf'{top}pre_layrnorm', 'pre_norm', _NORM)  # their spelling
  rules += _rows(rf'{top}post_layernorm', 'final_norm', _NORM)
  return rules + _clip_layer_rules(top)


def _clip_layer_rules(top):
  """Of the layers, which are alike in both towers."""
  return _layer_rules(
    rf'{top}encoder\.layers\.(\d+)',
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


def bert_rules():
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


def renamed(found, rules):
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
      new, _, change = match.expand(template).partition(' ')
      if i < rank.get(new, len(rules)):
        ours[new] = _CHANGES[change](tensor) if change else tensor
        rank[new] = i
  return ours


def _rule(name, rules):
  """Match, template and place of the first rule for a name."""
  for i, (pattern, template) in enumerate(rules):
    if match := re.fullmatch(pattern, name):
      return match, template, i
  return None, None, None
