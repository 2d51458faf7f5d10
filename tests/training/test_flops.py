"""Operations counted from the jaxpr are those of the layers' formulas."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from imagen_jax.parallel import accelerators, partitioning
from imagen_jax.training import flops, metrics
from tests.support import tiny_cascade


def _zeros(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_products():
  found = flops.count(
    lambda a, b: jnp.einsum('bnk,bmk->bnm', a, b),
    _zeros(2, 3, 5),
    _zeros(2, 7, 5),
  )
  assert found == 2 * 2 * 3 * 7 * 5


def test_convolutions_with_strides():
  def conv(x, kernel):
    return jax.lax.conv_general_dilated(
      x, kernel, (2, 2), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )

  found = flops.count(conv, _zeros(2, 8, 8, 3), _zeros(3, 3, 3, 5))
  assert found == 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)


def test_loops_count_each_turn_and_backward_counts_twice():
  def layers(x, kernels):
    return jax.lax.scan(lambda x, k: (x @ k, ()), x, kernels)[0].sum()

  x, kernels = _zeros(4, 6), _zeros(3, 6, 6)
  once = 3 * 2 * 4 * 6 * 6
  assert flops.count(layers, x, kernels) == once
  both = flops.count(jax.grad(layers, argnums=(0, 1)), x, kernels)
  assert both == flops.STEP_OVER_FORWARD * once


def test_what_one_device_does_counts_for_all():
  """Of a job whose weights are cut, as of one with whole weights."""
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(data=2, fsdp=2), jax.devices()[:4]
  )
  cut = NamedSharding(mesh, PartitionSpec('fsdp'))

  def product(w, x):
    return x @ partitioning.gather(w, cut)

  spread = partitioning.by_hand(product, cut, mesh)
  w, x = _zeros(6, 6), _zeros(8, 6)
  assert flops.count(spread, w, x) == flops.count(jnp.dot, x, w) == 2 * 8 * 36


def test_a_network_by_hand():
  """The convolutions of SR grow with the picture, the text's part does not."""
  stage = tiny_cascade.stage(16)
  one, four = (flops.per_image(stage, r) for r in (16, 32))
  text = four - 4 * (four - one) / 3
  assert 0 < text < 0.2 * one


def test_share_of_the_peak_where_it_is_known():
  class Device:
    device_kind = 'TPU v5 lite'

  class Devices:
    size = 4
    flat = [Device]

  scalars = metrics.Throughput(1e12, Devices).of(50.0)
  assert scalars['tflops_per_second'] == 150.0
  assert scalars['peak_share'] == 150 / 197 / 4
  Device.device_kind = 'cpu'
  assert 'peak_share' not in metrics.Throughput(1e12, Devices).of(50.0)
  assert accelerators.of_kind('NVIDIA H100 80GB HBM3') is accelerators.H100
  assert accelerators.of_kind('TPU v5') is accelerators.V5P
