"""Masked tokens: what is asked, what is shown in its place."""

import numpy as np

from imagen_jax.text import tokenizers
from imagen_jax.training.pretraining import masked


class _Rows:
  """A tokenizer's pieces and sentinels."""

  pieces = 1000

  @staticmethod
  def sentinel(index):
    return 2047 - index


SETTINGS = masked.TokenMasking(share=0.3, length=24)


def _draw(ids, rng):
  return SETTINGS(ids, _Rows, rng)


def test_what_is_not_asked_stays():
  rng = np.random.default_rng(0)
  for length in (1, 2, 9, 23):
    ids = rng.integers(3, 900, length)
    inputs, targets = _draw(ids.tolist(), rng)
    asked = targets != tokenizers.PAD
    assert asked.sum() == max(1, round(0.3 * length))
    assert (targets[:length][asked[:length]] == ids[asked[:length]]).all()
    assert (inputs[:length][~asked[:length]] == ids[~asked[:length]]).all()
    assert inputs[length] == tokenizers.EOS and not asked[length:].any()
    assert not inputs[length + 1 :].any()


def test_eight_of_ten_are_hidden_one_random_one_kept():
  rng = np.random.default_rng(0)
  hidden = kept = asked = 0
  for _ in range(1000):
    ids = rng.integers(1100, 1900, 20)  # random ones lie below 1,000
    inputs, targets = _draw(ids.tolist(), rng)
    where = targets != tokenizers.PAD
    asked += where.sum()
    hidden += (inputs[where] == 2047).sum()
    kept += (inputs[where] == targets[where]).sum()
    other = inputs[where & (inputs != 2047) & (inputs != targets)]
    assert ((other > tokenizers.UNKNOWN) & (other < 1000)).all()
  assert asked == 6000
  assert abs(hidden / asked - 0.8) < 0.02 and abs(kept / asked - 0.1) < 0.015


def test_empty_and_long_lines():
  rng = np.random.default_rng(0)
  inputs, targets = _draw([], rng)
  assert inputs.tolist() == [tokenizers.EOS] + [0] * 23 and not targets.any()
  inputs, targets = _draw(list(range(100, 150)), rng)
  assert inputs[-1] == tokenizers.EOS and (targets > 0).sum() == 7
