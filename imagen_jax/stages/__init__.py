"""The stages of a cascade: what one is, how it is sampled, where it is kept.

from imagen_jax import stages
stage, params = stages.read('runs/scenes_64/stage')

A stage is one diffusion model of the cascade (section 2.4 of the paper). This
is the face of the folder; `chains` tells what must hold between stages.
"""

from imagen_jax.stages import directory, settings
from imagen_jax.stages import stage as stage_lib

CONFIG_FILE = directory.CONFIG_FILE
FORMAT_VERSION = directory.FORMAT_VERSION
TEXT_WEIGHTS = directory.TEXT_WEIGHTS
WEIGHTS_FILE = directory.WEIGHTS_FILE
from_json = directory.from_json
read = directory.read
read_config = directory.read_config
to_json = directory.to_json
write = directory.write

GRIDS = settings.GRIDS
MAX_STEPS = settings.MAX_STEPS
SAMPLERS = settings.SAMPLERS
THRESHOLDS = settings.THRESHOLDS
SETTINGS = settings.SETTINGS
Sampling = settings.Sampling

Stage = stage_lib.Stage
edge = stage_lib.edge
example_inputs = stage_lib.example_inputs
init_params = stage_lib.init_params
network = stage_lib.network
param_shapes = stage_lib.param_shapes
picture_sizes = stage_lib.picture_sizes
text_context = stage_lib.text_context
