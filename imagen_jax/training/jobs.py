"""What a training job is: its configuration and what is computed in a step.

`train` runs one; `plan` compiles its step for devices that are not there.
"""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp

from imagen_jax import stages
from imagen_jax.config import checks
from imagen_jax.data import loading as loading_lib
from imagen_jax.data import pipeline, sources
from imagen_jax.diffusion import conditioning, layouts
from imagen_jax.parallel import partitioning
from imagen_jax.text import cache, encoders, feeds, quantization
from imagen_jax.text import checkpoints as text_checkpoints
from imagen_jax.training import compute as compute_lib
from imagen_jax.training import lora as lora_lib
from imagen_jax.training import objective, optimizers, validation
from imagen_jax.training import state as state_lib
from imagen_jax.training import step as step_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """One training job: one stage, its data and its recipe."""

  stage: stages.Stage
  data: sources.Source
  pictures: pipeline.Pictures
  text: str | None = None  # text directory; None = the shipped tiny T5
  cache: str | None = None  # of embeddings (`embed`); None = encode inline
  encoder_id: str | None = None  # that the cache must have; None = that of text
  init_from: str | None = None  # stage directory to start from; None = random
  fresh: str | None = None  # regex of paths that init_from leaves; None = none
  freeze: str | None = None  # regex of parameters' paths that stay; None = none
  lora: lora_lib.LoRA | None = None  # train small factors alone; None = off
  optimizer: optimizers.Adam | optimizers.Adafactor | optimizers.Muon = (
    optimizers.Adam()
  )
  learning_rate: optimizers.LearningRate = optimizers.LearningRate()
  clip: float | None = 1.0  # global gradient norm; None = off
  batch_size: int = 2048  # pictures, over all devices
  steps: int = 2_500_000  # updates
  seed: int = 0  # of initialisation, data and noise
  caption_dropout: float = 0.1  # share of examples trained without text
  # Of the noise on the low-resolution picture. 1 is the paper's; less is enough
  # where sampling adds little, and small networks have more to give there.
  max_aug_level: float = 1.0
  # Widest Gaussian blur of the low-resolution picture, standard deviation in
  # its pixels: what a stage before draws is softer than a picture made small.
  low_res_blur: float = 0.0
  # Share of examples whose caption is told but not their layout, so that a
  # stage with layouts can still draw without one.
  layout_dropout: float = 0.0
  ema_decay: float = 0.9999  # ramped up from 0.1
  mesh: partitioning.MeshConfig = partitioning.MeshConfig()
  compute: compute_lib.Compute = compute_lib.Compute()
  # Steps in a row whose gradients may be not finite: they change nothing. One
  # more ends the run; 0 = the first one ends it.
  max_skipped: int = 0
  watchdog_seconds: int = 900  # without a step until it is told; 0 = never
  profile_steps: tuple[int, int] | None = None  # first, end; None = no trace
  wandb: str | None = None  # project of Weights & Biases; None = not there
  log_every: int = 100  # steps
  validate_every: int = 2_000  # steps
  validation_batches: int = 8  # of batch_size pictures
  sample_every: int = 5_000  # steps
  preview_prompts: int = 8  # captions of the validation split drawn then
  checkpoint_every: int = 2_000  # steps
  keep: int = 2  # newest checkpoints kept
  keep_every: int = 0  # steps whose checkpoints are kept too; 0 = none
  keep_best: int = 0  # by validation loss kept too, where both are due at once
  # Resume though settings differ that make it another run; shapes must fit.
  allow_changes: bool = False
  loading: loading_lib.Loading = loading_lib.Loading()

  def __post_init__(self):
    checks.require_within(
      self,
      clip=(1e-6, math.inf),
      steps=(1, math.inf),
      seed=(0, 2**32 - 1),
      caption_dropout=(0, 1),
      max_aug_level=(0, 1),
      layout_dropout=(0, 1),
      low_res_blur=(0, conditioning.MAX_BLUR),
      ema_decay=(0, 1),
      max_skipped=(0, math.inf),
      watchdog_seconds=(0, math.inf),
      log_every=(0, math.inf),
      validate_every=(0, math.inf),
      validation_batches=(1, math.inf),
      sample_every=(0, math.inf),
      preview_prompts=(1, math.inf),
      checkpoint_every=(0, math.inf),
      keep=(1, math.inf),
      keep_every=(0, math.inf),
      keep_best=(0, math.inf),
    )
    checks.require_regex(self.fresh, 'TrainConfig.fresh')
    checks.require_regex(self.freeze, 'TrainConfig.freeze')
    if stages.is_if(self.stage):
      raise ValueError(
        f'stage {self.stage.name} is of the IF kind, which is sampled and '
        'exported but not trained here; train a unet or an efficient_unet'
      )
    p = self.pictures
    if p.resolution != self.stage.resolution:
      raise ValueError(
        f'pictures.resolution {p.resolution} differs from stage.resolution '
        f'{self.stage.resolution}; set both alike'
      )
    if self.lora is not None and self.freeze is not None:
      raise ValueError(
        f'freeze {self.freeze!r} and lora are both given; LoRA freezes all of '
        'the network already: leave one out'
      )
    if self.low_res_blur and self.stage.low_res is None:
      raise ValueError(
        f'low_res_blur {self.low_res_blur} is set, but stage {self.stage.name} '
        'has no low-resolution picture; leave it 0'
      )
    factor = self.stage.low_res and self.stage.resolution // self.stage.low_res
    if p.low_res_factor != factor:
      raise ValueError(
        f'pictures.low_res_factor {p.low_res_factor} does not fit stage '
        f'{self.stage.low_res} -> {self.stage.resolution}; use {factor}'
      )

  @property
  def is_frozen(self):
    """A function of a parameter's path: is it left alone? None = none is."""
    if self.lora is not None:
      return lambda path: not path.startswith(f'{lora_lib.KEY}/')
    if self.freeze is not None:
      return lambda path: re.search(self.freeze, path) is not None
    return None

  @property
  def stacked(self):
    """Whether equal leaves are updated at once, as equal blocks are scanned."""
    each = isinstance(self.optimizer, optimizers.LEAF_BY_LEAF)
    return self.compute.scan and each and self.is_frozen is None


def make_state(config, mesh, make=state_lib.create):
  """What `make` (create or describe) gives for the job's train state.

  Returns (state, its shardings, the optimizer).
  """
  optimizer = optimizers.make(
    config.optimizer,
    config.learning_rate,
    config.clip,
    config.is_frozen,
    stacked=config.stacked,
  )

  def init(key):
    params = stages.init_params(config.stage, key)
    if config.lora is None:
      return params
    return lora_lib.with_factors(
      config.lora, params, jax.random.fold_in(key, 1)
    )

  state, shardings = make(
    init,
    optimizer,
    mesh,
    config.mesh,
    jax.random.key(config.seed),
  )
  return state, shardings, optimizer


def describe(config):
  """What `--dry_run` prints: the stage and its parameter count."""
  count = state_lib.count(stages.param_shapes(config.stage))
  remark = check_text(config)
  return (
    f'{config.stage.name}: {count:,} parameters, '
    f'{config.steps:,} steps of {config.batch_size}{remark}'
  )


def check_text(config):
  """Raises ValueError where the text is not what the stage expects.

  Reads no weights. Returns a remark where there is nothing to read: a job may
  be looked at on another machine than it will run on.
  """
  stage, where = config.stage, config.cache or config.text
  if where is None:  # the shipped encoder, or one that is named later
    return ''
  try:
    if config.cache is not None:
      manifest = cache.read_manifest(config.cache)
      found = manifest.width, manifest.max_length
    else:
      found = text_checkpoints.size_of(config.text, stage.max_length)
  except (ValueError, OSError) as e:
    return f'\nnot checked: the text of {where} cannot be read here ({e})'
  expected = stage.text_width, stage.max_length
  feeds.check_fits(stage.name, expected, found, where)
  return ''


def with_text(batch, encoder_config, encoder_params):
  """Adds the frozen encoder's embeddings [b, l, d] of the batch's tokens.

  A batch from a cache has them already; it needs no encoder.
  """
  if 'codes' in batch:
    coded = [batch[name] for name in ('codes', 'scales', 'divisors')]
    return {**batch, 'text': quantization.dequantize(*coded)}
  if 'text' in batch:
    return {**batch, 'text': batch['text'].astype(jnp.float32)}
  text = encoders.embed(
    encoder_config, encoder_params, batch['tokens'], batch['mask']
  )
  return {**batch, 'text': jax.lax.stop_gradient(text)}


def batch_shapes(config, mesh):
  """Shapes of a global batch whose text comes from a cache, sharded."""
  stage, pictures = config.stage, config.pictures
  side = pictures.crop or pictures.resolution
  shapes = {
    'image': ((side, side, 3), jnp.uint8),
    'text': ((stage.max_length, stage.text_width), jnp.bfloat16),
    'mask': ((stage.max_length,), jnp.bool_),
  }
  if pictures.low_res_factor is not None:
    side //= pictures.low_res_factor
    shapes['low_res'] = ((side, side, 3), jnp.uint8)
  if stage.layout is not None:
    shapes['boxes'] = ((stage.layout.boxes, layouts.NUMBERS), jnp.float32)
  sharding = partitioning.batch_sharding(mesh)
  return {
    name: jax.ShapeDtypeStruct(
      (config.batch_size, *shape), dtype, sharding=sharding
    )
    for name, (shape, dtype) in shapes.items()
  }


def make_train_step(config, optimizer, encoder_config, mesh, shardings):
  """The jitted (state, encoder_params, batch) -> (state, metrics)."""

  def embed(encoder_params, batch):
    return with_text(batch, encoder_config, encoder_params)

  return step_lib.make_train_step(config, optimizer, embed, mesh, shardings)


def make_validation_loss(config, encoder_config):
  """The jitted (params, encoder_params, batch, k, drop) -> loss, fixed noise.

  With `drop` no example is told its caption.
  """
  apply = stages.network(config.stage).apply

  def loss(params, encoder_params, batch, k, drop):
    batch = with_text(batch, encoder_config, encoder_params)
    noise = validation.fixed_noise(batch, k, drop, config.max_aug_level)
    losses = objective.example_losses(config.stage, apply, params, batch, noise)
    return jnp.mean(losses)

  return jax.jit(loss)
