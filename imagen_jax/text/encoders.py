"""Frozen text encoders, section 2.1: captions -> text [b, l, d] and mask.

A *text directory* holds one:

  encoder.json         kind, size (the config's fields) and token length
  encoder.safetensors  weights by T5X's names joined with '.', maybe 16 bits
  tokenizer.model      SentencePiece

Weights become float32 in memory, whatever they are on disk.
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

from imagen_jax import weights
from imagen_jax.models import t5
from imagen_jax.text import tokenizers

FORMAT_VERSION = 1
CONFIG_FILE = 'encoder.json'
WEIGHTS_FILE = 'encoder.safetensors'
TOKENIZER_FILE = 'tokenizer.model'


def embed(
  config: t5.T5Config, params: dict, tokens: jax.Array, mask: jax.Array
) -> jax.Array:
  """Tokens [b, l], mask [b, l] -> text [b, l, d] float32, zero at padding.

  Pure, for use inside a jitted train step; no gradient passes (the encoder is
  frozen, section 2.1).
  """
  text = t5.T5Encoder(config).apply({'params': params}, tokens, mask)
  return jax.lax.stop_gradient(jnp.where(mask[..., None], text, 0.0))


_embed = jax.jit(embed, static_argnums=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextEncoder:
  """An encoder with its weights and its tokenizer."""

  config: t5.T5Config
  params: dict  # nested, float32, T5X's names
  tokenizer: tokenizers.SentencePieceTokenizer

  def encode(
    self, captions: Sequence[str], batch: int = 8
  ) -> tuple[np.ndarray, np.ndarray]:
    """Captions -> (text float32 [b, l, d], mask bool [b, l]).

    Runs one compiled shape of `batch` captions, the last batch padded, so
    that a caption's embedding does not depend on its neighbours.
    """
    tokens, mask = self.tokenizer.encode(captions)
    text = np.zeros((*tokens.shape, self.config.width), np.float32)
    for start in range(0, len(tokens), batch):
      rows = slice(start, start + batch)
      padding = ((0, batch - len(tokens[rows])), (0, 0))
      part = _embed(
        self.config,
        self.params,
        np.pad(tokens[rows], padding),
        np.pad(mask[rows], padding),
      )
      text[rows] = np.asarray(part)[: len(tokens[rows])]
    return text, mask

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
  if not isinstance(config, t5.T5Config):
    raise TypeError(f'no text encoder has a {type(config).__name__}')
  return 't5'


def param_shapes(config: t5.T5Config) -> dict[str, tuple[int, ...]]:
  """Shape of every parameter by its name."""
  tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
  variables = jax.eval_shape(
    t5.T5Encoder(config).init, jax.random.key(0), tokens, tokens
  )
  return {
    name: x.shape for name, x in weights.flatten(variables['params']).items()
  }


def save(directory: str, encoder: TextEncoder, dtype=np.float32) -> None:
  """Writes a text directory; each file is replaced whole."""
  path = pathlib.Path(directory)
  path.mkdir(parents=True, exist_ok=True)
  fields = {
    'format_version': FORMAT_VERSION,
    'kind': 't5',
    'max_length': encoder.tokenizer.max_length,
    **dataclasses.asdict(encoder.config),
  }
  weights.save_bytes(path / TOKENIZER_FILE, encoder.tokenizer.model_proto)
  weights.save(path / WEIGHTS_FILE, encoder.params, dtype)
  weights.save_json(path / CONFIG_FILE, fields)


def load(directory: str) -> TextEncoder:
  """Reads a text directory and checks that its parts fit together."""
  path = pathlib.Path(directory)
  config, max_length = _read_config(path / CONFIG_FILE)
  tokenizer = tokenizers.SentencePieceTokenizer(
    path / TOKENIZER_FILE, max_length, config.vocab_size
  )
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
  params = weights.unflatten({name: found_weights[name] for name in shapes})
  return TextEncoder(config=config, params=params, tokenizer=tokenizer)


def _read_config(path) -> tuple[t5.T5Config, int]:
  try:
    fields = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError as error:
    raise ValueError(
      f'{path} is missing: {path.parent} is no text directory'
    ) from error
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f'{path} is damaged ({error}); copy it again') from error
  version, kind = fields.pop('format_version', None), fields.pop('kind', None)
  if (version, kind) != (FORMAT_VERSION, 't5'):
    raise ValueError(
      f'{path}: format {version} of kind {kind!r}, this release reads format '
      f"{FORMAT_VERSION} of kind 't5'; update imagen_jax"
    )
  try:
    max_length = fields.pop('max_length')
    activations = tuple(fields.pop('mlp_activations'))
    return t5.T5Config(mlp_activations=activations, **fields), max_length
  except (KeyError, TypeError) as error:
    raise ValueError(f'{path}: {error}; write the directory again') from error
