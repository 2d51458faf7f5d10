"""What one stage is: a diffusion model of the cascade (section 2.4).

A network, a noise schedule, what the network predicts, what it is conditioned
on and how it is best sampled.
"""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp

from imagen_jax.config import checks
from imagen_jax.diffusion import (
  conditioning,
  discrete,
  layouts,
  process,
  schedules,
)
from imagen_jax.models import efficient_unet, if_unet, unet
from imagen_jax.models import execution as execution_lib
from imagen_jax.stages import settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
  """One model of the cascade: everything that sampling needs but weights."""

  name: str  # of the stage, e.g. 'scenes_64'
  resolution: int  # output height and width, pixels
  model: (
    unet.UNetConfig | efficient_unet.EfficientUNetConfig | if_unet.IFUNetConfig
  )
  schedule: schedules.Cosine | schedules.LinearBeta | discrete.SquaredCosine
  prediction: str = 'v'  # what the network predicts: 'v', 'eps' or 'x0'
  low_res: int | None = None  # pixels of the conditioning picture; None = base
  text_width: int = 4096  # features of one text token
  max_length: int = 128  # text tokens, padded
  layout: layouts.Layout | None = None  # boxes it is told of; None = none
  sampling: settings.Sampling = settings.Sampling()

  def __post_init__(self):
    if not re.fullmatch(r'[\w.-]{0,100}', self.name) or self.name[:1] == '.':
      raise ValueError(
        f'the name of a stage is {self.name[:100]!r}; it must be of letters, '
        'digits, _, - and ., as in scenes_64'
      )
    checks.require_within(self, text_width=(1, 2**20), max_length=(1, 2**20))
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
    self._check_layout()
    low_res = self.low_res
    if low_res is not None and (low_res < 1 or self.resolution % low_res):
      raise ValueError(
        f'stage {self.name}: resolution {self.resolution} is no multiple of '
        f'low_res {low_res}'
      )
    if is_if(self):
      _check_if(self)
    check_sampling(self, self.sampling)

  def _check_layout(self):
    """Raises ValueError where the network cannot be told of the layout."""
    if self.layout is None:
      return
    if not isinstance(self.model, unet.UNetConfig) or self.low_res is not None:
      raise ValueError(
        f'stage {self.name}: a base of the kind UNetConfig alone is told of '
        'layouts; set layout=None'
      )
    if self.layout.cells != self.model.grids[0]:
      raise ValueError(
        f'stage {self.name}: the layout has {self.layout.cells} cells each '
        f"way, the network's finest grid {self.model.grids[0]}; set both alike"
      )


def is_if(stage):
  """Whether the stage is of DeepFloyd IF's kind.

  It predicts eps and its variance in a process of whole times, all its text
  tokens count, and its low-resolution picture is noised when it is enlarged.
  """
  return isinstance(stage.model, if_unet.IFUNetConfig)


def _check_if(stage):
  for name, fits, wanted in (
    ('prediction', stage.prediction == 'eps', "'eps'"),
    (
      'schedule',
      isinstance(stage.schedule, discrete.SquaredCosine),
      'a SquaredCosine',
    ),
    (
      'low_res',
      (stage.low_res is not None) == stage.model.low_res,
      "as the model's: pixels where that is True, else None",
    ),
  ):
    if not fits:
      raise ValueError(
        f'stage {stage.name}: {name} is {getattr(stage, name)!r}; of a stage '
        f'of the IF kind it is {wanted}'
      )


def check_sampling(stage, sampling):
  """Raises ValueError where a stage cannot be sampled like that."""
  edge(stage, sampling)  # checks the margin
  if not isinstance(stage.schedule, discrete.SquaredCosine):
    if settings.times(sampling) is not None:
      raise ValueError(
        f'stage {stage.name}: grid {sampling.grid!r} is of whole times, which '
        f'its schedule has not; take one of {settings.GRIDS}'
      )
  if sampling.gamma is None and not is_if(stage):
    raise ValueError(
      f'stage {stage.name}: gamma is None, but its network learns no variance; '
      'give a number in [0, 1]'
    )


def network(stage, execution=execution_lib.PLAIN):
  """The Flax module of `stage`; how its blocks run is no part of a stage."""
  if isinstance(stage.model, unet.UNetConfig):
    return unet.UNet(stage.model, execution)
  if is_if(stage):
    return if_unet.IFUNet(stage.model, execution, stage.schedule.time)
  return efficient_unet.EfficientUNet(stage.model, execution)


def text_context(stage, params, text, mask):
  """What the network makes of text [b, l, d] and mask [b, l], once for all.

  Give it to the network in the place of the text.
  """
  return network(stage).apply({'params': params}, text, mask, method='context')


def noise_size(stage, low_res_size, size):
  """(h, w) of the noise on a low-resolution picture; see `low_res_inputs`."""
  return size if is_if(stage) else low_res_size


def low_res_inputs(stage, low_res, aug_level, noise, size):
  """What the network is told of the low-resolution picture (section 2.4).

  Args:
    stage: a super-resolution `Stage`.
    low_res: [b, h / f, w / f, 3] in [-1, 1].
    aug_level: [b] in [0, 1].
    noise: [b, *noise_size, 3], standard normal.
    size: (h, w) of the output.
  """
  if is_if(stage):
    aug_logsnr = stage.schedule.at(
      jnp.minimum(aug_level * stage.schedule.steps, stage.schedule.steps - 1)
    )
    up = conditioning.upsample_aligned(low_res, size)
    up = process.add_noise(up, noise, aug_logsnr)
  else:
    low_res, aug_logsnr = conditioning.augment(low_res, aug_level, noise)
    up = conditioning.upsample(low_res, size)
  return {'low_res': up, 'aug_logsnr': aug_logsnr}


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
