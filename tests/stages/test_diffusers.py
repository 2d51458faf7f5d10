"""Stages of IF from and to the layout of diffusers."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy

from imagen_jax import stages
from imagen_jax.diffusion import discrete
from imagen_jax.models import if_configs
from imagen_jax.stages import diffusers
from tests.support import if_tiny, tiny_cascade

_UNET = 'unet/config.json'
_SCHEDULER = 'scheduler/scheduler_config.json'


def _copy(tmp_path, name='stage1'):
  directory = tmp_path / name
  shutil.copytree(if_tiny.DATA / name, directory)
  return directory


def _change(directory, file, **changes):
  path = directory / file
  fields = json.loads(path.read_text()) | changes
  path.write_text(json.dumps(fields))


def test_a_base_and_how_its_pipeline_samples():
  stage, _ = diffusers.read(if_tiny.DATA / 'stage1')
  assert stage.name == 'if_16' and stage.low_res is None
  assert (stage.prediction, stage.max_length) == ('eps', 77)
  assert stage.schedule == discrete.SquaredCosine()
  assert stage.sampling == stages.Sampling(
    sampler='ddpm',
    grid='whole',
    steps=100,
    guidance=7.0,
    gamma=None,
    threshold='dynamic',
    percentile=95.0,
    cap=1.5,
    aug_level=0.0,
  )


def test_super_resolution_and_how_its_pipeline_samples():
  stage, _ = diffusers.read(if_tiny.DATA / 'stage2')
  sampling = stage.sampling
  assert (stage.resolution, stage.low_res) == (64, 16)
  assert stage.model.divisor == 1.4142271248762552
  assert (sampling.steps, sampling.guidance) == (50, 4.0)
  assert (sampling.threshold, sampling.aug_level) == ('static', 0.25)


def test_dreambooth_s_scheduler_has_a_fixed_variance(tmp_path):
  directory = _copy(tmp_path)
  changes = {'variance_type': 'fixed_small', 'thresholding': False}
  _change(directory, _SCHEDULER, **changes)
  sampling = diffusers.read(directory)[0].sampling
  assert (sampling.gamma, sampling.threshold) == (0.0, 'static')


def test_shards_and_16_bits_are_the_same_weights(tmp_path):
  directory = _copy(tmp_path)
  unet = directory / 'unet'
  path = unet / 'diffusion_pytorch_model.fp16.safetensors'
  values = safetensors.numpy.load_file(str(path))
  path.unlink()
  names = {}
  for i in range(3):
    part = dict([*values.items()][i::3])
    file = f'diffusion_pytorch_model-0000{i + 1}-of-00003.safetensors'
    safetensors.numpy.save_file(part, str(unet / file))
    names |= dict.fromkeys(part, file)
  index = unet / 'diffusion_pytorch_model.safetensors.index.json'
  index.write_text(json.dumps({'weight_map': names}))
  found, expected = (
    diffusers.read(source)[1] for source in (directory, if_tiny.DATA / 'stage1')
  )
  kind = np.dtype(np.float32)
  for name, tensor in expected.items():
    np.testing.assert_array_equal(found[name].read(kind), tensor.read(kind))


@pytest.mark.parametrize('name', if_tiny.STAGES)
def test_there_and_back_again(tmp_path, name):
  """Every tensor under its own name, and configs that say the same."""
  source = if_tiny.DATA / name
  stage, found = diffusers.read(source)
  diffusers.write_ours(tmp_path / 'ours', stage, found, np.float16)
  assert stages.read_config(tmp_path / 'ours') == stage
  diffusers.write_theirs(tmp_path / 'theirs', tmp_path / 'ours', np.float16)
  (file,) = (source / 'unet').glob('*.safetensors')
  expected = safetensors.numpy.load_file(str(file))
  written = safetensors.numpy.load_file(
    str(tmp_path / 'theirs/unet/diffusion_pytorch_model.safetensors')
  )
  assert set(written) == set(expected)
  for key, value in expected.items():
    np.testing.assert_array_equal(written[key], value, key)
  again, _ = diffusers.read(tmp_path / 'theirs')
  assert again == stage
  index = json.loads((tmp_path / 'theirs/model_index.json').read_text())
  pipelines = {'stage1': 'IFPipeline', 'stage2': 'IFSuperResolutionPipeline'}
  assert index['_class_name'] == pipelines[name]


def test_only_the_if_kind_goes_to_diffusers(tmp_path):
  stage = tiny_cascade.stage(8)
  stages.write(tmp_path, stage, {'a': np.zeros(1)})
  with pytest.raises(ValueError, match=r'another kind \(UNetConfig\)'):
    diffusers.write_theirs(tmp_path / 'out', tmp_path)


_BAD_CONFIGS = {
  'act_fn': ('silu', "act_fn is 'silu', IF has 'gelu'"),
  'cross_attention_norm': ('layer_norm', 'cross_attention_norm is'),
  'only_cross_attention': (True, 'only_cross_attention is True'),
  'mid_block_only_cross_attention': (True, 'mid_block_only_cross'),
  'freq_shift': (1, 'freq_shift is 1'),
  'out_channels': (3, 'out_channels is 3'),
  'class_embed_type': ('projection', "class_embed_type is 'projection'"),
  'in_channels': (6, 'in_channels is 6; with class_embed_type None IF has 3'),
  'resnet_skip_time_act': (True, 'time_embedding_act_fn is None; and resnet'),
  'resnet_out_scale_factor': (1.4, 'resnet_out_scale_factor is 1.4; mid_'),
  'attention_head_dim': ([8, 4], 'attention_head_dim is .* one whole number'),
  'layers_per_block': ([2, 2], 'layers_per_block is .* must have 3'),
  'block_out_channels': ('8', 'block_out_channels is .* list of whole'),
  'up_block_types': ([], 'up_block_types is .* mirrors down_block_types'),
  'down_block_types': (
    ['CrossAttnDownBlock2D'] * 3,
    'down_block_types is .* only diffusers model that is read',
  ),
  'num_attention_heads': (4, 'num_attention_heads is 4'),
  'dual_stream': (2, 'dual_stream is 2, which no IF network has'),
  'norm_num_groups': (5, 'no multiples of groups=5'),
  'sample_size': (None, 'sample_size is None'),
  '_class_name': ('UNet2DModel', "_class_name is 'UNet2DModel', not UNet2DC"),
}


@pytest.mark.parametrize('key', _BAD_CONFIGS)
def test_a_config_of_another_network_names_the_key(key):
  value, message = _BAD_CONFIGS[key]
  fields = json.loads((if_tiny.DATA / 'stage1' / _UNET).read_text())
  with pytest.raises(ValueError, match=f'^here: .*{message}'):
    if_configs.from_diffusers(fields | {key: value}, 'here')


@pytest.mark.parametrize(
  ('file', 'changes', 'message'),
  [
    (
      'model_index.json',
      {'_class_name': 'StableDiffusionXLPipeline'},
      'StableDiffusionXLPipeline.*only DeepFloyd IF is read',
    ),
    (_SCHEDULER, {'_class_name': 'PNDMScheduler'}, "is 'PNDMScheduler'"),
    (_SCHEDULER, {'beta_schedule': 'linear'}, "beta_schedule is 'linear'"),
    (_SCHEDULER, {'variance_type': 'learned'}, "variance_type is 'learned'"),
    (_SCHEDULER, {'timestep_spacing': 'trailing'}, 'timestep_spacing is'),
    (_SCHEDULER, {'sample_max_value': 'x'}, "sample_max_value is 'x'"),
    (
      _UNET,
      {'block_out_channels': [8, 16, 32]},
      'is .* the config says .* take the config that belongs to the weights',
    ),
    (_UNET, {'layers_per_block': 3}, 'does not hold this U-Net: missing'),
    (_UNET, {'layers_per_block': 1}, 'does not hold this U-Net: .* left over'),
  ],
)
def test_directories_that_do_not_fit(tmp_path, file, changes, message):
  directory = _copy(tmp_path)
  _change(directory, file, **changes)
  with pytest.raises(ValueError, match=message):
    diffusers.read(directory)


def test_a_directory_that_was_not_downloaded_whole(tmp_path):
  directory = _copy(tmp_path)
  (directory / _UNET).unlink()
  with pytest.raises(ValueError, match='gated: accept their licence, log in'):
    diffusers.read(directory)


def test_the_unet_s_own_directory_will_do():
  stage, _ = diffusers.read(if_tiny.DATA / 'stage1' / 'unet')
  assert stage == diffusers.read(if_tiny.DATA / 'stage1')[0]
  with pytest.raises(ValueError, match='is no directory of diffusers'):
    diffusers.read(if_tiny.DATA)
