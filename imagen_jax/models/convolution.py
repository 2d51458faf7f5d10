"""Convolutions of both U-Nets that keep the grid, and their gradient.

  convolve(x [b, h, w, c], kernel [k, k, c, o]) -> [b, h, w, o], k odd

On an accelerator the gradient is XLA's. On a CPU it is written out where that
is faster, as plain convolutions and matrix products. XLA's own for a kernel is
forty times slower there in loops: micro-batches, equal blocks. Outside of loops
it depends on who computes it: YNNPACK runs at a third of the machine's rate on
large pictures and at a tenth by position (k = 1); Eigen (see `compilation`) is
as fast as this for many pictures, but takes half as long again for one or two.
"""

import contextlib
import contextvars
import functools
import math

import jax
import jax.numpy as jnp

_LAYOUT = ('NHWC', 'HWIO', 'NHWC')
# What is smaller, XLA does as fast or faster: values of x, and positions of a
# picture (measured with 16 to 512 channels on a core with AVX-512). Not so for
# few pictures: it takes the batch for channels.
_MANY, _WIDE, _FEW = 1 << 19, 16 * 16, 2
# Of one product on a CPU: enough for its rate, few enough that the columns of
# some hundred channels stay in a core's cache.
_POSITIONS = 1024

_looped = contextvars.ContextVar('looped', default=False)


@contextlib.contextmanager
def in_a_loop():
  """What is traced inside becomes the body of a loop; results are the same."""
  token = _looped.set(True)
  try:
    yield
  finally:
    _looped.reset(token)


def convolve(x, kernel):
  """Padded with zeros: [b, h, w, c], [k, k, c, o] -> [b, h, w, o]."""
  b, h, w, _ = x.shape
  large = h * w > _WIDE and x.size >= _MANY
  if b <= _FEW or large or kernel.shape[0] == 1 or _looped.get():
    return _convolve(x, kernel)
  return _plain(x, kernel)


@jax.custom_vjp
def _convolve(x, kernel):
  return _plain(x, kernel)


def _plain(x, kernel):
  return jax.lax.conv_general_dilated(
    x, kernel, (1, 1), 'SAME', dimension_numbers=_LAYOUT
  )


def _forward(x, kernel):
  return _plain(x, kernel), (x, kernel)


def _backward(kept, g):
  return jax.lax.platform_dependent(*kept, g, cpu=_by_products, default=_by_xla)


_convolve.defvjp(_forward, _backward)


def for_flax(x, kernel, strides, padding, **settings):
  """`convolve` as what `nn.Conv(conv_general_dilated=...)` calls."""
  asked = strides, padding, settings['feature_group_count']
  assert asked == ((1, 1), 'SAME', 1), asked
  for name in ('lhs_dilation', 'rhs_dilation'):
    assert settings[name] == (1, 1), (name, settings[name])
  return convolve(x, kernel)


def _by_xla(x, kernel, g):
  (of_x,) = jax.linear_transpose(lambda x: _plain(x, kernel), x)(g)
  (of_kernel,) = jax.linear_transpose(lambda k: _plain(x, k), kernel)(g)
  return of_x, of_kernel


def _by_products(x, kernel, g):
  # Each position gets from where it gave to: the kernel turned round.
  turned = kernel[::-1, ::-1].swapaxes(2, 3)
  return _plain(g, turned), kernel_gradient(x, g, kernel)


def kernel_gradient(x, g, kernel):
  """Of sum(g * convolve(x, kernel)), by products of positions.

    d kernel[i, j] = sum over positions p of x[p + (i, j)] g[p]^T

  A strip of rows (or some small pictures) at a time, with the k^2 neighbours of
  each position side by side: columns of one product. Where the batch is spread
  over devices by the partitioner, all at once: its sum is one exchange, and the
  columns take k^2 times the memory of x.
  """
  b, h, w, c = x.shape
  k, _, _, o = kernel.shape
  many = b * h * w if _is_spread(x) else _POSITIONS
  pictures = _divisor(b, many // (h * w))
  rows = _divisor(h, many // w)
  strips = h // rows
  padding = (k // 2, k // 2)
  x = jnp.pad(x, ((0, 0), padding, padding, (0, 0)))

  def cut(n):
    """The n-th positions: ([m, k^2 c] of x, [m, o] of g)."""
    start = n // strips * pictures, n % strips * rows, 0, 0
    near = jax.lax.dynamic_slice(
      x, start, (pictures, rows + k - 1, *x.shape[2:])
    )
    result = jax.lax.dynamic_slice(g, start, (pictures, rows, w, o))
    columns = [
      near[:, i : i + rows, j : j + w] for i in range(k) for j in range(k)
    ]
    columns = jnp.concatenate(columns, axis=-1)
    return columns.reshape(-1, k * k * c), result.reshape(-1, o)

  total = _sum_of_products(cut, b // pictures * strips, (k * k * c, o))
  return total.reshape(kernel.shape).astype(kernel.dtype)


def _sum_of_products(cut, parts, shape):
  """Sum over n of columns^T result, of cut(n) = ([m, p], [m, o]); [p, o]."""
  product = functools.partial(jnp.dot, preferred_element_type=jnp.float32)
  if parts == 1:
    columns, result = cut(0)
    return product(columns.T, result)

  # Products this way round take two thirds of the time of the other, which is
  # worth to turn the sum of many, but not of few.
  def add(n, total):
    columns, result = cut(n)
    return total + product(result.T, columns)

  return jax.lax.fori_loop(0, parts, add, jnp.zeros(shape[::-1])).T


def _is_spread(x):
  """Whether the partitioner may have cut x between devices."""
  mesh = jax.typeof(x).sharding.mesh
  return math.prod(mesh.shape[axis] for axis in mesh.auto_axes) > 1


def _divisor(n, most):
  """The largest divisor of n that is at most `most`, at least 1."""
  return max(d for d in range(1, n + 1) if n % d == 0 and d <= max(1, most))
