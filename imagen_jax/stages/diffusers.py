"""Stages of DeepFloyd IF in the directory layout of diffusers, both ways.

  model_index.json             which pipeline it is
  unet/config.json             `models.if_configs`
  unet/*.safetensors           `models.if_names`; whole, in shards, 16 bits
  scheduler/                   how it is sampled
  image_noising_scheduler/     super-resolution: of the low-resolution picture

Weights go from file to file one tensor at a time.
"""

import pathlib

import numpy as np

from imagen_jax.diffusion import discrete
from imagen_jax.files import json_files, remote, sharded, tensors, weights
from imagen_jax.models import if_configs, if_names
from imagen_jax.stages import directory, settings
from imagen_jax.stages import stage as stage_lib

STEM = 'diffusion_pytorch_model'
MAX_LENGTH = 77  # text tokens of IF's pipelines
_PIPELINES = ('IFPipeline', 'IFSuperResolutionPipeline')
_INDEX, _CONFIG = 'model_index.json', 'config.json'
_SCHEDULER, _NOISING = 'scheduler', 'image_noising_scheduler'
_SCHEDULER_FILE = 'scheduler_config.json'
# Variance of a scheduler -> gamma of 'ddpm', and back.
_GAMMAS = {'learned_range': None, 'fixed_small': 0.0, 'fixed_large': 1.0}
# Key of a scheduler: (its default in diffusers, IF's).
_FIXED = {
  '_class_name': (None, 'DDPMScheduler'),
  'beta_schedule': ('linear', 'squaredcos_cap_v2'),
  'num_train_timesteps': (1000, 1000),
  'prediction_type': ('epsilon', 'epsilon'),
  'trained_betas': (None, None),
}
# The same of keys that older releases do not know, and that are not written.
_FIXED_SINCE = {
  'rescale_betas_zero_snr': (False, False),
  'steps_offset': (0, 0),
  'timestep_spacing': ('leading', 'leading'),
}


def read(source, *, variant=None, low_res=None):
  """A stage in the layout of diffusers: (Stage, tensors by our names).

  Args:
    source: directory of a pipeline, or its unet directory.
    variant: of the weights, such as 'fp16'; None = the best that is there.
    low_res: pixels of the low-resolution picture, of super-resolution; None =
      a quarter of the output, as of the published stages.

  Raises ValueError with the remedy; no weight is read yet.
  """
  pipeline, unet = _folders(source)
  where = f'{unet}/{_CONFIG}'
  model = if_configs.from_diffusers(json_files.read_in(unet, _CONFIG), where)
  if model.low_res and low_res is None:
    low_res = model.resolution // 4
  stage = stage_lib.Stage(
    name=f'if_{model.resolution}',
    resolution=model.resolution,
    model=model,
    schedule=discrete.SquaredCosine(),
    prediction='eps',
    low_res=low_res if model.low_res else None,
    text_width=model.text_width,
    max_length=MAX_LENGTH,
    sampling=_sampling(pipeline, model.low_res),
  )
  return stage, read_weights(unet, model, variant)


def read_weights(unet, model, variant=None):
  """Tensors of a unet directory by our names, checked against its config."""
  found = sharded.find(unet, STEM, variant)
  ours = {}
  for name, entry in if_names.of(model).items():
    if entry.theirs in found:
      ours[name] = _ours(found.pop(entry.theirs), entry, unet)
  tensors.check(ours | found, if_names.shapes_of(model), str(unet), 'U-Net')
  return ours


def _ours(tensor, entry, where):
  if entry.axes is None:
    return tensor
  if len(tensor.shape) != len(entry.axes):
    raise ValueError(
      f'{where}: {tensor.name} is {tensor.shape}, of {len(entry.axes)} '
      'dimensions in this network; take the config that belongs to the weights'
    )
  return tensors.permuted(tensor, entry.axes)


def write_ours(out, stage, found, dtype=np.float32):
  """A stage directory of ours from `read`'s result, one tensor at a time."""
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  weights.save_json(out / directory.CONFIG_FILE, directory.to_json(stage))
  weights.save_streamed(out / directory.WEIGHTS_FILE, found, dtype)


def write_theirs(out, source, dtype=np.float32):
  """A pipeline directory from a stage directory; returns its `Stage`.

  Args:
    out: the directory to make: unet/, the schedulers and model_index.json, no
      text encoder (its embeddings are passed on).
    source: a stage directory of the IF kind.
    dtype: of the weights.
  """
  stage = directory.read_config(source)
  if not stage_lib.is_if(stage):
    raise ValueError(
      f'{source} is a stage of another kind ({type(stage.model).__name__}); '
      'diffusers has a network for the IF kind alone'
    )
  found = directory.read_tensors(source)
  tensors.check(found, if_names.shapes_of(stage.model), str(source), 'U-Net')
  theirs = {}
  for name, entry in if_names.of(stage.model).items():
    tensor = found[name]
    if entry.axes is not None:
      tensor = tensors.permuted(tensor, np.argsort(entry.axes))
    theirs[entry.theirs] = tensor
  out = pathlib.Path(out)
  (out / 'unet').mkdir(parents=True, exist_ok=True)
  weights.save_streamed(
    out / 'unet' / f'{STEM}.safetensors', theirs, dtype, {'format': 'pt'}
  )
  config = if_configs.to_diffusers(stage.model)
  weights.save_json(out / 'unet' / _CONFIG, config)
  for name, fields in _schedulers(stage).items():
    (out / name).mkdir(exist_ok=True)
    weights.save_json(out / name / _SCHEDULER_FILE, fields)
  weights.save_json(out / _INDEX, _index(stage))
  return stage


def _folders(source):
  """(pipeline or None, unet) of a directory that is either."""
  folder = remote.folder(source)
  names = folder.names()
  if _INDEX in names:
    fields = json_files.read_in(folder, _INDEX)
    kind = fields.get('_class_name')
    if not isinstance(kind, str) or not kind.startswith('IF'):
      raise ValueError(
        f'{folder}/{_INDEX}: _class_name is {kind!r}, not one of '
        f'{", ".join(_PIPELINES)}; only DeepFloyd IF is read'
      )
  if 'unet' in names:
    unet = folder.child('unet')
    if _CONFIG not in unet.names():
      raise ValueError(
        f'{unet} has no {_CONFIG}; the published weights are gated: accept '
        'their licence, log in and download the whole directory'
      )
    return folder, unet
  if _CONFIG in names:
    return None, folder
  raise ValueError(
    f'{folder} is no directory of diffusers: it has neither unet/ nor '
    f'{_CONFIG}; give the directory of a DeepFloyd IF stage'
  )


def _sampling(pipeline, low_res):
  """How the pipelines of diffusers sample it unless told otherwise."""
  fields, where = {}, 'the defaults'
  if pipeline is not None and _SCHEDULER in pipeline.names():
    folder = pipeline.child(_SCHEDULER)
    fields, where = json_files.read_in(folder, _SCHEDULER_FILE), str(folder)
    _check_scheduler(fields, where)
  if low_res and pipeline is not None and _NOISING in pipeline.names():
    folder = pipeline.child(_NOISING)
    _check_scheduler(json_files.read_in(folder, _SCHEDULER_FILE), str(folder))
  variance = fields.get('variance_type', 'learned_range')
  if not isinstance(variance, str) or variance not in _GAMMAS:
    raise ValueError(
      f'{where}: variance_type is {variance!r}, not one of {[*_GAMMAS]}'
    )
  cap = fields.get('sample_max_value', 1.0 if low_res else 1.5)
  threshold = 'none'
  if fields.get('thresholding', True):
    threshold = 'dynamic' if cap > 1 else 'static'
  elif fields.get('clip_sample', True):
    threshold = 'static'
  return settings.Sampling(
    sampler='ddpm',
    grid='whole',
    steps=50 if low_res else 100,
    guidance=4.0 if low_res else 7.0,
    gamma=_GAMMAS[variance],
    threshold=threshold,
    percentile=round(100 * fields.get('dynamic_thresholding_ratio', 0.95), 6),
    cap=float(cap) if threshold == 'dynamic' else None,
    aug_level=0.25 if low_res else 0.0,
    batch=1 if low_res else 4,
  )


def _check_scheduler(fields, where):
  for key, (default, wanted) in (_FIXED | _FIXED_SINCE).items():
    if fields.get(key, default) != wanted:
      raise ValueError(
        f'{where}: {key} is {fields.get(key, default)!r}, IF has {wanted!r}; '
        'take the scheduler of the published model'
      )
  numbers = ('sample_max_value', 'dynamic_thresholding_ratio')
  for key in numbers:
    value = fields.get(key, 1.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
      raise ValueError(f'{where}: {key} is {value!r}; it must be a number')


def _schedulers(stage):
  """Configs of the schedulers by the name of their directory."""
  sampling = stage.sampling
  shared = {key: wanted for key, (_, wanted) in _FIXED.items()}
  variance = next((k for k, v in _GAMMAS.items() if v == sampling.gamma), None)
  schedulers = {
    _SCHEDULER: shared
    | {
      'variance_type': variance or 'learned_range',
      'thresholding': sampling.threshold == 'dynamic',
      'dynamic_thresholding_ratio': sampling.percentile / 100,
      'sample_max_value': sampling.cap or 1.0,
      'clip_sample': sampling.threshold != 'none',
      'clip_sample_range': 1.0,
    }
  }
  if stage.low_res is not None:
    schedulers[_NOISING] = shared
  return schedulers


def _index(stage):
  """model_index.json of a pipeline without text encoder and watermark."""
  none = [None, None]
  scheduler = ['diffusers', 'DDPMScheduler']
  second = stage.low_res is not None
  return {
    '_class_name': _PIPELINES[second],
    'feature_extractor': none,
    'requires_safety_checker': False,
    'safety_checker': none,
    _SCHEDULER: scheduler,
    'text_encoder': none,
    'tokenizer': none,
    'unet': ['diffusers', if_configs.CLASS],
    'watermarker': none,
    **({_NOISING: scheduler} if second else {}),
  }
