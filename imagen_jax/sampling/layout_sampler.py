"""Draws layouts with the stage before the base.

  text [n, l, d], mask [n, l] -> boxes float32 [n, k, 6]

As pictures are, a layout is a function of its caption, the seed and its index
within the prompt: one compiled batch, padded, with keys of its own for each.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax.diffusion import conditioning, guidance, layouts, samplers
from imagen_jax.sampling import bundles, loop
from imagen_jax.stages import layout_stage

BATCH = 8  # layouts in one compiled call
# In the place of a stage's resolution in the keys; the others begin at 1.
_RESOLUTION = 0
_START, _STEPS = 0, 1  # purposes
_LIMIT = 1.5  # of x0; names are 1 and -1
_CLEANEST = 10.0  # logsnr of the last step


def draw(stage, params, conditions, seeds):
  """Boxes [n, k, 6] for `bundles.Conditions` of n captions and their seeds."""
  n = len(seeds.index)
  drawn = []
  for first in range(0, n, BATCH):
    rows = np.minimum(np.arange(first, first + BATCH), n - 1)  # last: padding
    told = bundles.Conditions(
      text=conditions.text,
      mask=conditions.mask,
      negative=conditions.negative,
    ).rows(rows)
    part = program(stage)(params, told, seeds.rows(rows))
    drawn.append(np.asarray(part)[: n - first])
  return np.concatenate(drawn)


@functools.lru_cache(maxsize=8)
def program(stage):
  """(params, conditions, seeds) -> boxes, compiled once for a stage."""
  network = layout_stage.network(stage)
  layout = stage.layout
  shape = layout.boxes, layout.features
  grid = stage.schedule(1 - jnp.arange(stage.steps + 1) / stage.steps)
  grid = jnp.minimum(grid, _CLEANEST)

  def run(params, conditions, seeds):
    key = jax.random.key(seeds.seed, impl='threefry2x32')
    key = jax.random.fold_in(key, _RESOLUTION)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, seeds.index)
    start, steps = (
      jax.vmap(jax.random.fold_in, (0, None))(keys, purpose)
      for purpose in (_START, _STEPS)
    )
    z = jax.vmap(lambda k: jax.random.normal(k, shape, jnp.float32))(start)
    text = conditions.text, conditions.mask
    null = conditions.negative
    null = conditioning.null_text(*text) if null is None else null

    def predict(z, logsnr, text):
      outputs = network.apply({'params': params}, z, logsnr, *text)
      return layouts.expected(layout, outputs)

    def denoise(z, logsnr):
      x0 = predict(z, logsnr, text)
      if stage.guidance != 1.0:
        x0 = guidance.combine(x0, predict(z, logsnr, null), stage.guidance)
      return jnp.clip(x0, -_LIMIT, _LIMIT)

    vectors = loop.sample(denoise, z, grid, samplers.dpmpp_2m_step, steps)
    return layouts.from_vectors(layout, vectors)

  return jax.jit(run)
