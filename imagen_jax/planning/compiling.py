"""Compiling for chips that are not there, and what the compiler says of it."""

import dataclasses
import re
import time

import jax

from imagen_jax.planning import collectives, costs

LEVELS = {  # of XLA: (optimization, effort to fit the memory)
  'quick': ('O1', 'O0'),
  'full': None,
}
# Not to look for the best window of each convolution is a third less to
# compile. XLA's estimates are of operations and bytes: windows do not change
# them, nor what is exchanged.
_QUICK_OPTIONS = {'xla_jf_convolution_performance_target': '0'}
_AMOUNT = r'([\d.]+)([KMGT]?)'
_OUT_OF_MEMORY = (  # what libtpu says, of all that is needed or of a part
  (re.compile(f'Used {_AMOUNT} of {_AMOUNT} hbm'), ''),
  (
    re.compile(
      rf'HLO temporaries \({_AMOUNT}\) exceeds available HBM \({_AMOUNT}\)'
    ),
    ' for activations and gradients',
  ),
)
_UNITS = {'': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}


class DoesNotFit(ValueError):
  """What the compiler says of a program that is too large, on one line."""


def set_level(level):
  """How hard XLA tries from now on, one of LEVELS."""
  if LEVELS[level] is not None:
    optimization, memory = LEVELS[level]
    jax.config.update('jax_optimization_level', optimization)
    jax.config.update('jax_memory_fitting_level', memory)
  # What is compiled for other devices is of no use to the next start.
  jax.config.update('jax_enable_compilation_cache', False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
  """A program for one chip of a slice."""

  seconds: float  # that compiling took
  memory: dict  # bytes: temporaries, program, peak
  moved: float  # bytes read and written in the chip's memory
  collectives: list  # of `collectives.Collective`
  xla: float | None  # seconds by XLA's estimate; None = not given

  @property
  def sent(self):
    """Bytes that leave the chip."""
    return sum(c.sent for c in self.collectives)


def compile_traced(traced, chip, level='full'):
  """`Compiled` of what `jax.jit(f).trace(...)` gives.

  Args:
    traced: the program.
    chip: the `accelerators.Accelerator` it is for.
    level: one of LEVELS, as `set_level` was given.

  Raises:
    DoesNotFit: the program is larger than a chip's memory.
  """
  start = time.perf_counter()
  lowered = traced.lower()
  try:
    compiled = _compiled(lowered, _QUICK_OPTIONS if level == 'quick' else None)
  except jax.errors.JaxRuntimeError as e:
    raise DoesNotFit(problem(str(e))) from e
  seconds = time.perf_counter() - start
  cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
  text = compiled.as_text()
  # XLA's figures of a program count what stands in a loop once.
  repetition = costs.repetition(text, chip)
  xla = cost.get('optimal_seconds')
  sizes = {
    'temporaries': memory.temp_size_in_bytes,
    'program': memory.generated_code_size_in_bytes,
  }
  # The results take the place of what is donated.
  sizes['peak'] = sum(sizes.values()) + (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
  )
  return Compiled(
    seconds=seconds,
    memory=sizes,
    moved=cost.get('bytes accessed', 0.0) * repetition.moved,
    collectives=collectives.read(text),
    xla=None if xla is None else xla * repetition.seconds,
  )


def _compiled(lowered, options):
  """With options of libtpu, or without where its release has them no more."""
  try:
    return lowered.compile(compiler_options=options)
  except jax.errors.JaxRuntimeError as e:
    if options is None or 'No such compile option' not in str(e):
      raise
  return lowered.compile()


def problem(message):
  """An error of the compiler, on one line."""
  for pattern, what_for in _OUT_OF_MEMORY:
    if found := pattern.search(message):
      needs, unit, has, unit_of_all = found.groups()
      needs = float(needs) * _UNITS[unit] / 1e9
      has = float(has) * _UNITS[unit_of_all] / 1e9
      return f'needs {needs:.1f} GB of the {has:.1f} GB of a chip{what_for}'
  return message.strip().splitlines()[0][:300]
