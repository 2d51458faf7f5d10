"""Writes a stage of the DeepFloyd IF kind as diffusers has it.

  python -m imagen_jax.export_diffusers --stage=DIR --out=DIR

--out becomes the directory of a pipeline that stock diffusers loads: unet/, the
schedulers and model_index.json. The text encoder is not copied; give the
pipeline embeddings, or text_encoder= and tokenizer= of the one it was trained
with.
"""

import pathlib

import ml_dtypes
import numpy as np

from imagen_jax.config import command, flags
from imagen_jax.sampling import manifests
from imagen_jax.stages import diffusers

DTYPES = {
  'float32': np.float32,
  'float16': np.float16,
  'bfloat16': ml_dtypes.bfloat16,
}


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.export_diffusers',
    description='Writes a stage of the DeepFloyd IF kind as diffusers has it.',
    allow_abbrev=False,
  )
  add = p.add_argument
  add(
    '--stage',
    required=True,
    metavar='DIR',
    help='stage directory, such as stage_64 of a cascade (no default)',
  )
  add(
    '--out',
    required=True,
    metavar='DIR',
    help="the pipeline's directory to make (no default)",
  )
  add(
    '--dtype',
    choices=DTYPES,
    default='float32',
    help='type of the weights (default: float32)',
  )
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    out = pathlib.Path(args.out)
    if out.exists():
      raise ValueError(f'--out={out} exists; give another, or remove it')
    with manifests.appearing(out) as fresh:
      stage = diffusers.write_theirs(fresh, args.stage, DTYPES[args.dtype])
  except (ValueError, OSError) as e:
    return flags.failed(e, args.out)
  print(f'{out}: {stage.name} for diffusers')
  return 0


if __name__ == '__main__':
  command.run(main)
