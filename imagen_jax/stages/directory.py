"""The directory that holds a stage.

  stage.json         the `Stage`, field by field
  model.safetensors  the (EMA) weights, named by their path in the tree

`sample` needs nothing else; `train` writes one beside each kept checkpoint.
"""

import dataclasses
import pathlib

import numpy as np

from imagen_jax.config import checks
from imagen_jax.diffusion import discrete, layouts, schedules
from imagen_jax.files import json_files, remote, tensors, weights
from imagen_jax.models import efficient_unet, if_unet, unet
from imagen_jax.stages import settings
from imagen_jax.stages import stage as stage_lib

FORMAT_VERSION = 1
CONFIG_FILE = 'stage.json'
WEIGHTS_FILE = 'model.safetensors'
TEXT_WEIGHTS = 'text_weights'  # metadata: checksum of the encoder's weights

# The kinds a stage.json may name, spelt out so that grep finds every use.
_MODELS = {
  'unet': unet.UNetConfig,
  'efficient_unet': efficient_unet.EfficientUNetConfig,
  'if_unet': if_unet.IFUNetConfig,
}
_SCHEDULES = {
  'cosine': schedules.Cosine,
  'linear_beta': schedules.LinearBeta,
  'squared_cosine': discrete.SquaredCosine,
}


def to_json(stage):
  """`stage` as a JSON-able dict."""
  fields = dataclasses.asdict(stage)
  for key, kinds in (('model', _MODELS), ('schedule', _SCHEDULES)):
    kind = next(k for k, c in kinds.items() if type(getattr(stage, key)) is c)
    fields[key] = {'kind': kind, **fields[key]}
  return {'format_version': FORMAT_VERSION, **fields}


def from_json(fields, where=CONFIG_FILE):
  """The inverse of `to_json`; raises ValueError naming what does not fit."""
  fields = _table(fields, where)
  version = fields.pop('format_version', None)
  if version != FORMAT_VERSION:
    raise ValueError(
      f'{where}: format_version {version}, this release reads '
      f'{FORMAT_VERSION}; update imagen_jax or export the stage again'
    )
  for key, kinds in (('model', _MODELS), ('schedule', _SCHEDULES)):
    value = _table(fields.get(key, {}), f'{where}: {key}')
    kind = value.pop('kind', None)
    if not isinstance(kind, str) or kind not in kinds:
      raise ValueError(f'{where}: {key} kind {kind!r}, not one of {[*kinds]}')
    fields[key] = checks.build(kinds[kind], value, f'{where}: {key}')
  if fields.get('layout') is not None:
    layout = _table(fields['layout'], f'{where}: layout')
    fields['layout'] = checks.build(layouts.Layout, layout, f'{where}: layout')
  sampling = _table(fields.get('sampling', {}), f'{where}: sampling')
  fields['sampling'] = checks.build(
    settings.Sampling, sampling, f'{where}: sampling'
  )
  return checks.build(stage_lib.Stage, fields, where)


def _table(fields, where):
  """A copy of a JSON object; ValueError where it is something else."""
  if not isinstance(fields, dict):
    raise ValueError(f'{where} is {fields!r} and no table; export it again')
  return dict(fields)


def write(directory, stage, params, dtype=np.float32, metadata=None):
  """Writes a stage directory; each file is replaced atomically.

  One work directory trains one stage, so that a crash between the two files
  leaves a config and weights that still belong together.
  """
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  weights.save_json(directory / CONFIG_FILE, to_json(stage))
  weights.save(directory / WEIGHTS_FILE, params, dtype, metadata)


def read_config(directory):
  """The `Stage` in a stage directory, without its weights."""
  path = pathlib.Path(directory) / CONFIG_FILE
  fields = json_files.read(
    path,
    f'{path} is missing: {directory} is no stage directory; give the '
    "'stage' directory inside a training work directory",
  )
  return from_json(fields, str(path))


def read_tensors(directory):
  """The weights of a stage directory by their names, none of them read yet."""
  return tensors.safetensors(remote.folder(directory), WEIGHTS_FILE)


def read(directory):
  """A stage directory -> (Stage, params); names and shapes are the caller's.

  Raises ValueError with a one-line remedy for a missing or damaged file.
  """
  stage = read_config(directory)
  return stage, weights.load(pathlib.Path(directory) / WEIGHTS_FILE)
