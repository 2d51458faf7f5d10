"""Every size in gin/models builds, with exactly this many parameters."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

import gin
from imagen_jax.models import efficient_unet, unet

_SIZES = pathlib.Path(__file__).parents[2] / 'gin' / 'models'

# name: (parameters, least and most that the name promises)
_COUNTS = {
  'base64_300m': (371_519_939, 0.28e9, 0.38e9),
  'base64_500m': (618_417_411, 0.45e9, 0.65e9),
  'base64_1b': (935_233_603, 0.85e9, 1.1e9),
  'base64_2b': (2_305_194_499, 2.2e9, 2.35e9),
  'sr256_600m': (589_632_131, 585e6, 605e6),
  'sr1024_600m': (581_243_523, 575e6, 600e6),
  'sr1024_400m': (404_168_579, 395e6, 405e6),
  'scenes_64': (6_324_144, 5e6, 7e6),
  'scenes_256': (3_258_992, 1e6, 3.5e6),
  'scenes_1024': (1_221_360, 0.5e6, 1.5e6),
}


def _load(name):
  gin.clear_config()
  gin.parse_config_file(str(_SIZES / f'{name}.gin'))
  gin.parse_config(
    'from __gin__ import dynamic_registration\n'
    'import builtins\n'
    'builtins.dict.config = %MODEL\n'
  )
  try:
    return gin.get_configurable('builtins.dict')()['config']
  finally:
    gin.clear_config()


def _count(config):
  def zeros(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)

  z, one = zeros(1, 64, 64, 3), zeros(1)
  text = zeros(1, 4, config.text_width)
  mask = jax.ShapeDtypeStruct((1, 4), bool)
  if isinstance(config, unet.UNetConfig):
    inputs = z, one, text, mask
    network = unet.UNet(config)
  else:
    inputs = z, one, text, mask, z, one
    network = efficient_unet.EfficientUNet(config)
  params = jax.eval_shape(network.init, jax.random.key(0), *inputs)
  return sum(x.size for x in jax.tree.leaves(params))


def test_no_size_is_forgotten():
  assert {path.stem for path in _SIZES.glob('*.gin')} == set(_COUNTS)


@pytest.mark.parametrize('name', _COUNTS)
def test_parameters(name):
  count, least, most = _COUNTS[name]
  assert least <= count <= most
  assert _count(_load(name)) == count


def test_only_the_cascade_s_middle_attends_to_itself():
  """Appendix D.3.1: text fused with self-attention, but not in SR2."""
  kinds = {name: _load(name) for name in ('sr256_600m', 'sr1024_600m')}
  assert kinds['sr256_600m'].attention == 'fused'
  assert kinds['sr1024_600m'].attention == 'cross'


@pytest.mark.parametrize('name', ['scenes_256', 'scenes_1024'])
def test_a_position_of_the_small_sizes_is_a_low_resolution_pixel(name):
  config = _load(name)
  assert config.fold == 4
  assert config.grids[0] == config.resolution // 4
