"""Facts about the Efficient U-Net: order of its parts, start, conditioning."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.models import efficient_unet

_CONFIG = efficient_unet.EfficientUNetConfig(
  resolution=32,
  widths=(16, 32),
  blocks=(1, 1),
  strides=(1, 2),
  attention='cross',
  heads=2,
  attention_width=32,
  embedding_width=32,
  text_width=24,
  groups=8,
  fold=4,
)


def _normal(*shape, seed=0):
  values = np.random.RandomState(seed).normal(size=shape)
  return jnp.asarray(values, jnp.float32)


def _inputs(height=16, width=16, length=6):
  z, low_res = (_normal(2, height, width, 3, seed=seed) for seed in (0, 2))
  mask = jnp.arange(length) < jnp.array([[3], [length]])
  logsnr, aug_logsnr = jnp.array([0.5, -2.0]), jnp.array([3.0, 1.0])
  text = _normal(2, 9, 24, seed=1)[:, :length]
  return [z, logsnr, text, mask, low_res, aug_logsnr]


@functools.cache
def _start():
  network = efficient_unet.EfficientUNet(_CONFIG)
  return jax.jit(network.init)(jax.random.key(0), *_inputs())


@functools.cache
def _params():
  """The start plus noise: what begins at zero takes part."""
  rng = np.random.RandomState(0)
  return jax.tree.map(
    lambda x: x + jnp.asarray(rng.normal(size=x.shape) * 0.1, jnp.float32),
    _start(),
  )


_apply = jax.jit(efficient_unet.EfficientUNet(_CONFIG).apply)


def test_output_starts_at_zero():
  out = _apply(_start(), *_inputs())
  assert out.shape == (2, 16, 16, 3) and out.dtype == jnp.float32
  assert np.abs(out).max() == 0


@pytest.mark.parametrize('brightness', [0.0, 0.8])
def test_keep_mean_gives_the_mean_colour_of_the_low_res_picture(brightness):
  config = dataclasses.replace(_CONFIG, keep_mean=True)
  network = efficient_unet.EfficientUNet(config)
  inputs = _inputs()
  inputs[4] = jnp.clip(0.2 * inputs[4] + brightness, -1, 1)
  inputs[-1] = jnp.array([20.0, 8.0])  # clean, and with a little noise
  out = jax.jit(network.apply)(_params(), *inputs)
  assert np.abs(out).max() > 1.2  # clipping matters
  np.testing.assert_allclose(
    jnp.clip(out, -1, 1).mean(axis=(1, 2)),
    inputs[4].mean(axis=(1, 2)),
    atol=2 / 255 / 2,
  )
  # Nothing but the mean changes.
  plain = _apply(_params(), *inputs)
  np.testing.assert_allclose(
    out - out.mean(axis=(1, 2), keepdims=True),
    plain - plain.mean(axis=(1, 2), keepdims=True),
    atol=1e-5,
  )


def test_the_mean_of_pure_noise_is_not_believed():
  x, noise = _normal(2, 16, 16, 3), _normal(2, 16, 16, 3, seed=5)
  x = efficient_unet.with_mean_of(x, noise, jnp.full(2, -20.0))
  assert np.abs(jnp.clip(x, -1, 1).mean(axis=(1, 2))).max() < 1e-3


def test_no_gradient_moves_a_mean_that_changes_nothing():
  x, low_res = _normal(2, 8, 8, 3), 0.3 * _normal(2, 8, 8, 3, seed=5)

  def loss(x):
    out = efficient_unet.with_mean_of(x, low_res, jnp.full(2, 20.0))
    return jnp.sum((jnp.clip(out, -1, 1) - 0.5) ** 2)

  grads = jax.grad(lambda shift: loss(x + shift))(jnp.zeros([2, 1, 1, 3]))
  # A sum over 64 pixels of errors about as large as 1.
  np.testing.assert_allclose(grads, 0, atol=1e-4)
  assert np.abs(jax.grad(loss)(x)).max() > 0.1


def test_a_residual_model_starts_as_the_low_res_picture_if_that_is_clean():
  config = dataclasses.replace(_CONFIG, residual=True)
  network = efficient_unet.EfficientUNet(config)
  inputs = _inputs()
  inputs[-1] = jnp.array([20.0, -20.0])  # clean, and nothing but noise
  out = jax.jit(network.apply)(_start(), *inputs)
  np.testing.assert_allclose(out[0], inputs[4][0], atol=1e-5)
  assert np.abs(out[1]).max() < 1e-4
  # What it learns is added, with the same parameters.
  change = jax.jit(network.apply)(_params(), *inputs) - out
  np.testing.assert_allclose(change, _apply(_params(), *inputs), atol=1e-4)


@pytest.mark.parametrize('name', ['keep_mean', 'residual'])
def test_what_adds_to_a_low_res_picture_needs_one(name):
  with pytest.raises(ValueError, match=f'{name}=True needs low_res=True'):
    dataclasses.replace(_CONFIG, low_res=False, **{name: True})


def test_every_input_counts():
  out = _apply(_params(), *_inputs())
  names = ('z', 'logsnr', 'text', 'mask', 'low_res', 'aug_logsnr')
  for i, name in enumerate(names):
    inputs = _inputs()
    inputs[i] = inputs[i].at[:, 0].set(False) if i == 3 else inputs[i] + 1.0
    if name == 'text':  # layer norm would hide a shift of all features
      inputs[i] = _inputs()[i].at[:, :, 0].add(2.0)
    difference = np.abs(_apply(_params(), *inputs) - out).max(axis=(1, 2, 3))
    assert (difference > 1e-4).all(), name


def test_padding_tokens_do_not_matter():
  inputs = _inputs()
  out = _apply(_params(), *inputs)
  inputs[2] = jnp.where(inputs[3][:, :, None], inputs[2], 5.0)
  np.testing.assert_allclose(_apply(_params(), *inputs), out, atol=1e-5)


def test_null_text_does_not_depend_on_the_token_limit():
  def null(length):
    inputs = _inputs()
    inputs[2] = jnp.zeros((2, length, _CONFIG.text_width))
    inputs[3] = jnp.broadcast_to(jnp.arange(length) == 0, (2, length))
    return _apply(_params(), *inputs)

  np.testing.assert_allclose(null(6), null(9), atol=1e-5)


def test_runs_at_sizes_it_was_not_made_for():
  """SR2 is fully convolutional: crops to train on, whole pictures to draw."""
  z, *_ = inputs = _inputs(24, 40)
  out = _apply(_params(), *inputs)
  assert out.shape == z.shape and np.isfinite(out).all()
  # Away from the change nothing moves but what the norms' statistics carry:
  # in a large picture less than in a small one, and least of all far away.
  inputs[0] = z.at[:, 0, 0].add(1.0)
  change = np.abs(_apply(_params(), *inputs) - out).mean(axis=(0, 3))
  assert change[:4, :4].mean() > 5 * change[-4:, -4:].mean()


def test_sizes_and_inputs_are_checked():
  network = efficient_unet.EfficientUNet(_CONFIG)
  z, logsnr, text, mask, low_res, aug = _inputs()
  with pytest.raises(ValueError, match='20 x 20.*multiples of 8'):
    x = jnp.zeros((2, 20, 20, 3))
    network.init(jax.random.key(0), x, logsnr, text, mask, x, aug)
  with pytest.raises(ValueError, match='low_res=True'):
    network.init(jax.random.key(0), z, logsnr, text, mask)


@pytest.mark.parametrize('wide', [True, False])
def test_residual_sum_is_scaled_by_one_over_root_two(wide):
  block = efficient_unet.ResNetBlock(8, wide_skip=wide, groups=4)
  x, emb = _normal(1, 4, 4, 8), _normal(1, 6)
  out, params = block.init_with_output(jax.random.key(0), x, emb)
  # At the start the branch is zero, and a wide skip keeps the picture's size.
  np.testing.assert_allclose(out, x if wide else x / math.sqrt(2), atol=1e-5)
  assert ('skip' in params['params']) == wide

  params = jax.tree.map(lambda p: p + 0.3 * _normal(*p.shape), params)
  out, state = block.apply(params, x, emb, capture_intermediates=True)
  parts = state['intermediates']
  skip = parts['skip']['__call__'][0] if wide else x
  branch = parts['conv_1']['__call__'][0]
  assert np.abs(branch).max() > 0.1
  np.testing.assert_allclose(out, (skip + branch) / math.sqrt(2), atol=1e-5)


def test_signal_survives_the_whole_way_down_at_the_start():
  """Variance is kept by 22 blocks; halved by each, norms could not see it."""
  x, emb = _normal(1, 4, 4, 16), _normal(1, 6)
  block = efficient_unet.ResNetBlock(16, groups=4)
  params = block.init(jax.random.key(0), x, emb)
  y = x
  for _ in range(22):
    y = block.apply(params, y, emb)
  np.testing.assert_allclose(y.std(), x.std(), rtol=1e-4)


def _shapes(config, size):
  """Output shape of every submodule at full size, by name; no compute."""
  network = efficient_unet.EfficientUNet(config)
  zeros = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
  z, one = zeros((1, size, size, 3)), zeros((1,))
  mask = jax.ShapeDtypeStruct((1, 8), bool)

  def trace(*inputs):
    _, state = network.init_with_output(
      jax.random.key(0), *inputs, capture_intermediates=True
    )
    return state['intermediates']

  found = jax.eval_shape(trace, z, one, zeros((1, 8, 4096)), mask, z, one)
  return {
    name: jax.tree.leaves(module['__call__'])[0].shape
    for name, module in found.items()
    if isinstance(module, dict)
  }


def test_layout_of_the_paper():
  """F.2 and Fig. A.28, A.29: strided first going down, upsampled last going up.

  Hence all residual blocks run on the coarser grid, four to 32 times smaller
  than the picture's.
  """
  shapes = _shapes(efficient_unet.EfficientUNetConfig(), 256)
  grids, widths = (128, 64, 32, 16), (128, 256, 512, 1024)
  expected = {}
  for grid, width, narrower, blocks in zip(
    grids, widths, (128, *widths), (2, 4, 8, 8)
  ):
    here, above = (1, grid, grid), (1, 2 * grid, 2 * grid)
    expected[f'down_{grid}_stride'] = (*here, width)
    expected[f'up_{grid}_upsample'] = (*above, narrower)
    for side in ('down', 'up'):
      expected[f'{side}_{grid}_combine'] = (1, width)
      for i in range(blocks):
        expected[f'{side}_{grid}_block_{i}'] = (*here, width)
  for side in ('down', 'up'):
    expected[f'{side}_16_text'] = (1, 8, 8, 256)  # 8 heads, 2 x 1024 in all
    expected[f'{side}_16_attention'] = (1, 16, 16, 1024)
  expected |= {
    'logsnr_embedding': (1, 1024),
    'aug_logsnr_embedding': (1, 1024),
    'text_pool': (1, 1024),
    'input_conv': (1, 256, 256, 128),
    'output_norm': (1, 256, 256, 128),
    'output_conv': (1, 256, 256, 3),
  }
  assert shapes == expected


def test_each_level_hands_up_one_skip():
  """A level's output reaches the same grid on the way up, added."""
  config = efficient_unet.EfficientUNetConfig(
    **{**vars(_CONFIG), 'fold': 1, 'resolution': 8}
  )
  network = efficient_unet.EfficientUNet(config)
  inputs = _inputs(8, 8)
  trace = functools.partial(
    network.init_with_output, capture_intermediates=True
  )
  _, state = jax.jit(trace)(jax.random.key(0), *inputs)
  parts = {
    name: value['__call__'][0]
    for name, value in state['intermediates'].items()
    if isinstance(value, dict)
  }
  skip, below = parts['down_8_block_0'], parts['up_4_upsample']
  # At the start a block is its skip path: (x sqrt(2)) / sqrt(2) = x.
  np.testing.assert_allclose(
    parts['up_8_block_0'], skip + below, rtol=1e-4, atol=1e-5
  )
