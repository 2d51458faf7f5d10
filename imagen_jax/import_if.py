"""Makes a cascade directory of DeepFloyd IF's stages, from diffusers' layout.

  python -m imagen_jax.import_if --stage1=DIR --stage2=DIR --out=DIR

Each DIR is the directory of a pipeline as it is downloaded: unet/, scheduler/
and, of the first, text_encoder/ and tokenizer/. Weights may be whole or in
shards, in 32 or 16 bits; they go from file to file one tensor at a time.
"""

import dataclasses
import pathlib

import ml_dtypes
import numpy as np

from imagen_jax import stages as stages_lib
from imagen_jax.config import command, flags
from imagen_jax.files import remote, tensors, weights
from imagen_jax.sampling import manifests
from imagen_jax.stages import chains, diffusers
from imagen_jax.text import encoders, huggingface, tokenizer_files

TEXT = 'text'  # the text directory's name inside the cascade directory
DTYPES = {
  'float32': np.float32,
  'float16': np.float16,
  'bfloat16': ml_dtypes.bfloat16,
}
LICENCE = (
  'DeepFloyd IF License Agreement: research purposes only; see the LICENSE '
  'beside the published weights'
)


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.import_if',
    description="Makes a cascade directory of DeepFloyd IF's stages.",
    allow_abbrev=False,
  )
  add = p.add_argument
  add(
    '--stage1',
    required=True,
    metavar='DIR',
    help='the base, such as IF-I-XL-v1.0 (no default)',
  )
  add(
    '--stage2',
    metavar='DIR',
    help='super-resolution, such as IF-II-L-v1.0 (default: none)',
  )
  add(
    '--stage3',
    metavar='DIR',
    help='a super-resolution stage directory of this package that goes on '
    'from there, with text of the same encoder (default: none)',
  )
  add(
    '--text',
    metavar='DIR',
    help='directory with text_encoder/ and tokenizer/ (default: that of '
    '--stage1)',
  )
  add(
    '--out',
    required=True,
    metavar='DIR',
    help='the cascade directory to make (no default)',
  )
  add(
    '--replace',
    action='store_true',
    help='replace the cascade directory in --out (default: an error if it '
    'exists)',
  )
  add(
    '--variant',
    metavar='NAME',
    help='of the weights, such as fp16 (default: the best that is there)',
  )
  add(
    '--dtype',
    choices=DTYPES,
    default='float32',
    help='type of the weights in --out; 16 bits halve the files (default: '
    'float32)',
  )
  add(
    '--compute',
    choices=('float32', 'bfloat16'),
    default='float32',
    help='type that the networks compute in; bfloat16 on a TPU or a GPU '
    '(default: float32)',
  )
  add(
    '--licence',
    metavar='TEXT',
    default=LICENCE,
    help='of the weights, kept in the manifest and told by sample (default: '
    'that of the published ones)',
  )
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    manifest = import_if(
      args.stage1,
      args.stage2,
      args.stage3,
      args.text or args.stage1,
      args.out,
      replace=args.replace,
      variant=args.variant,
      dtype=args.dtype,
      compute=args.compute,
      licence=args.licence,
    )
  except (ValueError, OSError) as e:
    return flags.failed(e, args.out)
  print(f'{args.out}: cascade {manifest.id} of {len(manifest.stages)} stages')
  print(f'licence: {manifest.licence}')
  return 0


def import_if(
  stage1,
  stage2,
  stage3,
  text,
  out,
  *,
  replace=False,
  variant=None,
  dtype='float32',
  compute='float32',
  licence=LICENCE,
):
  """Makes the cascade directory `out`; returns its manifest.

  Raises ValueError with one line and the remedy.
  """
  out = pathlib.Path(out)
  manifests.check_out(out, replace)
  read = [_stage(stage1, '--stage1', variant, compute)]
  if stage2 is not None:
    base = read[0][0].resolution
    read.append(_stage(stage2, '--stage2', variant, compute, base))
  if stage3 is not None:
    read.append(_own_stage(stage3))
  chains.check([stage for stage, _ in read])
  encoder = _text(text, variant)
  config, _, tokenizer = encoder
  for stage, _ in read:
    chains.check_text([stage], config.width, tokenizer.max_length, as_if=True)
  with manifests.appearing(out) as fresh:
    names = [f'stage_{stage.resolution}' for stage, _ in read]
    for name, (stage, found) in zip(names, read):
      diffusers.write_ours(fresh / name, stage, found, DTYPES[dtype])
    config, found, tokenizer = encoder
    encoders.save_streamed(
      fresh / TEXT, config, found, tokenizer, as_if=True, dtype=DTYPES[dtype]
    )
    manifest = manifests.make(
      fresh, stages=names, text=TEXT, words=None, licence=licence
    )
    weights.save_json(fresh / manifests.FILE, manifests.to_json(manifest))
  return manifest


def _stage(source, flag, variant, compute, low_res=None):
  """(Stage, tensors) of the pipeline given as --stage1 or --stage2."""
  stage, found = diffusers.read(source, variant=variant, low_res=low_res)
  wanted = flag == '--stage2'
  if (stage.low_res is not None) != wanted:
    kinds = 'a base', 'a super-resolution stage'
    raise ValueError(
      f'{flag}={source} is {kinds[not wanted]}, not {kinds[wanted]}; give it '
      f'as {"--stage1" if wanted else "--stage2"}'
    )
  model = dataclasses.replace(stage.model, dtype=compute)
  return dataclasses.replace(stage, model=model), found


def _own_stage(source):
  """(Stage, tensors) of a stage directory of this package."""
  stage = stages_lib.read_config(source)
  if stage.low_res is None:
    raise ValueError(
      f'--stage3={source} is a base; give a super-resolution stage'
    )
  found = stages_lib.read_tensors(source)
  shapes = weights.flatten(stages_lib.param_shapes(stage))
  shapes = {name: leaf.shape for name, leaf in shapes.items()}
  tensors.check(found, shapes, str(source), 'network')
  return stage, found


def _text(source, variant):
  """(config, tensors, tokenizer) of a pipeline's text encoder."""
  folder = remote.folder(source)
  missing = {'text_encoder', 'tokenizer'} - set(folder.names())
  if missing:
    raise ValueError(
      f'--text={source} has no {" and no ".join(sorted(missing))}; give the '
      'directory of a pipeline with them, such as IF-I-XL-v1.0'
    )
  config, found = huggingface.read(folder.child('text_encoder'), variant)
  tokenizer = tokenizer_files.find(
    None, folder.child('tokenizer'), config, diffusers.MAX_LENGTH
  )
  return config, found, tokenizer


if __name__ == '__main__':
  command.run(main)
