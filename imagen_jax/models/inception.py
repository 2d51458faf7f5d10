"""InceptionV3 as FID has it (Szegedy et al. 2015; Heusel et al. 2017).

Pictures [b, 299, 299, 3] in [-1, 1] to features at five depths. The network
of 2015 that all published distances are measured with, which is not the usual
InceptionV3: averages of 3x3 leave padding out of their count, the last block
takes maxima instead, there are 1,008 classes and no second classifier.

Each layer is a convolution, an offset and a ReLU: the constants of batch
normalisation are in the weights already (`imagen_jax.convert_inception`).
Names of blocks and branches are those of the published weights.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

SIDE = 299  # pixels that the network was trained with
CLASSES = 1008


class Output(NamedTuple):
  """What the network makes of pictures; spatial means, float32."""

  low: jax.Array  # [b, 64] after the first maxima
  middle: jax.Array  # [b, 192] after the second
  high: jax.Array  # [b, 768] before the last reduction
  pooled: jax.Array  # [b, 2048] what FID is measured on
  logits: jax.Array  # [b, 1008] without their offset


def _conv(x, features, size, name, stride=1, padding='SAME'):
  """Convolution and ReLU; full precision, or an accelerator takes 8 bits."""
  conv = nn.Conv(
    features,
    size,
    strides=stride,
    padding=padding,
    precision=jax.lax.Precision.HIGHEST,
    name=name,
  )
  return nn.relu(conv(x))


def _chain(x, *layers):
  """Convolutions of stride 1, each (features, size, name), in a row."""
  for features, size, name in layers:
    x = _conv(x, features, size, name)
  return x


def _mean(x):
  """Means of 3x3; at the border of the pixels that there are."""
  return nn.avg_pool(x, (3, 3), (1, 1), 'SAME', count_include_pad=False)


def _halved(x):
  """Maxima of 3x3, every other one."""
  return nn.max_pool(x, (3, 3), (2, 2))


def _joined(*branches):
  return jnp.concatenate(branches, axis=-1)


class BlockA(nn.Module):
  """1x1, 5x5 and 3x3 twice, on 35x35 pixels."""

  pooled: int  # features of the mean's branch

  @nn.compact
  def __call__(self, x):
    return _joined(
      _conv(x, 64, (1, 1), 'branch1x1'),
      _chain(x, (48, (1, 1), 'branch5x5_1'), (64, (5, 5), 'branch5x5_2')),
      _chain(
        x,
        (64, (1, 1), 'branch3x3dbl_1'),
        (96, (3, 3), 'branch3x3dbl_2'),
        (96, (3, 3), 'branch3x3dbl_3'),
      ),
      _conv(_mean(x), self.pooled, (1, 1), 'branch_pool'),
    )


class BlockB(nn.Module):
  """From 35x35 to 17x17 pixels."""

  @nn.compact
  def __call__(self, x):
    double = _chain(
      x, (64, (1, 1), 'branch3x3dbl_1'), (96, (3, 3), 'branch3x3dbl_2')
    )
    return _joined(
      _conv(x, 384, (3, 3), 'branch3x3', 2, 'VALID'),
      _conv(double, 96, (3, 3), 'branch3x3dbl_3', 2, 'VALID'),
      _halved(x),
    )


class BlockC(nn.Module):
  """7x7 as rows and columns, on 17x17 pixels."""

  inner: int  # features between them

  @nn.compact
  def __call__(self, x):
    n, row, column = self.inner, (1, 7), (7, 1)
    return _joined(
      _conv(x, 192, (1, 1), 'branch1x1'),
      _chain(
        x,
        (n, (1, 1), 'branch7x7_1'),
        (n, row, 'branch7x7_2'),
        (192, column, 'branch7x7_3'),
      ),
      _chain(
        x,
        (n, (1, 1), 'branch7x7dbl_1'),
        (n, column, 'branch7x7dbl_2'),
        (n, row, 'branch7x7dbl_3'),
        (n, column, 'branch7x7dbl_4'),
        (192, row, 'branch7x7dbl_5'),
      ),
      _conv(_mean(x), 192, (1, 1), 'branch_pool'),
    )


class BlockD(nn.Module):
  """From 17x17 to 8x8 pixels."""

  @nn.compact
  def __call__(self, x):
    three = _conv(x, 192, (1, 1), 'branch3x3_1')
    seven = _chain(
      x,
      (192, (1, 1), 'branch7x7x3_1'),
      (192, (1, 7), 'branch7x7x3_2'),
      (192, (7, 1), 'branch7x7x3_3'),
    )
    return _joined(
      _conv(three, 320, (3, 3), 'branch3x3_2', 2, 'VALID'),
      _conv(seven, 192, (3, 3), 'branch7x7x3_4', 2, 'VALID'),
      _halved(x),
    )


class BlockE(nn.Module):
  """3x3 as rows beside columns, on 8x8 pixels."""

  @nn.compact
  def __call__(self, x, pooled):
    three = _conv(x, 384, (1, 1), 'branch3x3_1')
    double = _chain(
      x, (448, (1, 1), 'branch3x3dbl_1'), (384, (3, 3), 'branch3x3dbl_2')
    )
    return _joined(
      _conv(x, 320, (1, 1), 'branch1x1'),
      _conv(three, 384, (1, 3), 'branch3x3_2a'),
      _conv(three, 384, (3, 1), 'branch3x3_2b'),
      _conv(double, 384, (1, 3), 'branch3x3dbl_3a'),
      _conv(double, 384, (3, 1), 'branch3x3dbl_3b'),
      _conv(pooled, 192, (1, 1), 'branch_pool'),
    )


class Inception(nn.Module):
  """Pictures [b, 299, 299, 3] in [-1, 1] to an `Output`.

  Under jit, what is not used of the output is not computed.
  """

  @nn.compact
  def __call__(self, x):
    x = _conv(x, 32, (3, 3), 'Conv2d_1a_3x3', 2, 'VALID')
    x = _conv(x, 32, (3, 3), 'Conv2d_2a_3x3', 1, 'VALID')
    x = _halved(_conv(x, 64, (3, 3), 'Conv2d_2b_3x3'))  # [b, 73, 73, 64]
    low = x.mean((1, 2))
    x = _conv(x, 80, (1, 1), 'Conv2d_3b_1x1')
    x = _halved(_conv(x, 192, (3, 3), 'Conv2d_4a_3x3', 1, 'VALID'))
    middle = x.mean((1, 2))  # of [b, 35, 35, 192]
    for letter, pooled in zip('bcd', (32, 64, 64)):
      x = BlockA(pooled, name=f'Mixed_5{letter}')(x)
    x = BlockB(name='Mixed_6a')(x)
    for letter, inner in zip('bcde', (128, 160, 160, 192)):
      x = BlockC(inner, name=f'Mixed_6{letter}')(x)
    high = x.mean((1, 2))  # of [b, 17, 17, 768]
    x = BlockD(name='Mixed_7a')(x)
    x = BlockE(name='Mixed_7b')(x, _mean(x))
    largest = nn.max_pool(x, (3, 3), (1, 1), 'SAME')
    x = BlockE(name='Mixed_7c')(x, largest)  # [b, 8, 8, 2048]
    pooled = x.mean((1, 2))
    logits = nn.Dense(
      CLASSES,
      use_bias=False,
      precision=jax.lax.Precision.HIGHEST,
      name='fc',
    )(pooled)
    return Output(low, middle, high, pooled, logits)


def param_shapes() -> dict:
  """A tree of the shape of every parameter."""
  picture = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
  variables = jax.eval_shape(Inception().init, jax.random.key(0), picture)
  return jax.tree.map(lambda x: x.shape, variables['params'])
