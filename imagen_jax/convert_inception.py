"""Converts the published weights of FID's InceptionV3, once.

  python -m imagen_jax.convert_inception --source=FILE.pth --out=FILE

The file of pytorch-fid or of torch-fidelity (their names end in
2015-12-05-6726825d.pth and hold the same weights) becomes safetensors: the
constants of batch normalisation go into the convolutions, kernels lie as
[h, w, in, out], the offset of the logits is left out. Nothing but this needs
torch, which reads weights alone and runs no code of the file.
"""

import pathlib

import numpy as np

from imagen_jax.config import command, flags
from imagen_jax.evaluation import inception_features
from imagen_jax.files import weights
from imagen_jax.models import inception
from imagen_jax.sampling import manifests

EPSILON = 1e-3  # of batch normalisation
_NORM = ('weight', 'bias', 'running_mean', 'running_var')


def parser():
  """The command line."""
  p = flags.Parser(
    prog='python -m imagen_jax.convert_inception',
    description="Converts the published weights of FID's InceptionV3.",
    allow_abbrev=False,
  )
  p.add_argument(
    '--source',
    required=True,
    metavar='FILE',
    help='the .pth file of pytorch-fid or torch-fidelity (no default)',
  )
  p.add_argument(
    '--out',
    metavar='FILE',
    default='inception.safetensors',
    help='file to write (default: inception.safetensors)',
  )
  return p


def main(argv=None):
  """Runs the command line; returns the exit code, 2 for bad input."""
  args = parser().parse_args(argv)
  try:
    params = convert(read(args.source))
    about = {
      'format': inception_features.FORMAT,
      'source_sha256': manifests.sha256(args.source),
    }
  except (ValueError, OSError) as e:
    return flags.failed(e)
  try:
    weights.save(args.out, params, metadata=about)
  except (ValueError, OSError) as e:
    return flags.failed(e, args.out)
  network = inception_features.encoders.weights_sha256(params)
  print(f'source   {args.source}, sha256 {about["source_sha256"]}')
  print(f'network  {network}')
  print(f'written  {args.out}')
  return 0


def read(path) -> dict[str, np.ndarray]:
  """The tensors of a .pth file by their names."""
  if not pathlib.Path(path).is_file():
    raise ValueError(f'{path} does not exist; give the .pth file as --source')
  try:
    import torch  # in an extra: only conversion needs it
  except ImportError as e:
    raise ValueError(
      f"reading {path} takes torch, once: pip install 'imagen-jax[inception]'"
    ) from e
  try:
    state = torch.load(path, map_location='cpu', weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items()}
  except Exception as e:  # torch raises what it likes
    raise ValueError(
      f'{path} holds no tensors that torch can read ({type(e).__name__}); '
      'download it again'
    ) from e


def convert(state: dict[str, np.ndarray]) -> dict:
  """Tensors by their names in torch -> a tree of ours; strict both ways."""
  left = {k: v for k, v in state.items() if not k.endswith('batches_tracked')}

  def take(name):
    if name not in left:
      raise ValueError(
        f'{name} is missing: these are not the weights that FID uses'
      )
    return np.asarray(left.pop(name), np.float64)

  flat = {}
  for name, shape in weights.flatten(inception.param_shapes()).items():
    module, leaf = name.rsplit('.', 1)
    if leaf != 'kernel':
      continue
    if module == 'fc':
      flat[name] = take('fc.weight').T
      take('fc.bias')
    else:
      kernel = take(f'{module}.conv.weight')
      scale, bias, mean, variance = (take(f'{module}.bn.{x}') for x in _NORM)
      scale = scale / np.sqrt(variance + EPSILON)
      flat[name] = kernel.transpose(2, 3, 1, 0) * scale
      flat[f'{module}.bias'] = bias - mean * scale
    if flat[name].shape != shape:
      raise ValueError(
        f'{name} is {flat[name].shape}, it should be {shape}: these are not '
        'the weights that FID uses'
      )
  if left:
    raise ValueError(
      f'{min(left)} is left over (and {len(left) - 1} more): these are not the '
      'weights that FID uses'
    )
  return weights.unflatten(
    {k: np.ascontiguousarray(v, np.float32) for k, v in flat.items()}
  )


if __name__ == '__main__':
  command.run(main)
