"""Facts about the base U-Net: its start, its use of text, its shapes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.models import unet

_CONFIG = unet.UNetConfig(
  resolution=16,
  widths=(16, 32),
  blocks=(1, 1),
  attention=(4,),
  head_width=16,
  embedding_width=32,
  text_width=24,
  text_projection=16,
  groups=8,
  fold=2,
)


def _normal(*shape, seed=0):
  values = np.random.RandomState(seed).normal(size=shape)
  return jnp.asarray(values, jnp.float32)


def _inputs(length=6):
  mask = jnp.arange(length) < jnp.array([[3], [length]])
  return _normal(2, 16, 16, 3), jnp.array([0.5, -2.0]), _text(length), mask


def _text(length):
  return _normal(2, 9, 24, seed=1)[:, :length]


@functools.cache
def _start():
  return jax.jit(unet.UNet(_CONFIG).init)(jax.random.key(0), *_inputs())


@functools.cache
def _params():
  """The start plus noise: what begins at zero takes part."""
  rng = np.random.RandomState(0)
  return jax.tree.map(
    lambda x: x + jnp.asarray(rng.normal(size=x.shape) * 0.1, jnp.float32),
    _start(),
  )


_apply = jax.jit(unet.UNet(_CONFIG).apply)


def test_output_starts_at_zero():
  z, *rest = _inputs()
  out = _apply(_start(), z, *rest)
  assert out.shape == z.shape and out.dtype == jnp.float32
  assert np.abs(out).max() == 0


def test_every_input_counts():
  z, logsnr, text, mask = _inputs()
  out = _apply(_params(), z, logsnr, text, mask)
  changed = {
    'z': (z.at[:, 0, 0].add(1.0), logsnr, text, mask),
    'logsnr': (z, logsnr + 1.0, text, mask),
    'text': (z, logsnr, text.at[:, 0, 0].add(2.0), mask),
    'mask': (z, logsnr, text, mask.at[:, 2].set(False)),
  }
  for name, inputs in changed.items():
    difference = np.abs(_apply(_params(), *inputs) - out).max(axis=(1, 2, 3))
    assert (difference > 1e-3).all(), name


def test_padding_tokens_do_not_matter():
  z, logsnr, text, mask = _inputs()
  out = _apply(_params(), z, logsnr, text, mask)
  other = jnp.where(mask[:, :, None], text, 5.0)
  np.testing.assert_allclose(
    _apply(_params(), z, logsnr, other, mask), out, atol=1e-5
  )


def test_null_text_does_not_depend_on_the_token_limit():
  z, logsnr, _, _ = _inputs()

  def null(length):
    mask = jnp.broadcast_to(jnp.arange(length) == 0, (2, length))
    text = jnp.zeros((2, length, _CONFIG.text_width))
    return _apply(_params(), z, logsnr, text, mask)

  np.testing.assert_allclose(null(6), null(9), atol=1e-5)
  assert np.abs(null(6) - _apply(_params(), *_inputs())).max() > 1e-3


def test_pictures_of_a_batch_are_independent():
  z, logsnr, text, mask = _inputs()
  out = _apply(_params(), z, logsnr, text, mask)
  mixed = _apply(_params(), z.at[1].set(0.0), logsnr, text, mask)
  np.testing.assert_allclose(mixed[0], out[0], atol=1e-5)


def test_bfloat16_computes_near_float32_on_float32_parameters():
  config = unet.UNetConfig(**{**vars(_CONFIG), 'dtype': 'bfloat16'})
  network = unet.UNet(config)
  shapes = jax.eval_shape(network.init, jax.random.key(0), *_inputs())
  assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype('float32')}
  out = _apply(_params(), *_inputs())
  low = jax.jit(network.apply)(_params(), *_inputs())
  assert low.dtype == jnp.float32
  error = np.sqrt(np.mean(np.square(low - out)) / np.mean(np.square(out)))
  assert 1e-4 < error < 0.05


@pytest.mark.parametrize('resample', ['none', 'halve', 'double'])
def test_residual_block_starts_as_its_skip_path(resample):
  block = unet.ResidualBlock(8, groups=4, resample=resample)
  x, emb = _normal(1, 4, 4, 8), _normal(1, 6)
  out, _ = block.init_with_output(jax.random.key(0), x, emb)
  expected = {
    'none': x,
    'halve': x.reshape(1, 2, 2, 2, 2, 8).mean((2, 4)),
    'double': np.repeat(np.repeat(x, 2, 1), 2, 2),
  }[resample]
  np.testing.assert_allclose(out, expected, atol=1e-6)


def test_film_scales_and_shifts_the_second_norm():
  block = unet.ResidualBlock(8, groups=4)
  x, emb = _normal(1, 4, 4, 8), _normal(1, 6)
  params = block.init(jax.random.key(0), x, emb)['params']
  assert params['film']['kernel'].shape == (6, 16)
  # scale = -1 and shift = 0 silence the branch after the norm: what is left
  # of a random last convolution is its bias.
  params['film'] = {
    'kernel': jnp.zeros((6, 16)),
    'bias': jnp.concatenate([-jnp.ones(8), jnp.zeros(8)]),
  }
  params['conv_1'] = {
    'kernel': _normal(3, 3, 8, 8),
    'bias': jnp.full((8,), 0.25),
  }
  out = block.apply({'params': params}, x, emb)
  np.testing.assert_allclose(out, x + 0.25, atol=1e-5)


def _paper_shapes(config, inputs, **kwargs):
  """Shapes of every submodule's output at full size, by path; no compute."""
  network = unet.UNet(config)

  def trace(*inputs):
    _, state = network.init_with_output(
      jax.random.key(0), *inputs, capture_intermediates=True, **kwargs
    )
    return state['intermediates']

  found = jax.eval_shape(trace, *inputs)
  return {
    name: jax.tree.leaves(module['__call__'])[0].shape
    for name, module in found.items()
    if isinstance(module, dict)
  }


def test_layout_of_the_paper():
  """F.1: three blocks down, four up, attention at 32, 16, 8, BigGAN moves."""
  zeros = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
  inputs = zeros((1, 64, 64, 3)), zeros((1,)), zeros((1, 8, 4096))
  mask = jax.ShapeDtypeStruct((1, 8), bool)
  shapes = _paper_shapes(unet.UNetConfig(), (*inputs, mask))

  expected = {}
  for grid, width in ((64, 512), (32, 1024), (16, 1536), (8, 2048)):
    heads = width // 64
    for side, blocks in (('down', 3), ('up', 4)):
      for i in range(blocks):
        expected[f'{side}_{grid}_block_{i}'] = (1, grid, grid, width)
        if grid <= 32:
          expected[f'{side}_{grid}_text_{i}'] = (1, 8, heads, 64)
          expected[f'{side}_{grid}_attention_{i}'] = (1, grid, grid, width)
    if grid > 8:
      half = grid // 2
      expected[f'down_{grid}_downsample'] = (1, half, half, width)
    if grid < 64:
      expected[f'up_{grid}_upsample'] = (1, 2 * grid, 2 * grid, width)
  expected |= {
    'logsnr_embedding': (1, 2048),
    'text_pool': (1, 2048),
    'text_projection': (1, 8, 2048),
    'input_conv': (1, 64, 64, 512),
    'middle_block_0': (1, 8, 8, 2048),
    'middle_text': (1, 8, 32, 64),
    'middle_attention': (1, 8, 8, 2048),
    'middle_block_1': (1, 8, 8, 2048),
    'output_norm': (1, 64, 64, 512),
    'output_conv': (1, 64, 64, 3),
  }
  assert shapes == expected


def test_base_takes_no_low_resolution_picture():
  z, logsnr, text, mask = _inputs()
  with pytest.raises(ValueError, match='use EfficientUNet'):
    unet.UNet(_CONFIG).init(jax.random.key(0), z, logsnr, text, mask, z, logsnr)


def test_linear_output_starts_as_the_network_without_it():
  config = dataclasses.replace(_CONFIG, linear_output=True)
  inputs = _inputs()
  params = jax.jit(unet.UNet(config).init)(jax.random.key(1), *inputs)
  params = params['params']
  new = {'output_gate', 'output_linear'}
  assert set(params) - set(_params()['params']) == new
  params = {**_params()['params'], **{name: params[name] for name in new}}
  apply = jax.jit(unet.UNet(config).apply)
  found = apply({'params': params}, *inputs)
  np.testing.assert_allclose(found, _apply(_params(), *inputs), atol=1e-6)


def test_linear_output_tells_the_size_of_features():
  """Ten times the features before the norm: ten times what is linear."""
  config = dataclasses.replace(_CONFIG, linear_output=True)
  network = unet.UNet(config)
  inputs = _inputs()
  params = jax.jit(network.init)(jax.random.key(1), *inputs)['params']
  params = jax.tree.map(jnp.zeros_like, params)
  kernel = params['input_conv']['kernel']  # each feature: the first channel
  params['input_conv']['kernel'] = kernel.at[1, 1, 0].set(1.0)
  skip = params['up_8_block_1']['skip']['kernel']
  rows = skip.shape[2] - kernel.shape[-1]  # of the skip: the input's features
  eye = jnp.eye(kernel.shape[-1])
  params['up_8_block_1']['skip']['kernel'] = skip.at[0, 0, rows:].set(eye)
  params['output_linear']['kernel'] += 1.0
  one, ten = (
    network.apply({'params': params}, k * inputs[0], *inputs[1:])
    for k in (1, 10)
  )
  assert float(jnp.abs(one).max()) > 1
  np.testing.assert_allclose(ten, 10 * one, rtol=1e-5)
