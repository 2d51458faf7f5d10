"""A work directory as a training run leaves it, made without training."""

import json

import numpy as np

from imagen_jax.files import pictures
from imagen_jax.training import noise_levels

CONFIG = """from imagen_jax import train

# Parameters for optimizers.LearningRate:
optimizers.LearningRate.decay_start = 40
optimizers.LearningRate.decay_steps = 60
optimizers.LearningRate.peak = 0.02
optimizers.LearningRate.warmup = 10

# Parameters for train.TrainConfig:
train.TrainConfig.batch_size = 16
train.TrainConfig.learning_rate = @optimizers.LearningRate()
train.TrainConfig.steps = 100
MODEL/unet.UNetConfig.widths = \\
    (64,
     128)
text = '<b>not bold</b>'
"""


def make(path, *, reports=50, config=CONFIG, **more):
  """Writes metrics, configuration and samples; `more` goes into each row."""
  path.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(0)
  rows = []
  for step in range(2, 2 * reports + 1, 2):
    loss = 1 / step + 0.01 * rng.random()
    levels = {
      f'loss_logsnr_{name}': loss * (1 + i)
      for i, name in enumerate(noise_levels.NAMES)
    }
    rows.append(
      {'step': step, 'time': 1e9 + 60.0 * step, 'loss': loss}
      | {'images_per_second': 20.0, 'tflops_per_second': 0.5}
      | {'caption_gap': 0.1 / step, 'skipped': 0.0, 'grad_norm': loss}
      | levels
      | more
    )
    if step % 20 == 0:
      rows.append({'step': step, 'time': 1e9, 'validation_loss': loss})
  lines = ''.join(json.dumps(row) + '\n' for row in rows)
  (path / 'metrics.jsonl').write_text(lines)
  if config:
    (path / 'config.gin').write_text(config)
  (path / 'samples').mkdir(exist_ok=True)
  (path / 'samples' / 'captions.json').write_text('["a <fox>", "two keys"]')
  for step in range(10, 101, 10):
    image = np.full([40, 20, 3], step, np.uint8)
    pictures.write_png(path / 'samples' / f'step_{step:08d}.png', image, {})
  return path
