"""The train step of any stage: equation 1 of the paper with its conditions.

A batch is a dict of arrays: image [b, r, r, 3] uint8, text [b, l, d] float
with mask [b, l], or tokens [b, l] that a frozen encoder turns into text inside
the step; low_res [b, r/f, r/f, 3] uint8 for super-resolution; boxes [b, n, 6]
(`diffusion.layouts`) for a stage that is told of them.
"""

import dataclasses

import jax
import jax.numpy as jnp

from imagen_jax.diffusion import conditioning, images, layouts, process

MAX_X0_WEIGHT = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
  """What is random in a step, drawn at once so that it can also be fixed."""

  t: jax.Array  # [b], diffusion time in [0, 1]
  eps: jax.Array  # [b, r, r, 3]
  drop: jax.Array  # [b] bool, caption dropped, and with it the layout
  untold: jax.Array  # [b] bool, layout alone dropped
  aug_level: jax.Array  # [b] in [0, 1]
  aug_eps: jax.Array  # [b, r/f, r/f, 3]
  blur: jax.Array | None = None  # [b], low-res pixels; None = none is blurred


jax.tree_util.register_dataclass(Noise)


def draw_noise(
  key,
  batch,
  caption_dropout,
  max_aug_level=1.0,
  layout_dropout=0.0,
  max_blur=0.0,
):
  """Noise for a batch from one key.

  t is stratified: one uniform shift of b equal strata, so that each example's
  t is U(0, 1) as in the paper while the batch covers the range evenly (not in
  the paper; lowers the variance of small batches). aug_level is U(0,
  max_aug_level); 1 is the paper's (section 2.4). blur is U(0, max_blur).
  """
  keys = jax.random.split(key, 5)
  image = batch['image']
  b = image.shape[0]
  low_res = batch.get('low_res', image)
  strata = jnp.arange(b) / b
  return Noise(
    t=(jax.random.uniform(keys[0]) + strata) % 1.0,
    eps=jax.random.normal(keys[1], image.shape),
    drop=jax.random.uniform(keys[2], [b]) < caption_dropout,
    # A key of its own: the others stay those of stages without layouts.
    untold=jax.random.uniform(jax.random.fold_in(key, 5), [b]) < layout_dropout,
    aug_level=jax.random.uniform(keys[3], [b]) * max_aug_level,
    aug_eps=jax.random.normal(keys[4], low_res.shape),
    blur=_blur(jax.random.fold_in(key, 6), b, max_blur),
  )


def _blur(key, b, most):
  # None rather than zeros: without blur a step is the same program as ever.
  return jax.random.uniform(key, [b]) * most if most else None


def example_losses(stage, apply, params, batch, noise):
  """Squared error of the prediction, per example [b].

  Args:
    stage: a `stages.Stage`.
    apply: the network's apply.
    params: its parameters.
    batch: image, text, mask and (super-resolution) low_res.
    noise: a `Noise`.
  """
  x0 = images.to_float(batch['image'])
  text, mask = conditioning.drop_text(batch['text'], batch['mask'], noise.drop)
  logsnr = stage.schedule(noise.t)
  z = process.add_noise(x0, noise.eps, logsnr)
  extra = {}
  if stage.low_res is not None:
    low_res = images.to_float(batch['low_res'])
    if noise.blur is not None:
      low_res = conditioning.blur(low_res, noise.blur)
    low_res, aug_logsnr = conditioning.augment(
      low_res, noise.aug_level, noise.aug_eps
    )
    up = conditioning.upsample(low_res, x0.shape[1:3])
    extra = {'low_res': up, 'aug_logsnr': aug_logsnr}
  if stage.layout is not None:
    told = layouts.to_map(stage.layout, batch['boxes'])
    extra['layout'] = layouts.drop(told, noise.drop | noise.untold)
  prediction = apply({'params': params}, z, logsnr, text, mask, **extra)
  error = process.squared_error(
    prediction, x0, noise.eps, logsnr, stage.prediction
  )
  return error * loss_weight(stage.prediction, logsnr)


def loss_weight(kind, logsnr):
  """Weight [b] of the squared error in the space of the prediction `kind`.

  eps and v: 1 (equation 2; Salimans and Ho 2022). x0: that of v, 1 + SNR, but
  bounded: without a bound the nearly clean examples, where there is nothing
  to learn but copying, outweigh all others by e^20. Not in the paper.
  """
  if kind == 'x0':
    return jnp.minimum(1.0 + jnp.exp(logsnr), MAX_X0_WEIGHT)
  return jnp.ones_like(logsnr)
