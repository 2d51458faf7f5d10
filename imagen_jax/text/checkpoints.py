"""Text encoders from the files people have: what lies there is found out.

  encoder.json                       our own text directory (`encoders`)
  config.json, *.safetensors         Hugging Face: T5, CLIP, BERT
  text_encoder/ and tokenizer/       the same, in a pipeline of diffusers
  checkpoint, or state/ of Orbax     T5X, also one directory further down

Local directories, and URLs such as gs://bucket/path. The checkpoint and its
config must agree both ways, and the tokenizer must belong to them.
"""

import dataclasses
import re

import jax

from imagen_jax.config import environment
from imagen_jax.files import remote, sharded, tensors
from imagen_jax.parallel import partitioning
from imagen_jax.text import encoders, huggingface, placing, t5x, tokenizer_files

MAX_LENGTH = 128  # tokens, unless the encoder has fewer positions


def load_encoder(
  source: str,
  *,
  max_length: int | None = None,
  dtype: str = 'float32',
  mesh: jax.sharding.Mesh | None = None,
  mesh_config: partitioning.MeshConfig | None = None,
  tokenizer=None,
  usual_length: int = MAX_LENGTH,
) -> encoders.TextEncoder:
  """The text encoder in a directory.

  Args:
    source: a text directory, a Hugging Face directory, or a T5X checkpoint;
      a path or a URL.
    max_length: tokens per caption; None = what a text directory says, else
      `usual_length`. Never more than the encoder has positions (CLIP 77, BERT
      512).
    dtype: of matrices and their products, 'float32' or 'bfloat16'.
    mesh: devices over which to spread the weights; None = the default one.
    mesh_config: how; None = the rule that the U-Nets follow.
    tokenizer: a tokenizer, a seqio vocabulary, or a path of the files of
      one; None = what lies in the directory.
    usual_length: tokens per caption where the directory does not say.
  """
  environment.check()
  folder, config, found, stored, as_if = _find(source, dtype)
  length = _length(config, max_length, stored, usual_length)
  # Before the weights, which may take minutes.
  tokens = tokenizer_files.find(tokenizer, folder, config, length)
  params = _place(folder, config, found, mesh, mesh_config)
  return encoders.TextEncoder(
    config=config, params=params, tokenizer=tokens, mesh=mesh, as_if=as_if
  )


def size_of(source: str, usual_length: int = MAX_LENGTH) -> tuple[int, int]:
  """(width, tokens per caption) of an encoder, whose weights are not read."""
  _, config, _, stored, _ = _find(source, 'float32')
  return config.width, _length(config, None, stored, usual_length)


def _length(config, asked, stored, usual):
  """Tokens per caption: the first that is told, within the positions."""
  length = next(n for n in (asked, stored, usual) if n is not None)
  return min(length, getattr(config, 'max_positions', length))


def load_weights(source: str, *, dtype='float32', mesh=None, mesh_config=None):
  """The same without a tokenizer: (config, params), for `encoders.embed`."""
  folder, config, found, _, _ = _find(source, dtype)
  return config, _place(folder, config, found, mesh, mesh_config)


def _find(source, dtype):
  """(folder, config, tensors, token length or None, as_if)."""
  folder, stored, as_if = remote.folder(source), None, False
  names = folder.names()
  if encoders.CONFIG_FILE in names:
    config, stored, as_if = encoders.read_config(folder)
    found = tensors.safetensors(folder, encoders.WEIGHTS_FILE)
  elif inner := _of_pipeline(folder, names):
    return _find(f'{folder}/{inner}', dtype)
  elif huggingface.is_one(names):
    config, found = huggingface.read(folder)
  else:
    folder = _t5x_folder(folder, names)
    config, found = t5x.read(folder)
  config = dataclasses.replace(config, dtype=_dtype(dtype))
  return folder, config, found, stored, as_if


def _of_pipeline(folder, names):
  """The text encoder's directory in a pipeline of diffusers, or None."""
  if huggingface.CONFIG_FILE in names:
    return None
  inner = [n for n in names if re.fullmatch(r'text_encoder(_\d+)?', n)]
  if len(inner) > 1:
    raise ValueError(
      f'{folder} has {len(inner)} text encoders; give the directory of one: '
      f'{folder}/{" or ".join(inner)}'
    )
  return inner[0] if inner else None


def _place(folder, config, found, mesh, mesh_config):
  return placing.place(
    found,
    encoders.param_shapes(config),
    where=str(folder),
    dtype=config.dtype,
    mesh=mesh,
    mesh_config=mesh_config,
    heads=config.num_heads,
  )


def _dtype(dtype):
  name = jax.numpy.dtype(dtype).name
  if name not in encoders.DTYPES:
    raise ValueError(
      f"dtype is {name}; choose 'float32' or 'bfloat16' (T5 overflows float16)"
    )
  return name


def _t5x_folder(folder, names):
  """The directory that holds the checkpoint itself."""
  if t5x.is_one(names):
    return folder
  step = t5x.newest(names)
  if step is not None:
    return folder.child(step)
  pickles = [name for name in names if name.endswith(sharded.PICKLES)]
  if pickles:
    raise ValueError(sharded.no_pickles(folder, pickles))
  raise ValueError(
    f'{folder} holds no text encoder that is known: there are '
    f'{", ".join(names[:8]) or "no files"}. Known are a text directory '
    f'({encoders.CONFIG_FILE}), a Hugging Face directory '
    f'({huggingface.CONFIG_FILE} and safetensors) and a T5X checkpoint '
    '(checkpoint_<step>)'
  )
