"""A training job of a tiny stage on pictures made of two colours, for tests."""

import dataclasses

import numpy as np

from imagen_jax import train
from imagen_jax.data import pipeline
from imagen_jax.diffusion import schedules
from imagen_jax.training import optimizers
from tests.support import tiny_cascade


class Source:
  """Pictures of one colour above another; endless."""

  def __len__(self):
    raise TypeError('endless')

  def example(self, index, resolution, crop=None):
    rng = np.random.default_rng(index)
    image = np.zeros([resolution, resolution, 3], np.uint8)
    image[:] = rng.integers(0, 256, 3)
    image[resolution // 2 :] = rng.integers(0, 256, 3)
    top, left, height, width = crop or (0, 0, resolution, resolution)
    caption = tiny_cascade.CAPTIONS[index % 3]
    return {
      'image': image[top : top + height, left : left + width],
      'caption': caption,
    }

  def scene(self, index):
    return dataclasses.make_dataclass('Scene', ['items'])(items=())

  def caption(self, index):
    return tiny_cascade.CAPTIONS[index % 3]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """Stands where the scenes stand in a real job."""

  name: str = 'two colours'

  def open(self, split):
    return Source()


def config(text, resolution=8, **changes):
  """A job of the tiny base (8) or super-resolution (16) stage."""
  base = resolution == 8
  stage = dataclasses.replace(
    tiny_cascade.stage(resolution), schedule=schedules.Cosine()
  )
  fields = {
    'stage': stage,
    'data': Data(),
    'pictures': pipeline.Pictures(
      resolution=resolution, low_res_factor=None if base else 2
    ),
    'text': str(text),
    'optimizer': optimizers.Adam(),
    'learning_rate': optimizers.LearningRate(peak=1e-3, warmup=4),
    'batch_size': 8,
    'steps': 6,
    'ema_decay': 0.9,
    'log_every': 2,
    'validate_every': 3,
    'validation_batches': 1,
    'sample_every': 6,
    'preview_prompts': 2,
    'checkpoint_every': 3,
  }
  return train.TrainConfig(**(fields | changes))
