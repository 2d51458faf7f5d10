"""BERT: its sizes (parity: test_checkpoints)."""

import jax
import numpy as np
import pytest

from imagen_jax.models import bert
from imagen_jax.text import encoders


@pytest.mark.parametrize(
  'config, count',
  [(bert.BASE, 109_482_240), (bert.LARGE, 335_141_888)],
)
def test_published_sizes(config, count):
  """110M and 340M (the latter as its paper rounds it)."""
  shapes = encoders.param_shapes(config)
  assert sum(int(np.prod(shape)) for shape in shapes.values()) == count


def test_more_tokens_than_positions_are_refused():
  tokens = jax.ShapeDtypeStruct((1, 513), np.int32)
  network = bert.BERT(bert.BASE)
  with pytest.raises(ValueError, match='513 tokens, .* has 512 positions'):
    jax.eval_shape(network.init, jax.random.key(0), tokens, tokens)
