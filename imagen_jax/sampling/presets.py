"""Named settings of all stages: how much time a picture is worth.

Section 2.2 to 2.4 of the paper name solvers, not settings; its authors' later
work takes 256 ancestral steps for the base and 128 for super-resolution.

  paper  the paper's sampler at its numbers of steps
  fast   a second-order solver, as good to the eye
  draft  a look at what comes: for trying sentences, and for sweeps

What they leave out, guidance above all, is the stage's own. A cascade directory
may hold presets.json, found by a sweep, with other settings for some names:

  {"fast": [{"steps": 16, "guidance": 2.0}, {"steps": 4}, {"steps": 2}]}
"""

import pathlib

from imagen_jax.config import checks
from imagen_jax.files import json_files
from imagen_jax.stages import entries
from imagen_jax.stages import settings as settings_lib

FILE = 'presets.json'
_SOLVER = {'sampler': 'dpmpp_2m', 'grid': 'time'}
_ANCESTRAL = {'sampler': 'ddpm', 'grid': 'time'}
# For the base and the two super-resolution stages.
PRESETS = {
  'paper': tuple(_ANCESTRAL | {'steps': n} for n in (256, 128, 32)),
  'fast': tuple(_SOLVER | {'steps': n} for n in (16, 4, 2)),
  'draft': tuple(_SOLVER | {'steps': n} for n in (8, 2, 1)),
}


def settings(name, num_stages, own):
  """The settings of each stage, dicts; empty ones for the name None.

  Args:
    name: of a preset.
    num_stages: of the cascade.
    own: its own presets, which go before those above.
  """
  if name is None:
    return ({},) * num_stages
  known = PRESETS | dict(own)
  if name not in known:
    raise ValueError(
      f'preset {name!r} is not one of {", ".join(known)}; take one of these'
    )
  return known[name][:num_stages]


def read(directory, num_stages):
  """presets.json of a cascade directory: name -> settings of each stage.

  None is {}. Raises ValueError naming what does not fit; whether a solver
  exists or a number is possible, `stages.Sampling` says when it is used.
  """
  path = pathlib.Path(directory) / FILE
  if not path.is_file():
    return {}
  found = json_files.read(path, f'{path} cannot be read')
  if not isinstance(found, dict):
    raise ValueError(f'{path} holds no table of presets; write it again')
  for name, stages in found.items():
    if not isinstance(stages, list) or len(stages) != num_stages:
      raise ValueError(
        f'{path}: {name} is no list with one table for each of the '
        f'{num_stages} stages; write it again'
      )
  return {
    name: tuple(_taken(stage, f'{path}: {name}') for stage in stages)
    for name, stages in found.items()
  }


def _taken(stage, where):
  """A table of a preset as `Cascade.plan` takes it; null asks for none."""
  known = settings_lib.offered()
  if not isinstance(stage, dict) or set(stage) - set(known):
    raise ValueError(
      f'{where} holds {stage!r}, not a table of some of {", ".join(known)}; '
      'write it again'
    )
  for name, value in stage.items():
    setting = settings_lib.SETTINGS[name]
    checks.require(setting.taken(value), setting.kind, f'{where}: {name}')
  return {k: entries.OFF if v is None else v for k, v in stage.items()}
