"""Where metrics go beside metrics.jsonl: TensorBoard, Weights & Biases.

Each writer has `write_scalars(step, {name: float})` and `flush()`. They are for
looking on: where one fails, the run goes on.
"""

import pathlib
import sys
import uuid

from imagen_jax.files import retrying

_RUN_ID = 'wandb_id.txt'  # in the work directory: a resumed run is the same


class Guarded:
  """A writer whose failures are told once and end nothing."""

  def __init__(self, title, writer):
    self._title = title
    self._writer = writer
    self._is_told = False

  def write_scalars(self, step, scalars):
    self._do(lambda: self._writer.write_scalars(step, scalars))

  def flush(self):
    self._do(self._writer.flush)

  def _do(self, write):
    try:
      write()
    except Exception as e:  # TensorFlow's errors have no common kind
      if not self._is_told:
        self._is_told = True
        print(
          f'warning: {self._title} cannot be written: {retrying.first_line(e)};'
          ' metrics.jsonl has all of it',
          file=sys.stderr,
          flush=True,
        )


def tensorboard(workdir):
  """clu's TensorBoard writer, or None where TensorFlow is not installed."""
  try:
    import tensorflow as tf
    from clu import metric_writers
  except ImportError as e:
    if e.name not in ('tensorflow', 'clu'):  # something that they need
      print(
        f'note: no curves for TensorBoard: {e}; pip install {e.name}',
        file=sys.stderr,
      )
    return None
  # It would take the memory of every GPU for itself.
  tf.config.set_visible_devices([], 'GPU')
  return Guarded('TensorBoard', metric_writers.SummaryWriter(str(workdir)))


def weights_and_biases(workdir, project):
  """A run of a project of Weights & Biases; the same one when resumed.

  Raises ValueError where the package is not there or refuses.
  """
  try:
    import wandb
  except ImportError as e:
    raise ValueError(
      f'TrainConfig.wandb is {project!r}, but the package is not installed: '
      'pip install wandb, or leave TrainConfig.wandb out'
    ) from e
  workdir = pathlib.Path(workdir)
  try:
    run = wandb.init(
      project=project,
      dir=str(workdir),
      name=workdir.resolve().name,
      id=_run_id(workdir),
      resume='allow',
    )
    # Steps of our own: a resumed run writes some of them again.
    run.define_metric('*', step_metric='step')
  except Exception as e:
    raise ValueError(
      f'Weights & Biases cannot begin a run of {project!r}: '
      f'{retrying.first_line(e)}; `wandb login` signs in, and with '
      'WANDB_MODE=offline it writes to the work directory alone'
    ) from e
  return Guarded('Weights & Biases', _Wandb(run))


class _Wandb:
  """Its run as a writer."""

  def __init__(self, run):
    self._run = run

  def write_scalars(self, step, scalars):
    self._run.log({'step': step, **scalars})

  def flush(self):
    self._run.finish()


def _run_id(workdir):
  """The id of the run of a work directory, made at its first start."""
  path = workdir / _RUN_ID
  if not path.exists():
    path.write_text(uuid.uuid4().hex[:16])
  return path.read_text().strip()
