"""From noise to pictures: one step, and the two loops around it (app. A).

  scan     `lax.scan` over the rows of the grid: all steps, a fixed number of
           them, as one program. What is fastest on an accelerator.
  segment  some steps of any grid, between which somebody may look: one program
           for every number of steps. What tells progress and shows previews.

Both run `advance` at each row and agree within rounding. The network, guidance
and thresholding are `denoise` (`denoising.make_denoise`), the solver is `step`
(`diffusion/samplers.py`):

  carry = start(z)
  carry = scan(denoise, carry, levels, step, keys)           or
  for i in range(0, steps, 8):
    carry = segment(denoise, carry, i, 8, levels, step, keys)
  pictures = carry.z
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from imagen_jax.diffusion import samplers


class Carry(NamedTuple):
  """What goes from step to step, each [b, h, w, c] float32.

  After the last step z is the result. x0 is the latest x-prediction, hence
  also a preview.
  """

  z: jax.Array
  x0: jax.Array


class Row(NamedTuple):
  """What a step knows of the grid; each [n] over all n steps."""

  i: jax.Array  # number of the step
  levels: samplers.Levels
  last: jax.Array  # bool: the x-prediction is the result


def start(z) -> Carry:
  """The carry before step 0, from pure noise z [b, h, w, c]."""
  return Carry(z=z, x0=jnp.zeros_like(z))


def rows(levels) -> Row:
  """The steps of a grid [n + 1] of rising logsnr; row j goes from j to j + 1.

  It may be padded with inf behind (`grids`). The step to the last finite entry
  returns the x-prediction, as if that entry were a clean picture.
  """
  levels = jnp.asarray(levels)
  i = jnp.arange(levels.shape[0] - 1)
  now = levels[:-1]
  last = i + 2 == jnp.sum(jnp.isfinite(levels))
  before = levels[jnp.maximum(i - 1, 0)]
  after = jnp.where(last, now, levels[1:])
  return Row(i, samplers.Levels(before=before, now=now, next=after), last)


def advance(denoise, step, keys, carry: Carry, row: Row) -> Carry:
  """One step: the x-prediction at z, noise of its own, the solver."""
  z, before = carry
  x0 = denoise(z, jnp.full(z.shape[0], row.levels.now))
  noise = samplers.draw_noise(keys, row.i, z.shape[1:])
  z = samplers.take(step, z, x0, before, row.levels, noise, denoise)
  x0 = x0.x0 if isinstance(x0, samplers.Denoised) else x0
  return Carry(z=jnp.where(row.last, x0, z), x0=x0)


def scan(denoise, carry: Carry, levels, step, keys) -> Carry:
  """All steps of an unpadded grid, as many as it has.

  Args:
    denoise: (z [b, h, w, c], logsnr [b]) -> x0 [b, h, w, c].
    carry: from `start`.
    levels: [n + 1], rising logsnr, all finite.
    step: a step function of `samplers`.
    keys: one jax key per picture, [b].
  """

  def body(carry, row):
    return advance(denoise, step, keys, carry, row), None

  return jax.lax.scan(body, carry, rows(levels))[0]


def segment(denoise, carry: Carry, i, length, levels, step, keys) -> Carry:
  """Steps i .. i + length - 1, or as far as the grid goes.

  i, length and levels may all be traced. The loop counts to a traced end, so
  its body compiles the same for every stretch: segments in a row give what
  one run gives, bit for bit, and no step is computed in vain. (A `scan` has a
  fixed length: another program for the remainder, or a branch in every step not
  taken, which copies the carry: 1.4 s a segment at 1024 px on a CPU.)

  Args as of `scan`, but for
    carry: from `start` or from the segment before.
    i: the first step.
    length: number of steps.
    levels: may be padded, see `rows`.
  """
  table = rows(levels)
  steps = jnp.sum(jnp.isfinite(jnp.asarray(levels))) - 1

  def body(i, carry):
    row = jax.tree.map(lambda column: column[i], table)
    return advance(denoise, step, keys, carry, row)

  return jax.lax.fori_loop(i, jnp.minimum(i + length, steps), body, carry)


def sample(denoise, z, levels, step, keys) -> jax.Array:
  """From noise z [b, h, w, c] to the last x-prediction [b, h, w, c].

  `levels` is one of `grids`, unpadded; see `scan`.
  """
  return scan(denoise, start(z), levels, step, keys).z


def compiled_scan(make_denoise, make_step, wrap=lambda run: run):
  """`scan` as a program for each number of steps; see `compiled_segment`.

  (carry, levels [n + 1], keys, inputs) -> carry.
  """

  def run(carry, levels, keys, inputs):
    denoise, step = make_denoise(inputs), make_step(inputs)
    return scan(denoise, carry, levels, step, keys)

  return jax.jit(wrap(run), donate_argnums=0)


def compiled_segment(make_denoise, make_step, wrap=lambda run: run):
  """`segment` as one program, for every number of steps.

  (carry, i, length, levels, keys, inputs) -> carry.

  `make_denoise(inputs) -> denoise` and `make_step(inputs) -> step` bring
  parameters and conditions in as arguments: closed over, they would be compiled
  in as constants. The carry is donated, so do not use it again. Call this once
  and keep the result: each call makes a program of its own. `wrap` may spread
  what is compiled over devices.
  """

  def run(carry, i, length, levels, keys, inputs):
    denoise, step = make_denoise(inputs), make_step(inputs)
    return segment(denoise, carry, i, length, levels, step, keys)

  return jax.jit(wrap(run), donate_argnums=0)
