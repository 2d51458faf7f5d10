"""CLIP score: how well pictures fit their captions, as a CLIP model sees it.

Captions and uint8 pictures of any size -> cosines [n] of their vectors. The
paper names neither its CLIP model nor a formula; its figures show values
around 0.27, which are means of cosines. Here a score is the mean of
100 max(cos, 0), without a prefix to the caption, and the mean of the cosines
stands beside it; it says nothing without the model it was made with.
"""

import dataclasses
import functools
import hashlib
import json
import math
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image

from imagen_jax.config import checks
from imagen_jax.evaluation import picture_files
from imagen_jax.files import json_files, remote, weights
from imagen_jax.models import clip_image, clip_text
from imagen_jax.parallel import partitioning
from imagen_jax.text import encoders, huggingface, placing, tokenizer_files

CONVENTION = 'mean of 100 max(cos, 0)'
BATCH = 32  # pictures at a time, over all devices
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of red, green, blue in [0, 1]
STD = (0.26862954, 0.26130258, 0.27577711)
_PREPROCESSOR = 'preprocessor_config.json'
_BICUBIC = 3  # Pillow's number


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIP:
  """Both towers with their weights, tokenizer and normalisation."""

  name: str  # what its config calls it, or else its directory
  sha256: str  # of all that decides a cosine
  text_config: clip_text.CLIPTextConfig
  image_config: clip_image.CLIPImageConfig
  text_params: dict
  image_params: dict
  tokenizer: object
  mesh: jax.sharding.Mesh
  mean: tuple[float, ...] = MEAN
  std: tuple[float, ...] = STD
  batch: int = BATCH  # pictures at a time, over all devices

  def prepare(self, picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] -> uint8 [r, r, 3]: the short side to r, the middle."""
    side = self.image_config.resolution
    image = PIL.Image.fromarray(picture)
    scale = side / min(image.size)
    size = tuple(max(side, int(n * scale + 1e-6)) for n in image.size)
    if size != image.size:
      image = image.resize(size, PIL.Image.Resampling.BICUBIC)
    return np.asarray(picture_files.centre(image, side))

  def cosines(
    self, captions: Sequence[str], pictures: Sequence[np.ndarray]
  ) -> np.ndarray:
    """[n] float32 of captions and prepared pictures, at most `batch` of each.

    One compiled shape: what is missing is padded.
    """
    n, spare = len(captions), self.batch - len(captions)
    if n != len(pictures) or spare < 0 or not n:
      raise ValueError(
        f'{n} captions and {len(pictures)} pictures; give as many of each, '
        f'{self.batch} at most'
      )
    tokens, mask = self.tokenizer.encode(captions)
    rows = {'tokens': tokens, 'mask': mask, 'pictures': np.stack(pictures)}
    rows = {
      k: np.pad(v, ((0, spare), *((0, 0),) * (v.ndim - 1)), 'edge')
      for k, v in rows.items()
    }
    rows = partitioning.put_batch(rows, self.mesh)
    text = text_vectors(
      self.text_config, self.text_params, rows['tokens'], rows['mask']
    )
    x = normalised(rows['pictures'], self.mean, self.std)
    image = image_vectors(self.image_config, self.image_params, x)
    found = np.asarray((text * image).sum(axis=-1))[:n]
    if not np.isfinite(found).all():
      raise ValueError(
        f'{self.name} gives numbers that are not finite; its weights are '
        'damaged: copy them again'
      )
    return found


@functools.partial(jax.jit, static_argnums=0)
def text_vectors(config, params, tokens, mask):
  """Tokens [b, l] -> unit vectors [b, p]."""
  with jax.default_matmul_precision('highest'):
    network = clip_text.CLIPText(config)
    return unit(network.apply({'params': params}, tokens, mask).projected)


@functools.partial(jax.jit, static_argnums=0)
def image_vectors(config, params, x):
  """Normalised pictures [b, r, r, 3] -> unit vectors [b, p]."""
  with jax.default_matmul_precision('highest'):
    network = clip_image.CLIPImage(config)
    return unit(network.apply({'params': params}, x).projected)


def normalised(pictures, mean, std):
  """uint8 [b, r, r, 3] -> float32, each colour about zero."""
  return (pictures.astype(jnp.float32) / 255.0 - jnp.array(mean)) / jnp.array(
    std
  )


def unit(x):
  """Vectors [b, p] at unit length."""
  return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def load(directory, *, batch: int = BATCH, mesh=None) -> CLIP:
  """A CLIP model from a Hugging Face directory, with its tokenizer.

  Args:
    directory: config.json, safetensors, tokenizer, preprocessor_config.json
      (if there is none, the published mean and deviation hold).
    batch: pictures at a time; more where the devices do not divide it.
    mesh: of `partitioning.make_mesh`; None = of all devices.
  """
  mesh = partitioning.make_mesh() if mesh is None else mesh
  folder = remote.folder(directory)
  folder.names()  # says so where there is no such directory
  (text, text_found), (image, image_found), fields = huggingface.read_clip(
    folder
  )
  mean, std = _normalisation(folder, image.resolution)
  tokenizer = tokenizer_files.find(None, folder, text, text.max_positions)
  place = functools.partial(placing.place, where=str(folder), mesh=mesh)
  text_params = place(
    text_found, encoders.param_shapes(text), heads=text.num_heads
  )
  image_params = place(
    image_found,
    weights.flatten(clip_image.param_shapes(image)),
    heads=image.num_heads,
  )
  identity = {
    'text': encoders.weights_sha256(text_params),
    'image': encoders.weights_sha256(image_params),
    'tokenizer': tokenizer.sha256(),
    'configs': [dataclasses.asdict(text), dataclasses.asdict(image)],
    'normalisation': [mean, std],
  }
  shards = partitioning.batch_shards(mesh)
  return CLIP(
    name=fields.get('_name_or_path') or pathlib.Path(folder.place).name,
    sha256=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
    text_config=text,
    image_config=image,
    text_params=text_params,
    image_params=image_params,
    tokenizer=tokenizer,
    mesh=mesh,
    mean=mean,
    std=std,
    batch=math.ceil(batch / shards) * shards,
  )


def _normalisation(folder, resolution):
  """(mean, deviation) of colours; raises for what is not CLIP's way."""
  if _PREPROCESSOR not in folder.names():
    return MEAN, STD
  fields = json_files.read_in(folder, _PREPROCESSOR)
  where = f'{folder}/{_PREPROCESSOR}'
  found = []
  for key, default in (('image_mean', MEAN), ('image_std', STD)):
    value = fields.get(key, default)
    value = tuple(value) if isinstance(value, list) else value
    checks.require(value, tuple[float, float, float], f'{where}: {key}')
    found.append(value)
  crop = fields.get('crop_size', resolution)
  if isinstance(crop, dict):
    crop = crop.get('height')
  for key, value, ours in (
    ('crop_size', crop, resolution),
    ('resample', fields.get('resample', _BICUBIC), _BICUBIC),
    ('do_center_crop', fields.get('do_center_crop', True), True),
  ):
    if value != ours:
      raise ValueError(
        f'{where}: {key} is {value!r}; CLIP models are read that have {ours!r}'
      )
  return found


def summary(cosines: Sequence[float]) -> dict:
  """Score with its standard error, and mean cosine, ready for JSON."""
  x = np.asarray(cosines, np.float64)
  each = 100 * np.maximum(x, 0)
  error = each.std(ddof=1) / math.sqrt(len(x)) if len(x) > 1 else 0.0
  return {
    'n': len(x),
    'clip_score': float(each.mean()),
    'standard_error': float(error),
    'cosine': float(x.mean()),
    'convention': CONVENTION,
  }
