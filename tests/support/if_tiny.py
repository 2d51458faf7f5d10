"""Tiny DeepFloyd IF pipelines with random weights; see tools/if_reference.py.

`tests/data/if_tiny` holds them in the layout of diffusers, with inputs and the
outputs of stock diffusers: unet.npz of the network, runs.npz of pipelines with
given noise, text.npz of the text encoder. Their pictures are [b, c, h, w].
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax import stages
from imagen_jax.files import weights
from imagen_jax.stages import diffusers

DATA = pathlib.Path(__file__).parents[1] / 'data' / 'if_tiny'
STAGES = ('stage1', 'stage2')
RELEASED = ('I-M', 'I-L', 'I-XL', 'II-M', 'II-L')


@functools.cache
def stage(name):
  """(Stage, params) of one of STAGES."""
  config, found = diffusers.read(DATA / name)
  flat = {k: tensor.read(np.dtype(np.float32)) for k, tensor in found.items()}
  return config, weights.unflatten(flat)


@functools.cache
def arrays(name, file):
  """What is stored of a stage in unet.npz, runs.npz or text.npz."""
  with np.load(DATA / name / f'{file}.npz') as stored:
    return dict(stored)


def ours(x):
  """[..., c, h, w] of any type -> [..., h, w, c] float32."""
  return np.moveaxis(np.asarray(x, np.float32), -3, -1)


@functools.cache
def _compiled(name):
  config, params = stage(name)
  network = stages.network(config)

  @jax.jit
  def call(z, logsnr, text, mask, extra):
    return network.apply({'params': params}, z, logsnr, text, mask, **extra)

  return call


def call(name, sample, time, text, level=250, mask=None):
  """Output [b, h, w, 6] of the network.

  Args:
    name: one of STAGES.
    sample: [b, 3 or 6, h, w], as diffusers has it.
    time: [b] or a number, of the 1,000.
    text: [b, l, d], or its context.
    level: of the low-resolution picture, likewise a time.
    mask: [b, l]; None = all tokens.
  """
  config, _ = stage(name)
  z = ours(sample)
  b = len(z)

  def at(times):
    return config.schedule.at(jnp.broadcast_to(jnp.float32(times), [b]))

  extra = {}
  if config.low_res is not None:
    extra = {'low_res': z[..., 3:], 'aug_logsnr': at(level)}
  if mask is None and not isinstance(text, tuple):
    mask = np.ones(text.shape[:2], bool)
  if not isinstance(text, tuple):
    text = np.float32(text)
  return np.asarray(_compiled(name)(z[..., :3], at(time), text, mask, extra))
