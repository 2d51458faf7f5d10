"""Trains the stage before the base: from a sentence to a layout of boxes.

  python -m imagen_jax.train_layout --gin_file=gin/scenes_layout.gin \
      --workdir=DIR

No picture is drawn for it: it learns from captions and from where the things
of their scenes stand, a hundred and more a second of one core. The same command
again resumes from the newest checkpoint. The work directory holds

  config.gin       the configuration
  checkpoints/     orbax
  layout/          the stage, for `bind --layout`
  metrics.jsonl    loss and the share of things named right, held out ones too
"""

import dataclasses
import math
import pathlib

import jax

from imagen_jax.config import checks, command
from imagen_jax.data import pipeline
from imagen_jax.parallel import partitioning
from imagen_jax.stages import layout_stage
from imagen_jax.text import checkpoints as text_checkpoints
from imagen_jax.training import inputs, layout_examples, optimizers
from imagen_jax.training import state as state_lib
from imagen_jax.training.pretraining import loop


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayoutTraining:
  """One training of a layout stage."""

  stage: layout_stage.LayoutStage
  data: pipeline.EmojiScenes = pipeline.EmojiScenes()
  text: str | None = None  # text directory; None = the shipped tiny T5
  optimizer: optimizers.Adam | optimizers.Muon = optimizers.Adam()
  learning_rate: optimizers.LearningRate = optimizers.LearningRate(peak=1e-3)
  clip: float | None = 1.0  # global gradient norm; None = off
  batch_size: int = 128  # captions, over all devices
  noises: int = 2  # noisy versions of each caption's boxes
  examples: int = 60_000  # of the training split, gone through again and again
  steps: int = 4_000  # updates
  seed: int = 0  # of initialisation and noise
  caption_dropout: float = 0.1  # share of examples trained without text
  ema_decay: float = 0.999
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
      noises=(1, math.inf),
      examples=(1, math.inf),
      steps=(1, math.inf),
      seed=(0, 2**32 - 1),
      caption_dropout=(0, 1),
      ema_decay=(0, 1),
      log_every=(0, math.inf),
      validate_every=(0, math.inf),
      validation_batches=(1, math.inf),
      checkpoint_every=(0, math.inf),
      keep=(1, math.inf),
    )


def describe(config):
  """What `--dry_run` prints."""
  shapes = jax.eval_shape(
    lambda key: layout_stage.init_params(config.stage, key), jax.random.key(0)
  )
  return (
    f'{state_lib.count(shapes):,} parameters; {config.steps:,} steps of '
    f'{config.batch_size}'
  )


def identity(config):
  """What must not change between a checkpoint and the run resuming from it."""
  return {
    'stage': repr(dataclasses.replace(config.stage, steps=1, guidance=1.0)),
    'data': repr(config.data),
    'text': config.text,
    'optimizer': type(config.optimizer).__name__,
    'batch_size': config.batch_size,
    'noises': config.noises,
    'examples': config.examples,
    'seed': config.seed,
  }


def train(config, workdir):
  """Runs to `config.steps`, resuming if it can; returns the state."""
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  encoder = text_checkpoints.load_encoder(config.text or inputs.SHIPPED_TEXT)
  _check_text(config, encoder)
  embedded = layout_examples.Embedded(encoder)

  def examples(split, count):
    return layout_examples.LayoutExamples(
      source=config.data.open(split),
      stage=config.stage,
      embedded=embedded,
      batch_size=config.batch_size,
      noises=config.noises,
      examples=count,
      seed=config.seed,
      caption_dropout=config.caption_dropout if split == 'train' else 0.0,
    )

  def write(params):
    layout_stage.write(workdir / 'layout', config.stage, jax.device_get(params))

  held_out = examples('validation', 2_000)
  return loop.run(
    config,
    workdir,
    loop.begin(config, lambda key: layout_stage.init_params(config.stage, key)),
    loss=lambda params, batch: layout_examples.loss(
      config.stage, params, batch
    ),
    examples=examples('train', config.examples),
    held_out=held_out,
    write=write,
    identity=identity(config),
    unit='captions',
  )


def _check_text(config, encoder):
  """Raises ValueError unless the stage takes what the encoder gives."""
  model = config.stage.model
  given = encoder.config.width, encoder.tokenizer.max_length
  if given != (model.text_width, model.max_length):
    raise ValueError(
      f'the text encoder gives {given[1]} tokens of width {given[0]}, the '
      f'layout model takes {model.max_length} of {model.text_width}; set '
      'LayoutTransformerConfig.text_width and max_length to the first'
    )


if __name__ == '__main__':
  # By name: gin must bind the classes of imagen_jax.train_layout.
  from imagen_jax import train_layout as module
  from imagen_jax.training import gin_jobs

  command.run(
    gin_jobs.run, module.train, module.LayoutTraining, module.describe
  )
