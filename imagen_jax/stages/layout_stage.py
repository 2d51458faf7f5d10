"""The stage before the base: from a sentence to a layout of boxes.

Not in the paper. What a layout stage directory holds:

  layout.json        the `LayoutStage`, field by field
  model.safetensors  the (EMA) weights, named by their path in the tree
"""

import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np

from imagen_jax.config import checks
from imagen_jax.diffusion import layouts, schedules
from imagen_jax.files import json_files, weights
from imagen_jax.models import layout_transformer

FORMAT_VERSION = 1
CONFIG_FILE = 'layout.json'
WEIGHTS_FILE = 'model.safetensors'
MAX_STEPS = 1000  # of its sampler; more is surely a slip


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayoutStage:
  """Everything that drawing layouts needs but weights."""

  layout: layouts.Layout  # what it can place
  model: layout_transformer.LayoutTransformerConfig
  # Names are certain of early: most of what there is to learn lies below 0.
  schedule: schedules.Cosine = schedules.Cosine(shift=-2.0)
  steps: int = 24  # of the sampler (DPM-Solver++)
  guidance: float = 1.0  # weight w of section 2.2; 1 = off

  def __post_init__(self):
    checks.require_within(self, steps=(1, MAX_STEPS), guidance=(0, 100))


def network(stage):
  """The Flax module of the stage."""
  return layout_transformer.LayoutTransformer(
    stage.model, stage.layout.boxes, stage.layout.features
  )


def init_params(stage, key):
  """Random parameters of the stage's network."""
  model = stage.model
  return network(stage).init(
    key,
    jnp.zeros([1, stage.layout.boxes, stage.layout.features]),
    jnp.zeros([1]),
    jnp.zeros([1, model.max_length, model.text_width]),
    jnp.ones([1, model.max_length], bool),
  )['params']


def write(directory, stage, params, dtype=np.float32, metadata=None):
  """Writes a layout stage directory; each file is replaced atomically."""
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  fields = {'format_version': FORMAT_VERSION, **dataclasses.asdict(stage)}
  weights.save_json(directory / CONFIG_FILE, fields)
  weights.save(directory / WEIGHTS_FILE, params, dtype, metadata)


def read_config(directory):
  """The `LayoutStage` in a directory, without its weights.

  Raises ValueError with a one-line remedy for a missing or damaged file.
  """
  path = pathlib.Path(directory) / CONFIG_FILE
  fields = json_files.read(
    path,
    f'{path} is missing: {directory} is no layout stage directory; give the '
    "'layout' directory inside a work directory of train_layout",
  )
  if not isinstance(fields, dict) or (
    fields.pop('format_version', None) != FORMAT_VERSION
  ):
    raise ValueError(
      f'{path}: this release reads format_version {FORMAT_VERSION}; update '
      'imagen_jax or train the stage again'
    )
  for name, kind in (
    ('layout', layouts.Layout),
    ('model', layout_transformer.LayoutTransformerConfig),
    ('schedule', schedules.Cosine),
  ):
    if not isinstance(fields.get(name), dict):
      raise ValueError(f'{path}: {name} is no table; train the stage again')
    fields[name] = checks.build(kind, fields[name], f'{path}: {name}')
  return checks.build(LayoutStage, fields, str(path))


def read(directory):
  """A layout stage directory -> (LayoutStage, params)."""
  stage = read_config(directory)
  return stage, weights.load(pathlib.Path(directory) / WEIGHTS_FILE)
