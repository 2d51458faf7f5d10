"""Features of pictures by FID's network, on all devices of a mesh.

Pictures uint8 [n, h, w, 3] -> features float32 [n, d]. They are resized to
299 pixels first, and that is where published numbers differ most: two ways
have a name here, those of the two programs that nearly all numbers come from.
Neither smooths before it shrinks, so that large pictures alias.
"""

import dataclasses
import functools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax.files import weights
from imagen_jax.models import inception
from imagen_jax.parallel import partitioning
from imagen_jax.text import encoders

LAYERS = ('64', '192', '768', '2048', 'logits')  # in the order of the output
BATCH = 32  # pictures that run at a time
FORMAT = 'imagen_jax inception 1'  # in the metadata of the weights
# The name in every program that measures FID, here and elsewhere.
_PUBLISHED = (
  'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/'
  'pt_inception-2015-12-05-6726825d.pth'
)


def how_to_get(path) -> str:
  """What to do where the weights are missing."""
  return (
    f"the weights of FID's Inception are not at {path}; download {_PUBLISHED} "
    "and convert it once: pip install 'imagen-jax[inception]' && python -m "
    f'imagen_jax.convert_inception --source=FILE.pth --out={path}. Without '
    'them: python -m imagen_jax.evaluate --protocol=scenes'
  )


def resize_tensorflow1(x):
  """[b, h, w, 3] in [0, 255] -> [b, 299, 299, 3] in [-1, 1), torch-fidelity's.

  As TensorFlow 1 did it when FID was published: output i lies at i h / 299,
  half a pixel off; 128 is gray.
  """
  for axis in (1, 2):
    places = np.arange(inception.SIDE) * (x.shape[axis] / inception.SIDE)
    x = _between(x, places, axis)
  return (x - 128.0) / 128.0


def resize_half_pixels(x):
  """[b, h, w, 3] in [0, 255] -> [b, 299, 299, 3] in [-1, 1], pytorch-fid's.

  Centres of pixels lie at halves; 127.5 is gray.
  """
  x = x / 255.0
  for axis in (1, 2):
    scale = x.shape[axis] / inception.SIDE
    places = (np.arange(inception.SIDE) + 0.5) * scale - 0.5
    x = _between(x, np.maximum(places, 0.0), axis)
  return 2.0 * x - 1.0


def _between(x, places, axis):
  """Values of x along an axis at `places`, between its two neighbours."""
  low = np.floor(places).astype(np.int32)
  high = np.minimum(low + 1, x.shape[axis] - 1)
  share = (places - low).astype(np.float32)
  share = share.reshape(-1, *[1] * (x.ndim - 1 - axis))
  below, above = (jnp.take(x, i, axis=axis) for i in (low, high))
  return below + (above - below) * share


RESIZES = {
  'torch-fidelity': resize_tensorflow1,
  'pytorch-fid': resize_half_pixels,
}


@functools.partial(jax.jit, static_argnames='name')
def resized(images, name):
  """uint8 [b, h, w, 3] -> what the network takes."""
  return RESIZES[name](images.astype(jnp.float32))


@functools.partial(jax.jit, static_argnames='layer')
def _features(params, x, layer):
  outputs = inception.Inception().apply({'params': params}, x)
  return outputs[LAYERS.index(layer)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extractor:
  """The network with its weights on a mesh; pictures to features."""

  params: dict
  mesh: jax.sharding.Mesh
  network: str  # sha256 of the weights
  resize: str = 'torch-fidelity'  # of RESIZES
  layer: str = '2048'  # of LAYERS
  batch: int = BATCH  # pictures at a time, over all devices

  @property
  def width(self) -> int:
    """Features of a picture."""
    return inception.CLASSES if self.layer == 'logits' else int(self.layer)

  def about(self) -> dict:
    """All that decides the features of a picture, ready for JSON."""
    return {
      'network': self.network,
      'resize': self.resize,
      'features': self.layer,
    }

  def __call__(self, images: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w, 3] -> float32 [n, d].

    One compiled shape, the last batch padded; every device has a part of it.
    """
    found = []
    for first in range(0, len(images), self.batch):
      part = images[first : first + self.batch]
      padding = ((0, self.batch - len(part)), *((0, 0),) * 3)
      whole = partitioning.put_batch(
        {'images': np.pad(part, padding)}, self.mesh
      )
      x = resized(whole['images'], self.resize)
      features = np.asarray(_features(self.params, x, self.layer))
      found.append(features[: len(part)])
    if not found:
      return np.zeros((0, self.width), np.float32)
    return np.concatenate(found)


def make(params: dict, *, batch: int = BATCH, mesh=None, **settings):
  """An `Extractor` of a tree of weights.

  Args:
    params: by our names.
    batch: pictures at a time; more where the devices do not divide it.
    mesh: of `partitioning.make_mesh`; None = of all devices.
    **settings: `resize` and `layer`.
  """
  mesh = partitioning.make_mesh() if mesh is None else mesh
  shards = partitioning.batch_shards(mesh)
  return Extractor(
    params=jax.device_put(params, partitioning.replicated(mesh)),
    mesh=mesh,
    network=encoders.weights_sha256(params),
    batch=math.ceil(batch / shards) * shards,
    **settings,
  )


def load(path, **settings) -> Extractor:
  """An `Extractor` of a file that `imagen_jax.convert_inception` wrote."""
  if not pathlib.Path(path).is_file():
    raise ValueError(how_to_get(path))
  params = weights.load(path)
  found = {k: v.shape for k, v in weights.flatten(params).items()}
  expected = weights.flatten(inception.param_shapes())
  for name in sorted(found.keys() | expected.keys()):
    if found.get(name) != expected.get(name):
      raise ValueError(
        f'{path} is not of this network: {name} is '
        f'{found.get(name, "missing")}, it should be '
        f'{expected.get(name, "left out")}; convert the published file again '
        'by imagen_jax.convert_inception'
      )
  return make(params, **settings)
