"""Masked tokens, the pre-training task of BERT (Devlin et al. 2019, 3.1).

  a red fox at sunset   ->   a <0> fox at sunset   asked: red

The first sentinel stands for what is hidden: it is a token of its own, and
nothing else needs it.
"""

import dataclasses

import numpy as np

from imagen_jax.text import tokenizers


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenMasking:
  """How much is asked, and the length that lines are padded to.

  Of the tokens asked 80% are hidden, 10% give way to a random one and 10%
  stay, so that the encoder cannot rely on seeing the mask.
  """

  share: float = 0.15  # of the tokens, asked
  length: int = 128  # tokens, the end of sequence included

  def __call__(self, ids, tokenizer, rng: np.random.Generator):
    """Token ids -> (inputs [length], targets [length], 0 = not asked)."""
    ids = np.array(ids[: self.length - 1], np.int32)
    inputs = np.full(self.length, tokenizers.PAD, np.int32)
    inputs[: len(ids)] = ids
    inputs[len(ids)] = tokenizers.EOS
    targets = np.full(self.length, tokenizers.PAD, np.int32)
    if not len(ids):
      return inputs, targets
    count = int(np.clip(round(len(ids) * self.share), 1, len(ids)))
    asked = rng.permutation(len(ids))[:count]
    targets[asked] = ids[asked]
    fate = rng.random(count)
    inputs[asked[fate < 0.8]] = tokenizer.sentinel(0)
    random = asked[(0.8 <= fate) & (fate < 0.9)]
    inputs[random] = rng.integers(
      tokenizers.UNKNOWN + 1, tokenizer.pieces, len(random)
    )
    return inputs, targets
