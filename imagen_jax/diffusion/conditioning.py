"""What is done to the conditions: caption dropout and noise augmentation.

Section 2.4 (noise conditioning augmentation), 2.2 and 4.1 (text dropped for
classifier-free guidance). Text is [b, l, d] with a mask [b, l]; a low-res
picture is [b, h, w, 3] in [-1, 1].
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax.diffusion import process, schedules

MAX_BLUR = 2.0  # low-res pixels: what a blur's window has room for


def null_text(text, mask):
  """The unconditional text: zeros, of which one token stays visible.

  The paper zeroes the embeddings (section 4.1). One visible token keeps the
  softmax defined and makes the result independent of the padding.
  """
  first = jnp.arange(mask.shape[1]) == 0
  return jnp.zeros_like(text), jnp.broadcast_to(first, mask.shape)


def drop_text(text, mask, drop):
  """Replaces the text of the examples where `drop` [b] is true by the null."""
  null, null_mask = null_text(text, mask)
  text = jnp.where(drop[:, None, None], null, text)
  return text, jnp.where(drop[:, None], null_mask, mask)


def augment(low_res, aug_level, noise):
  """Corrupts the low-res picture; appendix A.32.

  The paper leaves open how a level in [0, 1] maps to noise: we take the cosine
  schedule of the base stage, so that 0 is clean and 1 is noise.

  Args:
    low_res: [b, h, w, 3] in [-1, 1].
    aug_level: [b] in [0, 1].
    noise: [b, h, w, 3], standard normal.

  Returns:
    The corrupted picture [b, h, w, 3] and its logsnr [b], which the network
    is told.
  """
  logsnr = schedules.Cosine()(aug_level)
  return process.add_noise(low_res, noise, logsnr), logsnr


def blur(low_res, sigma):
  """Gaussian blur of each picture; borders are continued.

  Trains a super-resolution stage to sharpen what the stage before it drew too
  soft (Ho et al. 2021, Cascaded diffusion models, section 4; not in Imagen).

  Args:
    low_res: [b, h, w, 3].
    sigma: [b], standard deviation in pixels, 0 to MAX_BLUR; 0 leaves a picture
      as it is.

  Returns:
    [b, h, w, 3].
  """
  reach = math.ceil(2 * MAX_BLUR)
  offsets = jnp.arange(-reach, reach + 1)
  # Of a pixel's area, not of its centre: exact for small sigma too.
  edges = (jnp.arange(2 * reach + 2) - reach - 0.5) / jnp.maximum(
    sigma[:, None], 1e-6
  )
  taps = jnp.diff(jax.scipy.stats.norm.cdf(edges), axis=1)
  taps /= jnp.sum(taps, axis=1, keepdims=True)
  for axis in (1, 2):
    size = low_res.shape[axis]
    at = jnp.clip(jnp.arange(size)[:, None] + offsets, 0, size - 1)
    low_res = jnp.moveaxis(low_res, axis, 1)
    low_res = jnp.einsum(
      'bk,mkn,bn...->bm...',
      taps,
      jax.nn.one_hot(at, size),
      low_res,
      precision='highest',
    )
    low_res = jnp.moveaxis(low_res, 1, axis)
  return low_res


def upsample(low_res, size):
  """Bilinear upsampling to `size` = (h, w): [b, h, w, 3].

  The paper does not name the filter; SR3's is bicubic, DeepFloyd IF's bilinear.
  """
  b, _, _, c = low_res.shape
  return jax.image.resize(low_res, (b, *size, c), 'bilinear')


def upsample_aligned(low_res, size):
  """Bilinear with corners on corners, as IF does: [b, *size, 3].

  Row i of m takes from source row i (n - 1) / (m - 1): the outer pixels keep
  their colours, where `upsample` has pixels of equal area.
  """
  rows, columns = (
    _aligned(n, m) for n, m in zip(low_res.shape[1:3], size, strict=True)
  )
  return jnp.einsum(
    'mh,nw,bhwc->bmnc', rows, columns, low_res, precision='highest'
  )


def _aligned(n, m):
  """Weights [m, n] of n values for m positions between first and last."""
  position = np.arange(m) * ((n - 1) / max(1, m - 1))
  distance = np.abs(position[:, None] - np.arange(n))
  return np.maximum(0, 1 - distance).astype(np.float32)
