"""A leaf of a tiny base, for tests that run the real command.

leaf = tiny_leaf.write(directory)     two devices by its mesh
"""

from imagen_jax.text import encoders
from tests.support import tiny_cascade

_LEAF = """
from __gin__ import dynamic_registration
from imagen_jax.training import jobs
from imagen_jax.parallel import partitioning
from imagen_jax import stages
from imagen_jax.data import pipeline
from imagen_jax.diffusion import schedules
from imagen_jax.models import unet
from imagen_jax.training import optimizers

stages.Stage:
  name = 'tiny'
  resolution = 8
  schedule = @schedules.Cosine()
  model = @unet.UNetConfig()
  text_width = {width}
  max_length = {length}
  sampling = @stages.Sampling()
unet.UNetConfig:
  resolution = 8
  widths = (8, 8)
  embedding_width = 8
  text_width = {width}
  groups = 2
  blocks = (1, 1)
  attention = (4,)
  head_width = 4
  text_projection = 8
pipeline.Pictures.resolution = 8
partitioning.MeshConfig:
  data = 1
  fsdp = 2
  replicate_below = 0
optimizers.LearningRate.warmup = 1
jobs.TrainConfig:
  stage = @stages.Stage()
  data = @pipeline.EmojiScenes()
  pictures = @pipeline.Pictures()
  mesh = @partitioning.MeshConfig()
  learning_rate = @optimizers.LearningRate()
  batch_size = 4
  steps = 100000
  text = '{text}'
  log_every = 1
  validate_every = 0
  sample_every = 0
  checkpoint_every = 0
"""


def write(directory):
  """Writes the leaf and its text encoder; its path."""
  encoders.save(directory / 'text', tiny_cascade.encoder(directory))
  leaf = directory / 'leaf.gin'
  leaf.write_text(
    _LEAF.format(
      text=directory / 'text',
      width=tiny_cascade.WIDTH,
      length=tiny_cascade.LENGTH,
    )
  )
  return leaf
