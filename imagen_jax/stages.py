"""A stage of the cascade and the directory that holds it.

A stage is one diffusion model of the cascade (section 2.4 of the paper): a
network, a noise schedule, what the network predicts, what it is conditioned on
and how it is best sampled. A *stage directory* holds all of that:

  stage.json         the `Stage` below, field by field
  model.safetensors  the (EMA) weights, named by their path in the tree

`sample` needs nothing else; `train` writes one beside each kept checkpoint.
"""

import dataclasses
import functools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from imagen_jax import fields as field_types
from imagen_jax import weights
from imagen_jax.diffusion import schedules
from imagen_jax.models import efficient_unet, unet
from imagen_jax.models import execution as execution_lib

FORMAT_VERSION = 1
CONFIG_FILE = 'stage.json'
WEIGHTS_FILE = 'model.safetensors'
TEXT_WEIGHTS = 'text_weights'  # metadata: checksum of the encoder's weights
MAX_STEPS = 4096  # of a sampler; more is surely a slip

SAMPLERS = ('ddpm', 'ddim', 'dpmpp_2m', 'dpmpp_2m_sde', 'heun')
GRIDS = ('time', 'logsnr', 'karras')
THRESHOLDS = ('dynamic', 'static', 'none')
# The kinds a stage.json may name, spelt out so that grep finds every use.
_MODELS = {
  'unet': unet.UNetConfig,
  'efficient_unet': efficient_unet.EfficientUNetConfig,
}
_SCHEDULES = {
  'cosine': schedules.Cosine,
  'linear_beta': schedules.LinearBeta,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """How a stage is sampled unless the user says otherwise."""

  sampler: str = 'dpmpp_2m'  # one of SAMPLERS
  steps: int = 32  # of the sampler, a network call each ('heun': two)
  grid: str = 'time'  # what the steps divide evenly, one of GRIDS
  guidance: float = 5.0  # weight w of section 2.2; 1 = off
  guidance_range: tuple[float, float] | None = None  # logsnr; None = all
  oscillate_from: int | None = None  # step; then every other w is 1; None = off
  rescale: float = 0.0  # share of guidance's contrast taken back, in [0, 1]
  in_turn: bool = False  # text and no text one by one: slower, half the memory
  threshold: str = 'dynamic'  # one of THRESHOLDS
  percentile: float = 99.5  # of |x0|, in percent, for dynamic thresholding
  cap: float | None = None  # of dynamic thresholding's scale; None = no bound
  aug_level: float = 0.1  # noise on the low-res picture; unused by the base
  gamma: float = 0.3  # log-variance interpolation of 'ddpm', in [0, 1]
  eta: float = 0.0  # noise of 'ddim', 0 = deterministic to 1 = as 'ddpm'
  batch: int = 4  # pictures in one compiled call, padded
  # Pixels of the low-res picture by which its border is continued on each side
  # while the stage draws; cut off again. For a stage that learned from crops.
  margin: int = 0

  def __post_init__(self):
    whole = field_types.fits(self.steps, int)
    if not whole or not 1 <= self.steps <= MAX_STEPS:
      raise ValueError(
        f'steps is {self.steps}; it must be a whole number from 1 to '
        f'{MAX_STEPS}'
      )
    if not field_types.fits(self.batch, int) or self.batch < 1:
      raise ValueError(f'batch is {self.batch}; it must be at least 1')
    if not field_types.fits(self.margin, int) or not 0 <= self.margin <= 64:
      raise ValueError(
        f'margin is {self.margin}; it must be a whole number from 0 to 64'
      )
    for name, known in (
      ('sampler', SAMPLERS),
      ('grid', GRIDS),
      ('threshold', THRESHOLDS),
    ):
      if getattr(self, name) not in known:
        raise ValueError(
          f'{name} {getattr(self, name)!r} is not one of {known}'
        )
    for name, fits, wanted in (
      ('guidance', 0 <= self.guidance < math.inf, 'be 0 or more (1 = off)'),
      ('aug_level', 0 <= self.aug_level <= 1, 'lie in [0, 1]'),
      ('gamma', 0 <= self.gamma <= 1, 'lie in [0, 1]'),
      ('eta', 0 <= self.eta <= 1, 'lie in [0, 1]'),
      ('rescale', 0 <= self.rescale <= 1, 'lie in [0, 1]'),
      ('cap', self.cap is None or self.cap >= 1, 'be at least 1, or None'),
      (
        'oscillate_from',
        self.oscillate_from is None or self.oscillate_from >= 0,
        'be a step, 0 or more, or None',
      ),
      (
        'guidance_range',
        self.guidance_range is None
        or self.guidance_range[0] <= self.guidance_range[1],
        'rise, from the noisier logsnr to the cleaner',
      ),
      ('percentile', 1 < self.percentile <= 100, 'lie in (1, 100]'),
    ):
      if not fits:
        raise ValueError(f'{name} is {getattr(self, name)}; it must {wanted}')


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
  sampling: Sampling = Sampling()

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
    not field_types.fits(n, int) or n < step or n % step for n in size
  ):
    raise ValueError(
      f'the size is {" x ".join(map(str, size[::-1]))} (width x height); at '
      f'{last} px this cascade draws multiples of {step}'
    )
  return [tuple(n * s.resolution // last for n in size) for s in stages]


def to_json(stage):
  """`stage` as a JSON-able dict."""
  fields = dataclasses.asdict(stage)
  for key, kinds in (('model', _MODELS), ('schedule', _SCHEDULES)):
    kind = next(k for k, c in kinds.items() if type(getattr(stage, key)) is c)
    fields[key] = {'kind': kind, **fields[key]}
  return {'format_version': FORMAT_VERSION, **fields}


def from_json(fields, where=CONFIG_FILE):
  """The inverse of `to_json`; raises ValueError naming what does not fit."""
  fields = _table(fields, where)
  version = fields.pop('format_version', None)
  if version != FORMAT_VERSION:
    raise ValueError(
      f'{where}: format_version {version}, this release reads '
      f'{FORMAT_VERSION}; update imagen_jax or export the stage again'
    )
  for key, kinds in (('model', _MODELS), ('schedule', _SCHEDULES)):
    value = _table(fields.get(key, {}), f'{where}: {key}')
    kind = value.pop('kind', None)
    if not isinstance(kind, str) or kind not in kinds:
      raise ValueError(f'{where}: {key} kind {kind!r}, not one of {[*kinds]}')
    fields[key] = field_types.build(kinds[kind], value, f'{where}: {key}')
  sampling = _table(fields.get('sampling', {}), f'{where}: sampling')
  fields['sampling'] = field_types.build(
    Sampling, sampling, f'{where}: sampling'
  )
  return field_types.build(Stage, fields, where)


def _table(fields, where):
  """A copy of a JSON object; ValueError where it is something else."""
  if not isinstance(fields, dict):
    raise ValueError(f'{where} is {fields!r} and no table; export it again')
  return dict(fields)


def write(directory, stage, params, dtype=np.float32, metadata=None):
  """Writes a stage directory; each file is replaced atomically.

  One work directory trains one stage, so that a crash between the two files
  leaves a config and weights that still belong together.
  """
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  weights.save_json(directory / CONFIG_FILE, to_json(stage))
  weights.save(directory / WEIGHTS_FILE, params, dtype, metadata)


def read_config(directory):
  """The `Stage` in a stage directory, without its weights."""
  path = pathlib.Path(directory) / CONFIG_FILE
  fields = weights.load_json(
    path,
    f'{path} is missing: {directory} is no stage directory; give the '
    "'stage' directory inside a training work directory",
  )
  return from_json(fields, str(path))


def read(directory):
  """A stage directory -> (Stage, params); names and shapes are the caller's.

  Raises ValueError with a one-line remedy for a missing or damaged file.
  """
  stage = read_config(directory)
  return stage, weights.load(pathlib.Path(directory) / WEIGHTS_FILE)
