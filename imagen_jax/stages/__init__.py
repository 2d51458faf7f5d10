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
read_tensors = directory.read_tensors
to_json = directory.to_json
write = directory.write

GRIDS = settings.GRIDS
MAX_STEPS = settings.MAX_STEPS
SAMPLERS = settings.SAMPLERS
THRESHOLDS = settings.THRESHOLDS
SETTINGS = settings.SETTINGS
WHOLE_GRIDS = settings.WHOLE_GRIDS
Sampling = settings.Sampling
listed_times = settings.listed_times
times = settings.times

Stage = stage_lib.Stage
check_sampling = stage_lib.check_sampling
edge = stage_lib.edge
example_inputs = stage_lib.example_inputs
init_params = stage_lib.init_params
is_if = stage_lib.is_if
low_res_inputs = stage_lib.low_res_inputs
network = stage_lib.network
noise_size = stage_lib.noise_size
param_shapes = stage_lib.param_shapes
picture_sizes = stage_lib.picture_sizes
text_context = stage_lib.text_context
