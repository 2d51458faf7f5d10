"""What the layout stage learns from: captions, boxes, and their noise.

  text [b, l, d], mask [b, l]    of the caption, all zero where it is dropped
  vectors [b, n, f]              the boxes of its scene, `layouts.to_vectors`
  t [b, k], eps [b, k, n, f]     k noisy versions of each

No picture is drawn. Batch k depends on (seed, split, k) alone.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax.data import boxes
from imagen_jax.data.emoji_scenes import scenes
from imagen_jax.diffusion import conditioning, layouts, process
from imagen_jax.stages import layout_stage
from imagen_jax.text import buckets
from imagen_jax.training import objective

_PLACES = 4.0  # weight of places and sides beside names
_TOKENS = 1_024  # of captions that are encoded at once


class Embedded:
  """Captions' embeddings, each computed once and kept in 16 bits."""

  def __init__(self, encoder):
    self._tokenizer = encoder.tokenizer
    self._width = encoder.config.width
    self._encoder = buckets.BucketEncoder(encoder, _TOKENS)
    self._rows = {}  # caption -> [true tokens, d]

  def of(self, captions):
    """float32 [n, l, d], bool [n, l]; l is the longest's, in eights."""
    new = [c for c in dict.fromkeys(captions) if c not in self._rows]
    if new:
      for numbers, values in self._encoder.encode(*self._tokenizer.encode(new)):
        for i, value in zip(numbers, values):
          self._rows[new[i]] = value.astype(np.float16)
    rows = [self._rows[caption] for caption in captions]
    # Padding is computed as words are: few lengths, and none in vain.
    length = -(-max(map(len, rows)) // 8) * 8
    length = min(length, self._tokenizer.max_length)
    text = np.zeros([len(rows), length, self._width], np.float32)
    mask = np.zeros(text.shape[:2], bool)
    for i, row in enumerate(rows):
      text[i, : len(row)], mask[i, : len(row)] = row, True
    return text, mask


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayoutExamples:
  """Batches of a source of scenes.

  The source has `scene(i)` and `caption(i)`; the first `examples` of it are
  gone through again and again, each time with other noise.
  """

  source: object
  stage: layout_stage.LayoutStage
  embedded: Embedded
  batch_size: int
  noises: int  # k, noisy versions of a picture's boxes
  examples: int  # of the source that are used
  seed: int
  caption_dropout: float

  def batch(self, k):
    """Arrays by name, see the module's docstring."""
    b = self.batch_size
    numbers = [(k * b + i) % self.examples for i in range(b)]
    text, mask = self.embedded.of([self.source.caption(i) for i in numbers])
    rng = np.random.Generator(np.random.Philox(key=[self.seed, k]))
    rows = [
      boxes.of_example(
        self.stage.layout, {'scene': scenes.to_json(self.source.scene(i))}
      )
      for i in numbers
    ]
    vectors = np.asarray(layouts.to_vectors(self.stage.layout, np.stack(rows)))
    strata = rng.permutation(b * self.noises).reshape(b, self.noises)
    return {
      'text': text,
      'mask': mask,
      'drop': rng.uniform(size=b) < self.caption_dropout,
      'vectors': vectors,
      't': np.float32((strata + rng.uniform()) / strata.size),
      'eps': rng.standard_normal(
        (b, self.noises, *vectors.shape[1:]), np.float32
      ),
    }


def loss(stage, params, batch):
  """(loss, {name: scalar}) of a batch.

  The cross-entropy of names, plus the squared error of places and sides by the
  weight of the base's x-predictions (`objective.loss_weight`). things: the
  share of things named right, over all levels of noise.
  """
  text, mask = conditioning.drop_text(
    batch['text'], batch['mask'], batch['drop']
  )
  noises = batch['t'].shape[1]
  x0 = jnp.repeat(batch['vectors'], noises, axis=0)
  logsnr = stage.schedule(batch['t'].reshape(-1))
  z = process.add_noise(x0, batch['eps'].reshape(x0.shape), logsnr)
  outputs = layout_stage.network(stage).apply(
    {'params': params}, z, logsnr, text, mask
  )
  *logits, numbers = layouts.split(stage.layout, outputs)
  *names, truth = layouts.split(stage.layout, x0)
  surprise = [
    -jnp.sum(jax.nn.log_softmax(x, -1) * (y > 0), axis=-1).mean()
    for x, y in zip(logits, names)
  ]
  error = process.squared_error(numbers, truth, None, logsnr, 'x0')
  places = jnp.mean(error * objective.loss_weight('x0', logsnr))
  hits = jnp.argmax(logits[0], -1) == jnp.argmax(names[0], -1)
  real = names[0][..., -1] < 0
  share = jnp.sum(hits & real) / jnp.maximum(jnp.sum(real), 1)
  return sum(surprise) + _PLACES * places, {
    'names': sum(surprise),
    'places': places,
    'things': share,
  }
