"""CLIP's image tower: its size; what it refuses (parity: test_clip_score)."""

import dataclasses

import jax
import numpy as np
import pytest

from imagen_jax.files import weights
from imagen_jax.models import clip_image


def test_vit_l_14_has_its_size():
  """303,179,776 in the tower, with the projection 303,966,208."""
  tree = clip_image.param_shapes(clip_image.LARGE)
  shapes = weights.flatten(tree)
  count = {name: int(np.prod(shape)) for name, shape in shapes.items()}
  assert clip_image.LARGE.tokens == 257
  tower = 303_179_776
  assert sum(count.values()) == tower + count['projection.kernel']


@pytest.mark.parametrize(
  'change, words',
  [
    ({'patch': 15}, 'resolution 224 is no multiple of the patch of 15'),
    ({'num_heads': 3}, 'emb_dim 1024 does not divide into 3'),
    ({'mlp_dim': 0}, 'mlp_dim is 0'),
    ({'activation': 'swish'}, "'swish' is not known"),
  ],
)
def test_sizes_that_cannot_be_are_refused(change, words):
  with pytest.raises(ValueError, match=words):
    dataclasses.replace(clip_image.LARGE, **change)


def test_pictures_of_another_size_are_refused():
  picture = jax.ShapeDtypeStruct((1, 256, 256, 3), np.float32)
  network = clip_image.CLIPImage(clip_image.LARGE)
  with pytest.raises(ValueError, match=r'\(256, 256, 3\), the tower takes'):
    jax.eval_shape(network.init, jax.random.key(0), picture)
