"""Trains the learned judge of emoji scenes, some four minutes of one core.

  python -m imagen_jax.train_judge --gin_file=gin/scenes_judge.gin \
      --workdir=DIR

The same command again resumes from the newest checkpoint. DIR/judge is what
`evaluate` takes as --judge; the shipped one was made by this command.
"""

import dataclasses
import math
import pathlib

import jax
import jax.numpy as jnp

from imagen_jax.config import checks, command
from imagen_jax.evaluation.scenes import judge as judge_lib
from imagen_jax.evaluation.scenes import judge_examples
from imagen_jax.models import judge as network
from imagen_jax.parallel import partitioning
from imagen_jax.training import optimizers
from imagen_jax.training import state as state_lib
from imagen_jax.training.pretraining import loop

# Weight of each part of the loss: centres count most, they decide the others.
_WEIGHTS = {'nouns': 1.0, 'colours': 1.0, 'boxes': 0.2, 'backgrounds': 0.3}
_HARM = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeTraining:
  """One training of a judge."""

  model: network.JudgeConfig
  vocabulary: str = 'lite'
  optimizer: optimizers.Adam | optimizers.Muon = optimizers.Adam()
  learning_rate: optimizers.LearningRate = optimizers.LearningRate(peak=2e-3)
  clip: float | None = 1.0  # global gradient norm; None = off
  batch_size: int = 64  # scenes, over all devices
  steps: int = 1_500  # updates
  seed: int = 0  # of initialisation and of what is done to the pictures
  ema_decay: float = 0.998
  mesh: partitioning.MeshConfig = partitioning.MeshConfig()
  log_every: int = 50  # steps
  validate_every: int = 500  # steps
  validation_batches: int = 4
  checkpoint_every: int = 250  # steps
  keep: int = 2  # newest checkpoints kept

  def __post_init__(self):
    checks.require_within(
      self,
      clip=(1e-6, math.inf),
      batch_size=(1, math.inf),
      steps=(1, math.inf),
      seed=(0, 2**32 - 1),
      ema_decay=(0, 1),
      log_every=(0, math.inf),
      validate_every=(0, math.inf),
      validation_batches=(1, math.inf),
      checkpoint_every=(0, math.inf),
      keep=(1, math.inf),
    )

  def examples(self, split) -> judge_examples.JudgeExamples:
    """The batches of 'train' or 'validation'."""
    return judge_examples.JudgeExamples(
      vocabulary=self.vocabulary,
      split=split,
      batch_size=self.batch_size,
      resolution=self.model.resolution,
      cells=self.model.cells,
      seed=self.seed,
    )


def describe(config):
  """What `--dry_run` prints."""
  shapes = jax.eval_shape(
    lambda key: network.init(config.model, key), jax.random.key(0)
  )
  return (
    f'{state_lib.count(shapes):,} parameters; {config.steps:,} steps of '
    f'{config.batch_size}'
  )


def losses(answers: network.Reading, batch) -> dict[str, jax.Array]:
  """The parts of the loss, scalars; their weighted sum is trained."""
  objects = jnp.maximum(batch['taken'].sum(), 1.0)

  def at(values):
    """[b, g, g, n] -> [b, places, n]."""
    rows = values.reshape(len(values), -1, values.shape[-1])
    return jnp.take_along_axis(rows, batch['places'][..., None], axis=1)

  def mean(values):
    return (values * batch['taken']).sum() / objects

  def cross(logits, numbers):
    told = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(told, numbers[..., None], axis=-1)[..., 0]

  wrong = jnp.abs(at(answers.boxes) - batch['boxes']).sum(axis=-1)
  return {
    'centres': focal(answers.centres, batch['heat']) / objects,
    'nouns': mean(cross(at(answers.nouns), batch['nouns'])),
    'colours': mean(cross(at(answers.colours), batch['colours'])),
    'boxes': mean(wrong),
    'backgrounds': cross(answers.backgrounds, batch['backgrounds']).mean(),
    'harm': jnp.square(answers.harm - batch['harm']).sum(axis=-1).mean(),
  }


def focal(logits, heat):
  """Penalty-reduced focal loss (Zhou et al. 2019, equation 1), summed."""
  p = jax.nn.sigmoid(logits)
  centre = heat == 1.0
  there = -jax.nn.log_sigmoid(logits) * (1 - p) ** 2
  elsewhere = -jax.nn.log_sigmoid(-logits) * p**2 * (1 - heat) ** 4
  return jnp.where(centre, there, elsewhere).sum()


def total(parts):
  """The loss that is trained."""
  weighted = sum(weight * parts[name] for name, weight in _WEIGHTS.items())
  return parts['centres'] + _HARM * parts['harm'] + weighted


def identity(config):
  """What must not change between a checkpoint and the run resuming from it."""
  return {
    'model': repr(config.model),
    'vocabulary': config.vocabulary,
    'optimizer': type(config.optimizer).__name__,
    'batch_size': config.batch_size,
    'seed': config.seed,
  }


def train(config, workdir):
  """Runs to `config.steps`, resuming if it can; returns the state."""
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  model = network.Judge(config.model)

  def loss(params, batch):
    parts = losses(model.apply({'params': params}, batch['pictures']), batch)
    return total(parts), parts

  def write(params):
    judge_lib.save(
      workdir / 'judge', config.model, jax.device_get(params), config.vocabulary
    )

  return loop.run(
    config,
    workdir,
    loop.begin(config, lambda key: network.init(config.model, key)),
    loss=loss,
    examples=config.examples('train'),
    held_out=config.examples('validation'),
    write=write,
    identity=identity(config),
    unit='scenes',
  )


if __name__ == '__main__':
  # By name: gin must bind the classes of imagen_jax.train_judge.
  from imagen_jax import train_judge as module
  from imagen_jax.training import gin_jobs

  command.run(gin_jobs.run, module.train, module.JudgeTraining, module.describe)
