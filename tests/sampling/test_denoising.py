"""Every combination of sampler, prediction, thresholding and guidance.

Each is followed by an independent version in NumPy and float64, step by step,
on a network whose prediction is a formula: 5 samplers x 3 predictions x 4
thresholds x 4 guidances, the grids in turn.
"""

import functools
import itertools
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax import stages
from imagen_jax.diffusion import grids, process, samplers, schedules
from imagen_jax.sampling import denoising, loop

LOW, HIGH, STEPS, WEIGHT = -6.0, 7.0, 4, 3.0
RANGE = (-3.0, 4.0)
SHAPE = (2, 4, 4, 3)
RNG = np.random.default_rng(0)
Z, NOISE = RNG.standard_normal(SHAPE), RNG.standard_normal((STEPS, *SHAPE))
TEXT = RNG.standard_normal((2, 5, 8))
GUIDANCES = {
  'constant': {},
  'interval': {'guidance_range': RANGE},
  'oscillating': {'oscillate_from': 1},
  'rescaled': {'rescale': 0.7},
}
THRESHOLDS = {
  'none': {'threshold': 'none'},
  'static': {'threshold': 'static'},
  'dynamic': {'threshold': 'dynamic', 'percentile': 90.0},
  'capped': {'threshold': 'dynamic', 'percentile': 90.0, 'cap': 1.2},
}


def network(xp, z, logsnr, text):
  """What the network says, whatever it is taken for: [b, h, w, c]."""
  shift = xp.mean(text, (1, 2)).reshape(-1, 1, 1, 1)
  return 0.8 * z + 1.5 * xp.sin(2 * z + 0.3 * logsnr) + 4 * shift


class Reference:
  """The same in NumPy: in alpha and sigma, from the papers' own formulas."""

  def __init__(self, sampler, kind, threshold, guidance, grid):
    self.sampler, self.kind = sampler, kind
    self.threshold, self.guidance = threshold, guidance
    u = np.linspace(1, 0, STEPS + 1)
    self.levels = {
      'time': lambda: np.float64(schedule()(np.float32(u))),
      'logsnr': lambda: HIGH + u * (LOW - HIGH),
      'karras': lambda: -2 * np.log(self._karras(u)),
    }[grid]()

  def _karras(self, u):
    ends = np.exp(-LOW / 2) ** (1 / 7), np.exp(-HIGH / 2) ** (1 / 7)
    return (ends[1] + u * (ends[0] - ends[1])) ** 7

  def alpha_sigma(self, i):
    snr = np.exp(self.levels[i])
    return np.sqrt(snr / (1 + snr)), np.sqrt(1 / (1 + snr))

  def predict(self, z, i, text):
    alpha, sigma = self.alpha_sigma(i)
    said = network(np, z, self.levels[i], text)
    return {
      'eps': (z - sigma * said) / alpha,
      'x0': said,
      'v': alpha * z - sigma * said,
    }[self.kind]

  def denoise(self, z, i):
    weight = WEIGHT
    if self.guidance == 'interval':
      inside = RANGE[0] <= self.levels[i] <= RANGE[1]
      weight = WEIGHT if inside else 1.0
    if self.guidance == 'oscillating':
      weight = 1.0 if i >= 1 and (i - 1) % 2 == 0 else WEIGHT
    c, u = self.predict(z, i, TEXT), self.predict(z, i, np.zeros_like(TEXT))
    x0 = u + weight * (c - u)
    if self.guidance == 'rescaled':
      for one, conditional in zip(x0, c):
        scaled = one.mean() + (one - one.mean()) * conditional.std() / one.std()
        one[:] = 0.7 * scaled + 0.3 * one
    if self.threshold == 'static':
      return np.clip(x0, -1, 1)
    if self.threshold in ('dynamic', 'capped'):
      for one in x0:
        s = max(1, np.percentile(np.abs(one), 90))
        s = min(s, 1.2) if self.threshold == 'capped' else s
        one[:] = np.clip(one, -s, s) / s
    return x0

  def run(self):
    z, before = Z.copy(), None
    for i in range(STEPS - 1):
      x0 = self.denoise(z, i)
      z, before = self.step(z, x0, before, i), x0
    return self.denoise(z, STEPS - 1)

  def step(self, z, x0, before, i):
    (a, s), (a2, s2) = self.alpha_sigma(i), self.alpha_sigma(i + 1)
    eps = (z - a * x0) / s
    if self.sampler == 'ddim':  # eta 0.5
      # Song et al. 2021, eq. 16, with alpha-bar = a^2.
      d = 0.5 * s2 / s * np.sqrt(1 - a**2 / a2**2)
      return a2 * x0 + np.sqrt(s2**2 - d**2) * eps + d * NOISE[i]
    if self.sampler == 'ddpm':  # gamma 0.3
      beta = 1 - a**2 / a2**2
      mean = a2 * beta / s**2 * x0 + a / a2 * s2**2 / s**2 * z
      small = beta * s2**2 / s**2
      return mean + np.sqrt(small**0.7 * beta**0.3) * NOISE[i]
    if self.sampler == 'heun':
      # Karras et al. 2022, algorithm 1, in y = z / a and t = s / a.
      y, t, t2 = z / a, s / a, s2 / a2
      slope = (y - x0) / t
      euler = y + (t2 - t) * slope
      there = (euler - self.denoise(a2 * euler, i + 1)) / t2
      return a2 * (y + (t2 - t) * (slope + there) / 2)
    h = np.log(a2 / s2) - np.log(a / s)
    d = x0
    if before is not None:
      h0 = np.log(a / s) - np.log(np.divide(*self.alpha_sigma(i - 1)))
      d = x0 + h / (2 * h0) * (x0 - before)
    if self.sampler == 'dpmpp_2m':
      return s2 / s * z - a2 * (np.exp(-h) - 1) * d
    noise = s2 * np.sqrt(1 - np.exp(-2 * h)) * NOISE[i]
    return s2 / s * np.exp(-h) * z + a2 * (1 - np.exp(-2 * h)) * d + noise


def schedule():
  return schedules.Cosine(logsnr_min=LOW, logsnr_max=HIGH)


SETTINGS = list(itertools.product(process.KINDS, GUIDANCES, THRESHOLDS))


def _sampling(sampler, threshold, guidance, grid='time'):
  return stages.Sampling(
    sampler=sampler,
    grid=grid,
    guidance=WEIGHT,
    eta=0.5,
    **THRESHOLDS[threshold],
    **GUIDANCES[guidance],
  )


@functools.cache
def _program(sampler):
  """(levels, number of the setting) -> picture: all settings of a sampler.

  One program that chooses among denoisers, then among thresholds: to compile
  each combination would take minutes.
  """
  thresholds = [
    denoising.threshold_function(_sampling(sampler, name, 'constant'))
    for name in THRESHOLDS
  ]

  def run(levels, number):
    denoisers = [
      _denoiser(_sampling(sampler, 'none', guidance), kind, levels)
      for kind in process.KINDS
      for guidance in GUIDANCES
    ]
    threshold, number = number % len(THRESHOLDS), number // len(THRESHOLDS)

    def denoise(z, logsnr):
      x0 = jax.lax.switch(number, denoisers, z, logsnr)
      return jax.lax.switch(threshold, thresholds, x0)

    step = denoising.step_function(_sampling(sampler, 'none', 'constant'))
    return loop.sample(denoise, jnp.asarray(Z), levels, step, None)

  return jax.jit(run)


def _denoiser(sampling, kind, levels):
  """The composition itself around `network`."""
  toy = types.SimpleNamespace(
    apply=lambda params, z, logsnr, text, mask: network(
      jnp, z, logsnr.reshape(-1, 1, 1, 1), text
    )
  )
  mask = jnp.ones((2, 5), bool)
  inputs = denoising.Inputs(
    condition={'text': jnp.asarray(TEXT), 'mask': mask},
    null={'text': jnp.zeros(TEXT.shape), 'mask': mask},
    levels=levels,
    weights=denoising.guidance_weights(sampling, levels, WEIGHT),
  )
  with mock.patch.object(stages, 'network', lambda stage: toy):
    return denoising.make_denoise(
      types.SimpleNamespace(prediction=kind, model=None), sampling, {}, inputs
    )


@pytest.mark.parametrize('sampler', stages.SAMPLERS)
def test_combinations(sampler, monkeypatch):
  noise = jnp.asarray(NOISE)
  monkeypatch.setattr(samplers, 'draw_noise', lambda keys, i, shape: noise[i])
  for number, (kind, guidance, threshold) in enumerate(SETTINGS):
    grid = stages.GRIDS[number % len(stages.GRIDS)]
    expected = Reference(sampler, kind, threshold, guidance, grid)
    with jax.enable_x64(True):
      got = _program(sampler)(jnp.asarray(expected.levels), number)
    want = expected.run()
    # Weights and thresholds are float32.
    np.testing.assert_allclose(
      got,
      want,
      atol=1e-4 * max(1, np.abs(want).max()),
      err_msg=f'{sampler} {kind} {threshold} {guidance} {grid}',
    )


def test_thresholding_comes_last():
  levels = jnp.float32(
    Reference('ddim', 'x0', 'none', 'constant', 'time').levels
  )
  plain, capped = (
    _denoiser(_sampling('ddim', name, 'rescaled'), 'x0', levels)
    for name in ('none', 'capped')
  )
  x0 = plain(jnp.float32(Z), levels[:2])
  s = np.minimum(np.percentile(np.abs(x0), 90, axis=(1, 2, 3)), 1.2)
  assert np.all(s > 1)
  s = s.reshape(-1, 1, 1, 1)
  np.testing.assert_allclose(
    capped(jnp.float32(Z), levels[:2]), np.clip(x0, -s, s) / s, atol=1e-5
  )


@pytest.mark.parametrize('grid', stages.GRIDS)
def test_spacings(grid):
  spacing = denoising.spacing(stages.Sampling(grid=grid))
  got = grids.grid(spacing, schedule(), STEPS)
  expected = Reference('ddim', 'eps', 'none', 'constant', grid).levels
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_the_table_is_whole():
  assert len(stages.SAMPLERS) * len(SETTINGS) == 240
