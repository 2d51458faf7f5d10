"""What a stage is told of the captions (sections 2.1 and 2.2).

Stages of the paper see true tokens alone and have zeros for no text. DeepFloyd
IF's see all tokens, padding too, and have the empty caption for no text; a
super-resolution stage of the other kind may follow them.
"""

import numpy as np

from imagen_jax import stages


def negatives(encoder, run, negative, count):
  """Embeddings that guidance leads away from: {caption: (text, mask)}.

  Args:
    encoder: a `text.encoders.TextEncoder`.
    run: the stages.
    negative: a caption, or None.
    count: pictures.
  """
  captions = {_negative(stage, negative) for stage in run} - {None}
  return {
    caption: tuple(
      np.repeat(x, count, axis=0) for x in encoder.encode([caption])
    )
    for caption in captions
  }


def for_stage(stage, encoder, text, mask, negative, embedded):
  """(text, mask) and what leads away from it, None for zeros.

  Args:
    stage: a `stages.Stage`.
    encoder: that of `text` [n, l, d] and `mask` [n, l].
    negative: as of `negatives`, whose result is `embedded`.
  """
  away = embedded.get(_negative(stage, negative))
  if not encoder.as_if:
    return (text, mask), away
  return tuple(
    None if x is None else _seen(stage, *x) for x in ((text, mask), away)
  )


def _negative(stage, negative):
  return '' if negative is None and stages.is_if(stage) else negative


def _seen(stage, text, mask):
  """Embeddings as the stage was trained with them."""
  if stages.is_if(stage):
    return text, np.ones(mask.shape, bool)
  return np.where(mask[..., None] > 0, text, 0), mask
