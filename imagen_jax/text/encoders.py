"""Frozen text encoders, section 2.1: captions -> text [b, l, d] and mask.

A *text directory* holds one:

  encoder.json         kind, size (the config's fields) and token length
  encoder.safetensors  weights by our names joined with '.', maybe 16 bits
  tokenizer.model      SentencePiece, or tokenizer.json: CLIP's and BERT's

`load` gives weights in float32, whatever they are on disk;
`checkpoints.load_encoder` also reads other directories, in bfloat16 and onto
a mesh. T5 gives its last layer, CLIP its penultimate one (D.1), BERT its last.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from imagen_jax.config import checks
from imagen_jax.files import hub, json_files, remote, tensors, weights
from imagen_jax.models import bert, clip_text, t5
from imagen_jax.parallel import partitioning
from imagen_jax.text import cleaning, tokenizer_files, tokenizers

FORMAT_VERSION = 1
CONFIG_FILE = 'encoder.json'
WEIGHTS_FILE = 'encoder.safetensors'
DTYPES = ('float32', 'bfloat16')  # of matrix products; T5 overflows float16
TOKENIZER_FILE = tokenizer_files.SENTENCEPIECE_FILE

Config = t5.T5Config | clip_text.CLIPTextConfig | bert.BERTConfig
_KINDS = {
  't5': t5.T5Config,
  'clip_text': clip_text.CLIPTextConfig,
  'bert': bert.BERTConfig,
}


def network(config: Config):
  """The Flax module of a config."""
  if isinstance(config, t5.T5Config):
    return t5.T5Encoder(config)
  if isinstance(config, clip_text.CLIPTextConfig):
    return clip_text.CLIPText(config)
  if isinstance(config, bert.BERTConfig):
    return bert.BERT(config)
  raise TypeError(f'no text encoder has a {type(config).__name__}')


def embed(
  config: Config,
  params: dict,
  tokens: jax.Array,
  mask: jax.Array,
  keep_padding: bool = False,
) -> jax.Array:
  """Tokens [b, l], mask [b, l] -> text [b, l, d] float32, zero at padding.

  With `keep_padding` it is what the network gives there, as IF has it.

  Pure, for use inside a jitted train step; no gradient passes (the encoder is
  frozen, section 2.1).
  """
  text = network(config).apply({'params': params}, tokens, mask)
  if isinstance(config, clip_text.CLIPTextConfig):
    text = text.penultimate
  elif isinstance(config, bert.BERTConfig):
    text = text.last
  if not keep_padding:
    text = jnp.where(mask.astype(bool)[..., None], text, 0.0)
  return jax.lax.stop_gradient(text)


_embed = jax.jit(embed, static_argnums=(0, 4))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextEncoder:
  """An encoder with its weights and its tokenizer."""

  config: Config
  params: dict  # nested, by our names (T5X's for T5)
  tokenizer: tokenizers.Tokenizer
  mesh: jax.sharding.Mesh | None = None  # where params lie; None = one device
  # As of DeepFloyd IF: captions are cleaned (`cleaning`), padding is kept.
  as_if: bool = False

  def encode(
    self, captions: Sequence[str], batch: int = 8
  ) -> tuple[np.ndarray, np.ndarray]:
    """Captions -> (text float32 [b, l, d], mask bool [b, l]).

    Runs one compiled shape of `batch` captions (more on a mesh that does not
    divide it), the last batch padded, so that a caption's embedding does not
    depend on its neighbours.
    """
    tokens, mask = self.tokenizer.encode(self.prepared(captions))
    if self.mesh is not None:
      devices = self.mesh.shape['data'] * self.mesh.shape['fsdp']
      batch = -(-batch // devices) * devices
    text = np.zeros((*tokens.shape, self.config.width), np.float32)
    for start in range(0, len(tokens), batch):
      rows = slice(start, start + batch)
      padding = ((0, batch - len(tokens[rows])), (0, 0))
      part = self.embed(
        np.pad(tokens[rows], padding), np.pad(mask[rows], padding)
      )
      text[rows] = np.asarray(part)[: len(tokens[rows])]
    return text, mask

  def embed(self, tokens: np.ndarray, mask: np.ndarray) -> jax.Array:
    """`embed` of a batch, compiled once per shape and spread over the mesh."""
    rows = {'tokens': tokens, 'mask': mask}
    if self.mesh is not None:
      rows = partitioning.put_batch(rows, self.mesh)
    return _embed(
      self.config, self.params, rows['tokens'], rows['mask'], self.as_if
    )

  def prepared(self, captions: Sequence[str]) -> list[str]:
    """The captions as the tokenizer is given them."""
    captions = list(captions)
    return [cleaning.clean(c) for c in captions] if self.as_if else captions

  def truncated_share(self, captions: Sequence[str]) -> float:
    """Share of the captions that are longer than max_length tokens."""
    cut = self.tokenizer.truncated(self.prepared(captions))
    return float(cut.mean()) if len(cut) else 0.0

  def fingerprint(self) -> dict:
    """All that decides an embedding, ready for JSON.

    Reads every weight, one at a time; on several hosts all must call it.
    """
    fields = dataclasses.asdict(self.config)
    return {
      'kind': _kind(self.config),
      'weights': weights_sha256(self.params),
      'tokenizer': self.tokenizer.sha256(),
      'max_length': self.tokenizer.max_length,
      'dtype': fields.pop('dtype'),
      'config': json.loads(json.dumps(fields)),  # tuples become lists
      **({'as_if': True} if self.as_if else {}),
    }


def weights_sha256(params: dict) -> str:
  """Checksum over names in their order, shapes, dtypes and bytes."""
  digest = hashlib.sha256()
  for name, x in sorted(weights.flatten(params).items()):
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
      x = multihost_utils.process_allgather(x, tiled=True)
    x = np.ascontiguousarray(x)
    digest.update(f'{name} {x.dtype} {x.shape}\n'.encode())
    digest.update(x.view(np.uint8).data)
  return digest.hexdigest()


def _kind(config) -> str:
  """The family's name, in encoder.json and in fingerprints."""
  return next(kind for kind, t in _KINDS.items() if isinstance(config, t))


def param_shapes(config: Config) -> dict[str, tuple[int, ...]]:
  """Shape of every parameter by its name."""
  tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
  variables = jax.eval_shape(
    network(config).init, jax.random.key(0), tokens, tokens
  )
  return {
    name: x.shape for name, x in weights.flatten(variables['params']).items()
  }


def save(directory: str, encoder: TextEncoder, dtype=np.float32) -> None:
  """Writes a text directory; each file is replaced whole."""
  path = pathlib.Path(directory)
  path.mkdir(parents=True, exist_ok=True)
  weights.save(path / WEIGHTS_FILE, encoder.params, dtype)
  _write_config(path, encoder.config, encoder.tokenizer, encoder.as_if)


def save_streamed(
  directory: str, config, found, tokenizer, *, as_if=False, dtype=np.float32
) -> None:
  """The same from `files.tensors` by our names, one at a time."""
  tensors.check(found, param_shapes(config), str(directory))
  path = pathlib.Path(directory)
  path.mkdir(parents=True, exist_ok=True)
  weights.save_streamed(path / WEIGHTS_FILE, found, dtype)
  _write_config(path, config, tokenizer, as_if)


def _write_config(path, config, tokenizer, as_if):
  """Everything but the weights, encoder.json last."""
  fields = {
    'format_version': FORMAT_VERSION,
    'kind': _kind(config),
    'max_length': tokenizer.max_length,
    **dataclasses.asdict(config),
    **({'as_if': True} if as_if else {}),
  }
  name, content = tokenizer_files.to_file(tokenizer)
  weights.save_bytes(path / name, content)
  weights.save_json(path / CONFIG_FILE, fields)


def load(directory: str) -> TextEncoder:
  """Reads a text directory and checks that its parts fit together."""
  path = hub.local(directory)
  folder = remote.folder(directory)
  config, max_length, as_if = read_config(folder)
  tokenizer = tokenizer_files.find(None, folder, config, max_length)
  found_weights = weights.flatten(weights.load(path / WEIGHTS_FILE))
  shapes = param_shapes(config)
  for name, shape in shapes.items():
    there = found_weights.get(name)
    found = 'nothing' if there is None else there.shape
    if found != shape:
      raise ValueError(
        f'{path / WEIGHTS_FILE}: {name} is {found}, {CONFIG_FILE} says '
        f'{shape}; copy both files from one encoder'
      )
  if left_over := sorted(set(found_weights) - set(shapes)):
    raise ValueError(
      f'{path / WEIGHTS_FILE}: {left_over[0]} is left over, {CONFIG_FILE} has '
      'no place for it; copy both files from one encoder'
    )
  params = weights.unflatten(found_weights)
  return TextEncoder(
    config=config, params=params, tokenizer=tokenizer, as_if=as_if
  )


def read_config(folder: remote.Folder) -> tuple[Config, int, bool]:
  """encoder.json: config, tokens of a caption at most, `as_if`."""
  path = f'{folder}/{CONFIG_FILE}'
  absent = f'{path} is missing: {folder} is no text directory'
  fields = json_files.read_in(folder, CONFIG_FILE, absent)
  version, kind = fields.pop('format_version', None), fields.pop('kind', None)
  known = isinstance(kind, str) and kind in _KINDS
  if version != FORMAT_VERSION or not known:
    raise ValueError(
      f'{path}: format {version} of kind {kind!r}, this release reads format '
      f'{FORMAT_VERSION} of kinds {", ".join(_KINDS)}; update imagen_jax'
    )
  max_length = fields.pop('max_length', None)
  if not checks.fits(max_length, int) or max_length < 1:
    raise ValueError(
      f'{path}: max_length is {max_length!r}; it must be a whole number above '
      '0: write the directory again'
    )
  as_if = fields.pop('as_if', False)
  checks.require(as_if, bool, f'{path}: as_if')
  config = checks.build(_KINDS[kind], fields, path)
  if config.dtype not in DTYPES:
    raise ValueError(f'{path}: dtype is {config.dtype!r}, not one of {DTYPES}')
  return config, max_length, as_if
