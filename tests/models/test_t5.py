"""T5 against T5X: outputs, parameter names, sizes of the published ones."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest

from imagen_jax.models import t5
from imagen_jax.text import checkpoints

DATA = pathlib.Path(__file__).parents[1] / 'data' / 't5x_tiny'
CASES = {
  'gated': 'gated/legacy_sharded/checkpoint_1000',  # T5 1.1
  'tied_relu': 'tied_relu/legacy_inline/checkpoint_2000',  # T5 1.0
}


def _config(case):
  fields = json.loads((DATA / case / 'config.json').read_text())
  known = {field.name for field in dataclasses.fields(t5.T5Config)}
  fields = {k: v for k, v in fields.items() if k in known}
  fields['mlp_activations'] = tuple(fields['mlp_activations'])
  return t5.T5Config(**fields)


def _shapes(module):
  row = jax.ShapeDtypeStruct((1, 4), jnp.int32)
  rows = [row] * (3 if isinstance(module, t5.T5) else 2)
  tree = jax.eval_shape(module.init, jax.random.key(0), *rows)['params']
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='.'): leaf.shape
    for path, leaf in leaves
  }


def _count(shapes, prefix=''):
  return sum(
    int(np.prod(s)) for name, s in shapes.items() if name.startswith(prefix)
  )


@pytest.mark.parametrize('length', ['short', 'long'])
@pytest.mark.parametrize('case', CASES)
def test_encodes_as_t5x(case, length):
  config, params = checkpoints.load_weights(DATA / CASES[case])
  expected = dataclasses.replace(
    _config(case), num_decoder_layers=0, logits_via_embedding=False
  )
  assert config == expected  # derived from the shapes alone
  expected = np.load(DATA / case / 'expected.npz')
  mask = expected[f'{length}_mask']
  text = jax.jit(t5.T5Encoder(config).apply)(
    {'params': params}, expected[f'{length}_tokens'], mask
  )
  difference = (text - expected[f'{length}_encoded']) * mask[..., None]
  assert np.abs(difference).max() < 1e-5


@pytest.mark.parametrize(
  'config, stack, total',
  [
    (t5.SMALL, 18_883_264, 35_332_800),
    (t5.BASE, 84_954_240, 109_628_544),
    (t5.LARGE, 308_332_032, 341_231_104),
    (t5.XL, 1_157_729_280, 1_223_527_424),
    (t5.XXL, 4_630_714_368, 4_762_310_656),
  ],
)
def test_published_encoders_have_their_size(config, stack, total):
  """18.9M to 4.631B without the embedding, section 6 of the spec."""
  shapes = _shapes(t5.T5Encoder(config))
  assert _count(shapes, 'encoder.') == stack
  assert _count(shapes) == total


def test_tiny_t5_has_its_size():
  config = t5.T5Config(
    vocab_size=2048,
    emb_dim=256,
    num_heads=4,
    mlp_dim=640,
    num_encoder_layers=4,
    num_decoder_layers=4,
  )
  assert _count(_shapes(t5.T5Encoder(config))) == 3_541_376
  assert _count(_shapes(t5.T5(config))) == 8_132_352


@pytest.mark.parametrize('case', CASES)
def test_parameters_are_named_as_in_t5x(case):
  """Names and shapes of encoder and decoder, as T5X's file lists them."""
  content = (DATA / CASES[case] / 'checkpoint').read_bytes()
  state = msgpack.unpackb(content, ext_hook=lambda code, data: data)
  found = {}

  def walk(node, name):
    if isinstance(node, bytes):
      found[name] = tuple(msgpack.unpackb(node)[0])
    elif 'kvstore' in node:
      found[name] = tuple(node['metadata']['shape'])
    else:
      for key, child in node.items():
        walk(child, f'{name}.{key}' if name else key)

  walk(state['optimizer']['target'], '')
  assert _shapes(t5.T5(_config(case))) == found


def test_relative_buckets():
  """Raffel et al., section 2.1: one distance each, then logarithmic."""
  kwargs = dict(buckets=32, max_distance=128)
  distance = np.array([0, -1, -7, -8, -11, -12, -127, -500, 1, 7, 8, 500])
  assert t5.relative_buckets(
    distance, bidirectional=True, **kwargs
  ).tolist() == [0, 1, 7, 8, 8, 9, 15, 15, 17, 23, 24, 31]
  # A decoder looks back only, with all 32 buckets.
  distance = np.array([3, 0, -1, -15, -16, -200])
  assert t5.relative_buckets(
    distance, bidirectional=False, **kwargs
  ).tolist() == [0, 0, 1, 15, 16, 31]


TOKENS = np.array([[5, 6, 7, 1, 0, 0]])
TARGETS = np.array([[0, 9, 8, 7, 6]])


_TINY = t5.T5Config(
  vocab_size=40,
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=24,
  num_encoder_layers=2,
  num_decoder_layers=2,
)


@pytest.fixture(scope='module')
def tiny():
  model = t5.T5(_TINY)
  params = jax.jit(model.init)(jax.random.key(0), TOKENS, TOKENS, TARGETS)
  encoder = jax.jit(t5.T5Encoder(_TINY).apply)
  return params, jax.jit(model.apply), encoder


def test_padding_changes_nothing(tiny):
  params, _, encode = tiny
  params = {
    'params': {k: params['params'][k] for k in ('token_embedder', 'encoder')}
  }
  np.testing.assert_allclose(
    encode(params, TOKENS, TOKENS > 0)[:, :4],
    encode(params, TOKENS[:, :4], TOKENS[:, :4] > 0),
    atol=1e-5,
  )


def test_decoder_does_not_look_ahead(tiny):
  params, logits, _ = tiny
  changed = np.where(np.arange(5) < 3, TARGETS, 11)
  one, other = (
    logits(params, TOKENS, TOKENS > 0, targets)
    for targets in (TARGETS, changed)
  )
  np.testing.assert_allclose(one[:, :3], other[:, :3], atol=1e-5)
  assert np.abs(one[:, 3:] - other[:, 3:]).max() > 0.1


def test_decoder_reads_the_text_in_order(tiny):
  """Cross-attention sees words and, through the encoder, their order."""
  params, logits, _ = tiny
  swapped = TOKENS[:, [1, 0, 2, 3, 4, 5]]
  one, other = (
    logits(params, tokens, TOKENS > 0, TARGETS) for tokens in (TOKENS, swapped)
  )
  assert np.abs(one - other).max() > 1e-3


def test_residuals_beyond_float16_survive_bfloat16(tiny):
  """T5-XXL's activations pass 1e5; a bfloat16 sum would lose the rest."""
  params, _, encode = tiny
  config = dataclasses.replace(_TINY, dtype='bfloat16')
  params = {k: params['params'][k] for k in ('token_embedder', 'encoder')}
  # Both branches then add values about 1e5 times as large as before.
  params = jax.tree_util.tree_map_with_path(
    lambda path, x: x * (2e5 if path[-2].key in ('out', 'wo') else 1), params
  )
  variables = {'params': params}
  encoder = t5.T5Encoder(config)

  @jax.jit
  def run(variables):
    return encoder.apply(
      variables, TOKENS, TOKENS > 0, capture_intermediates=True
    )

  text, seen = run(variables)
  layers = jax.tree.leaves(seen['intermediates']['encoder']['layers_1'])
  assert max(np.abs(x.astype(np.float32)).max() for x in layers) > 1e5
  real = TOKENS[0] > 0
  exact = np.asarray(encode(variables, TOKENS, TOKENS > 0))[0, real]
  text = np.asarray(text)[0, real]
  assert np.isfinite(text).all()
  cosine = (text * exact).sum(-1) / np.sqrt(
    (text**2).sum(-1) * (exact**2).sum(-1)
  )
  assert cosine.min() > 0.999


def test_unknown_activation_is_refused():
  with pytest.raises(ValueError, match='swish.*choose from'):
    dataclasses.replace(t5.SMALL, mlp_activations=('swish', 'linear'))
