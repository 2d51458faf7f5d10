"""BERT's objective: sizes that cannot be."""

import pytest

from imagen_jax.models import bert
from imagen_jax.training.pretraining import masked


def _model(**changes):
  sizes = {'emb_dim': 16, 'num_heads': 2, 'mlp_dim': 24, 'num_layers': 1}
  return bert.BERTConfig(**{**sizes, 'pooler': False, **changes})


def test_lines_longer_than_the_positions_are_refused():
  with pytest.raises(ValueError, match='lines of 24 tokens, BERT has 16'):
    masked.Masked(
      model=_model(max_positions=16), masking=masked.TokenMasking(length=24)
    )


def test_a_pooler_that_nothing_trains_is_refused():
  with pytest.raises(ValueError, match='pooler is True'):
    masked.Masked(model=_model(pooler=True))
