"""What a `stages.Sampling` names, put together (sections 2.2 and 2.3).

  network -> x0 -> guidance -> thresholding       make_denoise
  step, spacing of the levels, weights of guidance

The table of all combinations in the tests goes through these functions.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from imagen_jax import stages
from imagen_jax.diffusion import (
  grids,
  guidance,
  learned_variance,
  process,
  samplers,
  thresholding,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
  """What the denoiser and the step need besides the weights."""

  # text [b, l, d] or its context, mask [b, l]; low_res, aug_logsnr [b]
  condition: dict
  null: dict  # the same without text, or with the text to lead away from
  levels: jax.Array  # [m], rising, padded with inf
  weights: jax.Array  # [m], of guidance
  known: jax.Array | None = None  # [b, h, w, 3] in [-1, 1]
  mask: jax.Array | None = None  # [b, h, w, 1], 1 where it is drawn
  keys: jax.Array | None = None  # [b], of the repainting


def make_denoise(stage, sampling, params, inputs):
  """Network -> x0 -> guidance -> thresholding, composed."""
  guided = guidance.guided_batch
  if sampling.in_turn:
    guided = guidance.guided_in_turn
  learned = learns_variance(stage, sampling)
  denoise = guided(
    _make_predict(stage, params, learned),
    inputs.condition,
    inputs.null,
    _weight(sampling, inputs.levels, inputs.weights),
    _finish_learned(sampling) if learned else finish_guidance(sampling),
  )
  threshold = threshold_function(sampling)
  if not learned:
    return lambda z, logsnr: threshold(denoise(z, logsnr))

  def denoise_and_f(z, logsnr):
    x0, f = jnp.split(denoise(z, logsnr), 2, axis=-1)
    return samplers.Denoised(x0=threshold(x0), f=f)

  return denoise_and_f


def learns_variance(stage, sampling):
  """Whether the steps are told the variance that the network predicts."""
  return (
    stages.is_if(stage)
    and sampling.sampler == 'ddpm'
    and sampling.gamma is None
  )


def _finish_learned(sampling):
  """After guidance: the variance is that of the conditional half."""
  finish = finish_guidance(sampling)

  def finish_x0(guided, conditional):
    x0, _ = jnp.split(guided, 2, axis=-1)
    plain, f = jnp.split(conditional, 2, axis=-1)
    x0 = x0 if finish is None else finish(x0, plain)
    return jnp.concatenate([x0, f], axis=-1)

  return finish_x0


def make_figures(stage, sampling, params, inputs):
  """What thresholding and guidance are about to do: (z, logsnr) -> {name: [b]}.

  outside: the share of the values of x0, guided, that lie outside [-1, 1].
  guidance: how far guidance moves x0, root mean square; 0 where it is off.
  """
  predict = _make_predict(stage, params)
  finish = finish_guidance(sampling)
  axes = (1, 2, 3)

  def figures(z, logsnr):
    plain = x0 = predict(z, logsnr, inputs.condition)
    if sampling.guidance != 1.0:
      weight = guidance.at_levels(inputs.levels, inputs.weights)(logsnr[0])
      x0 = guidance.combine(plain, predict(z, logsnr, inputs.null), weight)
      x0 = x0 if finish is None else finish(x0, plain)
    return {
      'outside': jnp.mean(jnp.abs(x0) > 1, axes),
      'guidance': jnp.sqrt(jnp.mean(jnp.square(x0 - plain), axes)),
    }

  return figures


def _make_predict(stage, params, learned=False):
  """(z, logsnr, condition) -> x0, of the network alone.

  With f of its variance behind it, [b, h, w, 2 c], where `learned`.
  """
  network = stages.network(stage)

  def predict(z, logsnr, condition):
    prediction = network.apply({'params': params}, z, logsnr, **condition)
    f = None
    if stages.is_if(stage):
      prediction, f = learned_variance.split(prediction)
    x0 = process.to_x0(prediction, z, logsnr, stage.prediction)
    return jnp.concatenate([x0, f], axis=-1) if learned else x0

  return predict


def step_function(sampling):
  """The sampler's step that a `stages.Sampling` names."""
  ddpm = learned_variance.ddpm_step
  if sampling.gamma is not None:
    ddpm = functools.partial(samplers.ddpm_step, gamma=sampling.gamma)
  return {
    'ddpm': ddpm,
    'ddim': functools.partial(samplers.ddim_step, eta=sampling.eta),
    'dpmpp_2m': samplers.dpmpp_2m_step,
    'dpmpp_2m_sde': samplers.dpmpp_2m_sde_step,
    'heun': samplers.heun_step,
  }[sampling.sampler]


def spacing(sampling):
  """The spacing of the grid that it names: (schedule, u) -> logsnr."""
  if stages.times(sampling) is not None:  # u are these times
    return lambda schedule, u: schedule.at(u)
  return {
    'time': grids.uniform_time,
    'logsnr': grids.uniform_logsnr,
    'karras': grids.karras,
  }[sampling.grid]


def threshold_function(sampling):
  """The thresholding that it names: x0 -> x0."""
  return {
    'dynamic': functools.partial(
      thresholding.dynamic, percentile=sampling.percentile, cap=sampling.cap
    ),
    'static': thresholding.static,
    'none': lambda x0: x0,
  }[sampling.threshold]


def guidance_weights(sampling, levels, weight):
  """The weight at every level, where it says to guide at some only: [n]."""
  weights = guidance.constant(levels, weight)
  if sampling.oscillate_from is not None:
    weights = guidance.oscillating(levels, weights, sampling.oscillate_from)
  if sampling.guidance_range is not None:
    weights = guidance.interval(levels, weights, *sampling.guidance_range)
  return weights


def finish_guidance(sampling):
  """What it does after guidance and before thresholding; None = nothing."""
  if not sampling.rescale:
    return None
  return functools.partial(guidance.rescaled, mix=sampling.rescale)


def _weight(sampling, levels, weights):
  """A number where it is the same at all levels: half the program then."""
  if sampling.guidance == 1.0:
    return 1.0
  if sampling.oscillate_from is None and sampling.guidance_range is None:
    return weights[0]
  return guidance.at_levels(levels, weights)
