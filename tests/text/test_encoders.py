"""Text directories, and the frozen encoder on captions."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from imagen_jax.models import t5
from imagen_jax.text import encoders, tokenizers

MODEL = pathlib.Path(__file__).parents[1] / 'data/text/spm_captions.model'
CAPTIONS = ['a red fox at sunset', '', 'two pink keys under a night sky']


@pytest.fixture(scope='module')
def encoder():
  config = t5.T5Config(
    vocab_size=512,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=24,
    num_encoder_layers=2,
  )
  row = np.ones((1, 2), np.int32)
  init = jax.jit(t5.T5Encoder(config).init)
  params = init(jax.random.key(1), row, row)['params']
  tokenizer = tokenizers.SentencePieceTokenizer(MODEL, 12, 512)
  return encoders.TextEncoder(config=config, params=params, tokenizer=tokenizer)


@pytest.fixture
def directory(encoder, tmp_path):
  encoders.save(tmp_path / 'text', encoder, np.float16)
  return tmp_path / 'text'


def test_a_text_directory_gives_the_encoder_back(encoder, directory):
  loaded = encoders.load(directory)
  assert loaded.config == encoder.config
  assert loaded.tokenizer.max_length == 12
  for saved, read in zip(
    jax.tree.leaves(encoder.params), jax.tree.leaves(loaded.params)
  ):
    assert read.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(saved, np.float16), read)
  text, mask = encoder.encode(CAPTIONS)
  again, same = loaded.encode(CAPTIONS)
  np.testing.assert_allclose(text, again, atol=2e-2)
  np.testing.assert_array_equal(mask, same)


def test_names_on_disk_are_those_of_t5x(encoder):
  names = encoders.param_shapes(encoder.config)
  assert names['encoder.layers_1.attention.query.kernel'] == (16, 16)
  assert names['token_embedder.embedding'] == (512, 16)
  assert 'encoder.relpos_bias.rel_embedding' in names


def test_the_config_holds_no_path(directory):
  fields = json.loads((directory / 'encoder.json').read_text())
  assert fields['kind'] == 't5' and fields['max_length'] == 12
  assert not any('/' in str(value) for value in fields.values())


def test_text_is_zero_at_padding_and_scaled_elsewhere(encoder):
  text, mask = encoder.encode(CAPTIONS)
  assert text.shape == (3, 12, 16) and mask.sum(1).min() == 1  # the EOS of ''
  assert not text[~mask].any()
  # The last norm (scale 1 here) leaves a mean square of 1.
  np.testing.assert_allclose((text[mask] ** 2).mean(-1), 1.0, atol=1e-3)


def test_a_caption_does_not_depend_on_its_neighbours(encoder):
  together, _ = encoder.encode(CAPTIONS, batch=2)
  for row, caption in zip(together, CAPTIONS):
    alone, _ = encoder.encode([caption], batch=2)
    np.testing.assert_array_equal(row, alone[0])
  assert encoder.encode([])[0].shape == (0, 12, 16)


def test_no_gradient_reaches_the_encoder(encoder):
  tokens, mask = encoder.tokenizer.encode(CAPTIONS)

  def loss(params):
    return encoders.embed(encoder.config, params, tokens, mask).sum()

  grads = jax.jit(jax.grad(loss))(encoder.params)
  assert all(not np.any(g) for g in jax.tree.leaves(grads))


def _edit(directory, **changes):
  path = directory / 'encoder.json'
  path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'emb_dim': 32}, r'is \(16,\), .* says \(32,\)'),
    ({'num_encoder_layers': 3}, 'layers_2.* is nothing'),
    ({'kind': 'clip'}, "kind 'clip'"),
    ({'format_version': 9}, 'format 9.*update'),
    ({'vocab_size': 400}, '315 pieces.*400 rows'),
    ({'colour': 'red'}, 'colour'),
    ({'kind': ['t5']}, r"kind \['t5'\]"),
    ({'emb_dim': '16'}, "emb_dim is '16'; it must be int"),
    ({'num_heads': 0}, 'num_heads is 0; it must be at least 1'),
    ({'mlp_activations': 'gelu'}, "is 'gelu'; it must be tuple of str"),
    ({'max_length': '12'}, "max_length is '12'; it must be a whole number"),
    ({'max_length': None}, 'max_length is None'),
    ({'dtype': 'float16'}, "dtype is 'float16', not one of"),
  ],
)
def test_a_config_that_does_not_fit_is_refused(directory, changes, message):
  _edit(directory, **changes)
  with pytest.raises(ValueError, match=message) as info:
    encoders.load(directory)
  assert '\n' not in str(info.value)


@pytest.mark.parametrize(
  'content, message',
  [
    ('[1]', 'encoder.json holds no object'),
    ('{', 'encoder.json is damaged'),
    ('{"format_version": 1, "kind": "t5", "max_length": 9}', 'emb_dim'),
  ],
)
def test_a_config_that_is_none_is_refused(directory, content, message):
  (directory / 'encoder.json').write_text(content)
  with pytest.raises(ValueError, match=message) as info:
    encoders.load(directory)
  assert '\n' not in str(info.value)


def test_missing_and_damaged_files_are_named(directory, tmp_path):
  with pytest.raises(ValueError, match='encoder.json is missing'):
    encoders.load(tmp_path)
  weights = directory / 'encoder.safetensors'
  weights.write_bytes(weights.read_bytes()[:-100])
  with pytest.raises(ValueError, match='encoder.safetensors is damaged'):
    encoders.load(directory)
  weights.unlink()
  with pytest.raises(ValueError, match='encoder.safetensors is missing'):
    encoders.load(directory)


def test_the_fingerprint_names_all_that_decides_an_embedding(encoder):
  first = encoder.fingerprint()
  assert json.loads(json.dumps(first)) == first
  kept = {**encoder.params, 'encoder': dict(encoder.params['encoder'])}
  norm = kept['encoder']['encoder_norm']['scale']
  kept['encoder']['encoder_norm'] = {'scale': np.nextafter(norm, 2)}
  other_tokens = tokenizers.SentencePieceTokenizer(MODEL, 13, 512)
  changes = {
    'weights': {'params': kept},
    'max_length': {'tokenizer': other_tokens},
    'dtype': {'config': dataclasses.replace(encoder.config, dtype='bfloat16')},
  }
  for field, change in changes.items():
    changed = dataclasses.replace(encoder, **change).fingerprint()
    different = {key for key in first if changed[key] != first[key]}
    assert different == {field}


def test_the_encoder_is_a_value(encoder):
  with pytest.raises(dataclasses.FrozenInstanceError):
    encoder.params = {}
