"""Samplers against stored trajectories, at 1e-4.

One program for each sampler: what varies between the trajectories comes in as
arrays.
"""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.diffusion import process, samplers, thresholding
from imagen_jax.sampling import loop

DATA = pathlib.Path(__file__).parents[1] / 'data' / 'samplers'
KINDS = {'epsilon': 'eps', 'sample': 'x0', 'v_prediction': 'v'}
CAPACITY = 12
MODES = ('none', 'clip', 'thresh')


@functools.cache
def _oracle():
  with np.load(DATA / 'trajectories.npz') as data:
    return dict(data), json.loads((DATA / 'config.json').read_text())


def _make_toy(inputs):
  """f(z, t) = a z + b sin(c t / 1000 + d) of some kind, then thresholding."""

  def denoise(z, logsnr):
    t = inputs['t'][jnp.argmin(jnp.abs(logsnr[0] - inputs['grid']))]
    a, b, c, d = inputs['abcd']
    f = a * z + b * jnp.sin(c * t / 1000 + d)
    said = [process.to_x0(f, z, logsnr, kind) for kind in process.KINDS]
    x0 = jnp.stack(said)[inputs['kind']]
    modes = [x0, thresholding.static(x0), thresholding.dynamic(x0)]
    return jnp.stack(modes)[inputs['mode']]

  return denoise


def _toy_inputs(case, prediction, mode):
  """Arrays of a stored trajectory; the grid padded to CAPACITY."""
  data, config = _oracle()
  if f'{case}/alpha' in data:
    alpha, sigma = data[f'{case}/alpha'][:-1], data[f'{case}/sigma'][:-1]
    logsnr = 2 * np.log(alpha / sigma)
  else:
    alpha_bar = data[f'{case}/alpha_bar_t']
    logsnr = np.log(alpha_bar / (1 - alpha_bar))
  logsnr = np.append(logsnr, 20.0)  # the end: clean, whatever the number
  padding = CAPACITY + 1 - len(logsnr)
  toy = config['toy_model'][prediction]
  return {
    'grid': np.pad(logsnr, (0, padding), constant_values=np.inf).astype('f4'),
    't': np.pad(data[f'{case}/timesteps'], (0, padding + 1)).astype('f4'),
    'abcd': np.array([toy[k] for k in 'abcd'], np.float32),
    'kind': process.KINDS.index(KINDS[prediction]),
    'mode': MODES.index(mode),
  }


@functools.cache
def _toy_program(step, **settings):
  step = functools.partial(step, **settings) if settings else step
  return loop.compiled_segment(_make_toy, lambda inputs: step)


def _cases(sampler):
  """(case, prediction, mode, ...) of the stored trajectories of x."""
  names = [name.split('/') for name in _oracle()[0]]
  return [
    ('/'.join(n[:2]), *n[2:-1])
    for n in names
    if n[0] == sampler and n[-1] == 'x'
  ]


def _close(got, expected):
  tolerance = 1e-4 * max(1, np.abs(expected).max())
  np.testing.assert_allclose(got, expected, atol=tolerance)


def _follow(program, name, inputs):
  """Compares z and x0 after every step, by segments of one step."""
  data, _ = _oracle()
  carry = loop.start(jnp.asarray(data['x_init']))
  keys = jax.random.split(jax.random.key(0), 3)
  for i, x in enumerate(data[f'{name}/x']):
    carry = program(carry, i, 1, inputs['grid'], keys, inputs)
    _close(carry.z, x)
    if f'{name}/x0' in data:
      _close(carry.x0, data[f'{name}/x0'][i])


@pytest.mark.parametrize('case, prediction, mode, eps', _cases('ddim'))
def test_ddim_oracle(case, prediction, mode, eps):
  inputs = _toy_inputs(case, prediction, mode)
  program = _toy_program(samplers.ddim_step)
  _follow(program, f'{case}/{prediction}/{mode}/{eps}', inputs)


@pytest.mark.parametrize('case, prediction, mode', _cases('dpmpp2m'))
def test_dpmpp_2m_oracle(case, prediction, mode):
  inputs = _toy_inputs(case, prediction, mode)
  program = _toy_program(samplers.dpmpp_2m_step)
  _follow(program, f'{case}/{prediction}/{mode}', inputs)


@pytest.mark.parametrize('case, prediction, mode, variance', _cases('ddpm'))
def test_ddpm_oracle(case, prediction, mode, variance, monkeypatch):
  """gamma = 0 is the small variance, 1 the large; noise as stored."""
  noise = jnp.asarray(_oracle()[0][f'{case}/noise'], jnp.float32)
  monkeypatch.setattr(samplers, 'draw_noise', lambda keys, i, shape: noise[i])
  gamma = {'fixed_small': 0.0, 'fixed_large': 1.0}[variance]
  program = _toy_program(samplers.ddpm_step, gamma=gamma)
  inputs = _toy_inputs(case, prediction, mode)
  _follow(program, f'{case}/{prediction}/{mode}/{variance}', inputs)


def test_oracles_were_found():
  counts = [len(_cases(s)) for s in ('ddim', 'dpmpp2m', 'ddpm')]
  assert counts == [15, 15, 12]
