"""What one stage is: a diffusion model of the cascade (section 2.4).

A network, a noise schedule, what the network predicts, what it is conditioned
on and how it is best sampled.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from imagen_jax.config import checks
from imagen_jax.diffusion import layouts, schedules
from imagen_jax.models import efficient_unet, unet
from imagen_jax.models import execution as execution_lib
from imagen_jax.stages import settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
  """One model of the cascade: everything that sampling needs but weights."""

  name: str  # of the stage, e.g. 'scenes_64'
  resolution: int  # output height and width, pixels
  model: unet.UNetConfig | efficient_unet.EfficientUNetConfig
  schedule: schedules.Cosine | schedules.LinearBeta
  prediction: str = 'v'  # what the network predicts: 'v', 'eps' or 'x0'
  low_res: int | None = None  # pixels of the conditioning picture; None = base
  text_width: int = 4096  # features of one text token
  max_length: int = 128  # text tokens, padded
  layout: layouts.Layout | None = None  # boxes it is told of; None = none
  sampling: settings.Sampling = settings.Sampling()

  def __post_init__(self):
    if self.prediction not in ('v', 'eps', 'x0'):
      raise ValueError(
        f"prediction must be 'v', 'eps' or 'x0', not {self.prediction!r}"
      )
    if self.model.text_width != self.text_width:
      raise ValueError(
        f'stage {self.name}: text_width {self.text_width} differs from the '
        f"model's {self.model.text_width}; set both to the encoder's width"
      )
    for name in ('keep_mean', 'residual'):
      if getattr(self.model, name, False) and self.prediction != 'x0':
        raise ValueError(
          f'stage {self.name}: a model with {name} predicts x0, not '
          f"{self.prediction!r}; set prediction='x0' or {name}=False"
        )
    if self.model.resolution != self.resolution:
      raise ValueError(
        f'stage {self.name}: resolution {self.resolution} differs from the '
        f"model's {self.model.resolution}; set both alike"
      )
    low_res = self.low_res
    if low_res is not None and (low_res < 1 or self.resolution % low_res):
      raise ValueError(
        f'stage {self.name}: resolution {self.resolution} is no multiple of '
        f'low_res {low_res}'
      )
    edge(self, self.sampling)  # checks the margin


def network(stage, execution=execution_lib.PLAIN):
  """The Flax module of `stage`; how its blocks run is no part of a stage."""
  if isinstance(stage.model, unet.UNetConfig):
    return unet.UNet(stage.model, execution)
  return efficient_unet.EfficientUNet(stage.model, execution)


def text_context(stage, params, text, mask):
  """What the network makes of text [b, l, d] and mask [b, l], once for all.

  Give it to the network in the place of the text.
  """
  return network(stage).apply({'params': params}, text, mask, method='context')


def example_inputs(stage, batch=1, resolution=None):
  """Zeros with the shapes of the network's inputs, to initialise it."""
  r = stage.resolution if resolution is None else resolution
  inputs = {
    'z': jnp.zeros([batch, r, r, 3]),
    'logsnr': jnp.zeros([batch]),
    'text': jnp.zeros([batch, stage.max_length, stage.text_width]),
    'mask': jnp.ones([batch, stage.max_length], bool),
  }
  if stage.low_res is not None:
    inputs |= {
      'low_res': jnp.zeros([batch, r, r, 3]),
      'aug_logsnr': jnp.zeros([batch]),
    }
  if stage.layout is not None:
    cells = stage.layout.cells * r // stage.resolution
    inputs['layout'] = jnp.zeros([batch, cells, cells, stage.layout.channels])
  return inputs


def init_params(stage, key):
  """Random parameters of the stage's network."""
  # Parameters do not depend on the picture's size: initialise on a small one.
  inputs = example_inputs(stage, resolution=min(64, stage.resolution))
  return network(stage).init(key, **inputs)['params']


@functools.lru_cache(maxsize=8)
def param_shapes(stage):
  """What `init_params` would give, as shapes; nothing is computed."""
  return jax.eval_shape(lambda key: init_params(stage, key), jax.random.key(0))


def edge(stage, sampling):
  """Pixels that a stage draws beyond each side of its pictures.

  Raises ValueError where the network does not take such pictures.
  """
  if not sampling.margin or stage.low_res is None:
    return 0
  factor = stage.resolution // stage.low_res
  if 2 * sampling.margin * factor % stage.model.multiple:
    step = math.lcm(stage.model.multiple, 2 * factor) // (2 * factor)
    raise ValueError(
      f'stage {stage.name}: margin is {sampling.margin}; its network takes '
      f'multiples of {step}'
    )
  return sampling.margin * factor


def picture_sizes(stages, size=None):
  """(height, width) at each stage of pictures that end at `size`.

  Args:
    stages: from coarse to fine.
    size: (height, width); None = square, of the last stage's resolution.

  Raises ValueError where a network does not take them.
  """
  last = stages[-1].resolution
  size = (last, last) if size is None else tuple(size)
  # In pixels of the last stage, what every stage needs a multiple of.
  step = math.lcm(
    *(last // s.resolution * s.model.multiple for s in stages),
    last // stages[0].resolution,
  )
  if len(size) != 2 or any(
    not checks.fits(n, int) or n < step or n % step for n in size
  ):
    raise ValueError(
      f'the size is {" x ".join(map(str, size[::-1]))} (width x height); at '
      f'{last} px this cascade draws multiples of {step}'
    )
  return [tuple(n * s.resolution // last for n in size) for s in stages]
