"""What the compiler says is read rightly; loops count as often as they turn."""

import jax
import jax.numpy as jnp
import pytest

from imagen_jax.parallel import accelerators
from imagen_jax.planning import compiling


def test_out_of_memory_is_told_in_bytes():
  message = (
    'RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in '
    'memory space hbm. Used 21.50G of 15.75G hbm. Exceeded by 5.75G.'
  )
  assert compiling.problem(message) == 'needs 23.1 GB of the 16.9 GB of a chip'
  message = (
    'RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, '
    'the total memory required for HLO temporaries (36.27G) exceeds available '
    'HBM (15.75G). HLO module: jit_train_step.'
  )
  assert compiling.problem(message) == (
    'needs 38.9 GB of the 16.9 GB of a chip for activations and gradients'
  )
  assert compiling.problem('INTERNAL: x\nmore') == 'INTERNAL: x'


def test_figures_of_a_program():
  """On a CPU, which compiles the same way: memory, and what stays in place."""
  traced = jax.jit(lambda x: 2 * x, donate_argnums=0).trace(
    jax.ShapeDtypeStruct((1024, 256), jnp.float32)
  )
  found = compiling.compile_traced(traced, accelerators.V5E)
  assert found.memory['peak'] - found.memory['program'] == 4 * 1024 * 256
  assert found.moved == 2 * 4 * 1024 * 256
  assert found.collectives == [] and found.sent == 0


def test_a_program_that_is_too_large():
  class Lowered:
    def compile(self, compiler_options):
      raise jax.errors.JaxRuntimeError(
        'RESOURCE_EXHAUSTED: Used 2.00G of 1.00G hbm. Exceeded by 1.00G.'
      )

  class Traced:
    def lower(self):
      return Lowered()

  with pytest.raises(compiling.DoesNotFit, match='needs 2.1 GB of the 1.1 GB'):
    compiling.compile_traced(Traced(), accelerators.V5E)


class _Told:
  """In the place of a lowered program: notes the options it is given."""

  def __init__(self, known):
    self.known, self.told = known, []

  def lower(self):
    return self

  def compile(self, compiler_options=None):
    self.told.append(compiler_options)
    for name in set(compiler_options or ()) - set(self.known):
      raise jax.errors.JaxRuntimeError(
        f'INVALID_ARGUMENT: No such compile option: {name!r}'
      )
    return jax.jit(jnp.sin).lower(1.0).compile()


def test_the_quick_level_does_without_an_option_that_is_gone():
  for level, known, options in (
    ('quick', compiling._QUICK_OPTIONS, [compiling._QUICK_OPTIONS]),
    ('quick', (), [compiling._QUICK_OPTIONS, None]),
    ('full', (), [None]),
  ):
    program = _Told(known)
    compiling.compile_traced(program, accelerators.V5E, level)
    assert program.told == options
