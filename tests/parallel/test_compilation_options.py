"""Options of XLA on a CPU: taken where they are known, left out where not."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.parallel import compilation, partitioning


@pytest.fixture
def untried():
  compilation._known.cache_clear()
  yield
  compilation._known.cache_clear()


def test_options_are_for_a_cpu_alone():
  chip = types.SimpleNamespace(platform='tpu')
  mesh = types.SimpleNamespace(devices=np.array([[chip]]))
  assert compilation.options(mesh) is None


@pytest.mark.parametrize(
  'unknown',
  [
    {'xla_cpu_that_is_gone': '1'},
    {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_GONE'},
  ],
)
def test_an_option_that_xla_does_not_know_is_left_out(
  unknown, untried, monkeypatch
):
  monkeypatch.setattr(compilation, '_CPU', unknown)
  assert compilation.options(partitioning.make_mesh()) is None


def test_another_failure_is_not_taken_for_an_unknown_option(
  untried, monkeypatch
):
  def fail(*args, **settings):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED')

  monkeypatch.setattr(compilation.jax, 'jit', fail)
  with pytest.raises(jax.errors.JaxRuntimeError, match='RESOURCE_EXHAUSTED'):
    compilation.options(partitioning.make_mesh())


def test_convolutions_and_products_stay_with_xla():
  """Of all releases: those that know no YNNPACK need no option."""
  options = compilation.options(partitioning.make_mesh())
  x, kernel = jnp.ones([2, 16, 16, 128]), jnp.ones([3, 3, 128, 128])

  def both(x, kernel):
    y = jax.lax.conv_general_dilated(
      x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    return y @ kernel[0, 0]

  lowered = jax.jit(both, compiler_options=options).lower(x, kernel)
  text = lowered.compile().as_text()
  assert 'convolution(' in text and 'dot(' in text
  assert '__ynn_fusion' not in text
