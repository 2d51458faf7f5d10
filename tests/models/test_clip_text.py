"""CLIP's text tower: its size; who sees whom (parity: test_checkpoints)."""

import dataclasses

import jax
import numpy as np
import pytest

from imagen_jax.models import clip_text
from imagen_jax.text import encoders


def test_vit_l_14_has_its_size():
  """85.1M and 123.7M, section 6 of the spec."""
  shapes = encoders.param_shapes(clip_text.LARGE)
  count = {name: int(np.prod(shape)) for name, shape in shapes.items()}
  embeddings = sum(n for name, n in count.items() if 'embedding' in name)
  projection = count['projection.kernel']
  assert sum(count.values()) == 123_650_304
  assert sum(count.values()) - embeddings - projection == 85_056_000


def test_unknown_activation_is_refused():
  with pytest.raises(ValueError, match='swish.*there are'):
    dataclasses.replace(clip_text.LARGE, activation='swish')


def test_more_tokens_than_positions_are_refused():
  tokens = jax.ShapeDtypeStruct((1, 78), np.int32)
  network = clip_text.CLIPText(clip_text.LARGE)
  with pytest.raises(ValueError, match='78 tokens, .* has 77 positions'):
    jax.eval_shape(network.init, jax.random.key(0), tokens, tokens)
