"""Span corruption: nothing is lost, and everything may be hidden."""

import numpy as np
import pytest

from imagen_jax.text import tokenizers
from imagen_jax.training.pretraining import spans as spans_lib


class _Rows:
  """A tokenizer's sentinels."""

  @staticmethod
  def sentinel(index):
    return 2047 - index


SETTINGS = spans_lib.SpanCorruption(
  density=0.3, mean_span=1.5, input_length=40, target_length=40
)


def _restore(inputs, targets):
  """Puts the hidden spans back in the place of their sentinels."""
  spans, current = {}, None
  for token in targets[: list(targets).index(tokenizers.EOS)]:
    if token > 1900:
      current = spans.setdefault(token, [])
    else:
      current.append(token)
  ids = []
  for token in inputs[: list(inputs).index(tokenizers.EOS)]:
    ids += spans.pop(token) if token > 1900 else [token]
  assert not spans
  return ids


@pytest.mark.parametrize('length', [1, 2, 3, 10, 30])
def test_input_and_target_together_are_the_line(length):
  rng = np.random.default_rng(length)
  for _ in range(20):
    ids = rng.integers(3, 1900, length).tolist()
    inputs, targets = SETTINGS(ids, _Rows, rng)
    assert _restore(inputs.tolist(), targets.tolist()) == ids


def test_share_and_length_of_spans():
  """T5: exact share of hidden tokens, spans of the mean length."""
  rng = np.random.default_rng(0)
  setting = spans_lib.SpanCorruption()
  masks = np.array([setting.mask(200, rng) for _ in range(50)])
  assert (masks.sum(axis=1) == 30).all()
  starts = masks & ~np.pad(masks, ((0, 0), (1, 0)))[:, :-1]
  assert (starts.sum(axis=1) == 10).all()


def test_every_word_may_be_hidden():
  rng = np.random.default_rng(0)
  shares = np.mean([SETTINGS.mask(10, rng) for _ in range(4000)], axis=0)
  assert shares.min() > 0.1 and abs(shares.mean() - 0.3) < 1e-9


def test_a_long_line_is_cut_with_its_end_kept():
  rng = np.random.default_rng(0)
  setting = spans_lib.SpanCorruption(
    density=0.5, mean_span=1.0, input_length=12, target_length=6
  )
  inputs, targets = setting(list(range(100, 160)), _Rows, rng)
  assert (len(inputs), len(targets)) == (12, 6)
  # 6 of 11 tokens hidden in 5 spans: 10 and the end; the target is cut.
  assert inputs[10] == targets[-1] == tokenizers.EOS
