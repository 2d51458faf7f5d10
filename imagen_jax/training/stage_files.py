"""The stage directory of a run, which `bind` makes a cascade of.

<workdir>/stage/   the averaged weights of the newest checkpoint
"""

import jax

from imagen_jax import exchanges, retrying, stages


def write(workdir, stage, step, ema, text):
  """Writes the averaged weights as the stage directory of the run.

  All processes call it, the first writes; all raise ValueError where it cannot.
  `text` is the fingerprint of its encoder; `bind` notes when given another.
  """
  problem = None
  if (ema := exchanges.whole(ema)) is not None:
    problem = _write(workdir / 'stage', stage, step, ema, text)
  exchanges.agree(problem)


def _write(directory, stage, step, ema, text):
  """Writes whole weights; what came in the way, or None."""
  metadata = {'step': str(step), stages.TEXT_WEIGHTS: text['weights']}
  try:
    retrying.patiently(
      lambda: stages.write(
        directory, stage, jax.device_get(ema), metadata=metadata
      ),
      f'weights of step {step} were not written',
    )
  except OSError as e:
    return (
      f'weights of step {step} could not be written to {directory}: {e}; free '
      'space there and run the same command again: it goes on from the '
      'checkpoint before'
    )
