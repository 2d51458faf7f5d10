"""A trace of some steps, for TensorBoard's profiler or xprof.

--profile_steps=10:13   steps 10, 11 and 12, into <workdir>/profile/
"""

import pathlib

import jax

from imagen_jax.parallel import processes


class Trace:
  """Used as `with Trace(steps, workdir) as trace`, trace.at(step, state)."""

  def __init__(self, steps, workdir):
    """`steps` is (first, end), the last one is end - 1; None = no trace."""
    self._first, self._end = steps or (0, 0)
    self._directory = pathlib.Path(workdir) / 'profile'
    self._running = False

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    self._stop()

  def at(self, step, state):
    """Called before each step with the state that it starts from."""
    inside = self._first <= step < self._end
    if inside == self._running or not processes.is_first():
      return
    jax.block_until_ready(state)  # what was begun before is not of the trace
    if inside:
      jax.profiler.start_trace(self._directory)
      self._running = True
    else:
      self._stop()

  def _stop(self):
    if self._running:
      jax.profiler.stop_trace()
      self._running = False
