"""IF's U-Net against stock diffusers, and the published sizes."""

import functools
import gzip
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax import stages
from imagen_jax.models import (
  execution,
  if_configs,
  if_layers,
  if_names,
  if_unet,
)
from tests.support import if_tiny

# Correct outputs differ by 7e-6; the least mistake that only they show, norms
# of epsilon 1e-6, by 5e-5.
_TOLERANCE = 3e-5
_COUNTS = {
  'I-M': 371_605_830,
  'I-L': 935_365_830,
  'I-XL': 4_304_695_110,
  'II-M': 461_064_198,
  'II-L': 1_243_277_190,
}


def _released(name):
  path = if_tiny.DATA / 'released' / f'IF-{name}-v1.0.unet.json'
  fields = json.loads(path.read_text())
  return if_configs.from_diffusers(fields, path.name)


@functools.cache
def _released_shapes():
  path = if_tiny.DATA / 'released' / 'shapes.json.gz'
  return json.loads(gzip.decompress(path.read_bytes()))


@pytest.mark.parametrize('name', if_tiny.RELEASED)
def test_published_sizes_have_these_parameters_under_these_names(name):
  config = _released(name)
  shapes = if_names.shapes_of(config)
  assert sum(math.prod(shape) for shape in shapes.values()) == _COUNTS[name]
  theirs = {
    entry.theirs: [*entry.their_shape(shapes[ours])]
    for ours, entry in if_names.of(config).items()
  }
  assert theirs == _released_shapes()[f'IF-{name}-v1.0']


def test_the_default_size_is_the_largest_published_base():
  assert if_unet.IFUNetConfig() == _released('I-XL')


@pytest.mark.parametrize('name', if_tiny.STAGES)
def test_output_at_every_time(name):
  given = if_tiny.arrays(name, 'unet')
  for time, expected in zip(given['timesteps'], given['out'], strict=True):
    out = if_tiny.call(name, given['sample'], time, given['text'])
    np.testing.assert_allclose(out, if_tiny.ours(expected), atol=_TOLERANCE)


@pytest.mark.parametrize('name', if_tiny.STAGES)
def test_each_picture_has_its_own_time(name):
  given = if_tiny.arrays(name, 'unet')
  out = if_tiny.call(
    name, given['sample'], given['timesteps_mixed'], given['text']
  )
  expected = if_tiny.ours(given['out_mixed'])
  np.testing.assert_allclose(out, expected, atol=_TOLERANCE)


@pytest.mark.parametrize('name', if_tiny.STAGES)
def test_pictures_need_not_be_square(name):
  given = if_tiny.arrays(name, 'unet')
  out = if_tiny.call(name, given['sample_rect'], 500, given['text'][:1])
  expected = if_tiny.ours(given['out_rect'])
  np.testing.assert_allclose(out, expected, atol=_TOLERANCE)


@pytest.mark.parametrize('name', if_tiny.STAGES)
def test_text_may_have_any_number_of_tokens(name):
  given = if_tiny.arrays(name, 'unet')
  out = if_tiny.call(name, given['sample'], 250, given['text_short'])
  expected = if_tiny.ours(given['out_short'])
  np.testing.assert_allclose(out, expected, atol=_TOLERANCE)


@pytest.mark.parametrize('name', if_tiny.STAGES)
def test_a_mask_hides_tokens_from_the_attention_alone(name):
  given = if_tiny.arrays(name, 'unet')
  mask = given['mask'].astype(bool)
  out = if_tiny.call(name, given['sample'], 250, given['text'], mask=mask)
  expected = if_tiny.ours(given['out_masked'])
  np.testing.assert_allclose(out, expected, atol=_TOLERANCE)


def test_the_low_resolution_picture_s_level_is_told():
  given = if_tiny.arrays('stage2', 'unet')
  out = if_tiny.call(
    'stage2', given['sample'], 500, given['text'], given['levels_mixed']
  )
  expected = if_tiny.ours(given['out_levels_mixed'])
  np.testing.assert_allclose(out, expected, atol=_TOLERANCE)


@pytest.mark.parametrize('name', if_tiny.STAGES)
def test_the_text_s_context_takes_its_place(name):
  given = if_tiny.arrays(name, 'unet')
  stage, params = if_tiny.stage(name)
  text = np.float32(given['text'])
  context = jax.jit(
    lambda text: stages.text_context(stage, params, text, None)
  )(text)
  out = if_tiny.call(name, given['sample'], given['timesteps'][1], context)
  expected = if_tiny.ours(given['out'][1])
  np.testing.assert_allclose(out, expected, atol=_TOLERANCE)


def test_recomputing_and_scanning_change_nothing():
  given = if_tiny.arrays('stage1', 'unet')
  stage, params = if_tiny.stage('stage1')
  how = execution.Execution(remat='blocks', scan=True)
  z, text = if_tiny.ours(given['sample']), np.float32(given['text'])

  def call(params):
    return stages.network(stage, how).apply(
      {'params': params}, z, stage.schedule.at(jnp.full(2, 250.0)), text
    )

  expected = if_tiny.ours(given['out'][1])
  np.testing.assert_allclose(jax.jit(call)(params), expected, atol=_TOLERANCE)
  grads = jax.eval_shape(jax.grad(lambda params: call(params).sum()), params)
  assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, params)


def test_a_network_starts_as_zero_and_in_bfloat16_stays_float32():
  stage, _ = if_tiny.stage('stage1')
  config = if_unet.IFUNetConfig(**{**vars(stage.model), 'dtype': 'bfloat16'})
  network = if_unet.IFUNet(config)
  inputs = jnp.ones([1, 8, 8, 3]), jnp.ones(1), jnp.ones([1, 2, 48])
  out, variables = jax.jit(network.init_with_output)(jax.random.key(0), *inputs)
  assert out.shape == (1, 8, 8, 6) and out.dtype == jnp.float32
  assert not out.any()
  leaves = jax.tree.leaves(variables)
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype('float32')}


def test_time_is_told_by_cosines_first():
  features = if_layers.time_features(jnp.array([777.0]), 8)[0]
  rates = 1e4 ** (-np.arange(4) / 4)
  expected = [*np.cos(777 * rates), *np.sin(777 * rates)]
  np.testing.assert_allclose(features, expected, atol=1e-4)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'attention': (5,)}, r'attention at \[5\] cannot be'),
    ({'head_width': 7}, 'width 24 of grid 4 is no multiple of head_width=7'),
    ({'pool_heads': 5}, 'text_width is 48; it must be a multiple of 5'),
    ({'text_projection': 40}, 'text_projection is 40; .* multiple of 32'),
    ({'divisor': 0.0}, 'divisor is 0.0; it must be above 0'),
    ({'groups': 5}, 'no multiples of groups=5'),
  ],
)
def test_sizes_that_do_not_go_together(changes, message):
  stage, _ = if_tiny.stage('stage1')
  sizes = {**vars(stage.model), 'attention': (4,), **changes}
  with pytest.raises(ValueError, match=message):
    if_unet.IFUNetConfig(**sizes)


def test_only_super_resolution_takes_a_low_resolution_picture():
  stage, params = if_tiny.stage('stage1')
  z, one = jnp.zeros([1, 8, 8, 3]), jnp.ones(1)
  with pytest.raises(ValueError, match='configuration says low_res=False'):
    stages.network(stage).apply(
      {'params': params}, z, one, jnp.zeros([1, 2, 48]), None, z, one
    )
