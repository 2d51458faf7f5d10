"""Safetensors of a directory: one file, or several that an index lists.

  model.safetensors            model-00001-of-00002.safetensors and so on,
                               model.safetensors.index.json
  model.fp16.safetensors       a variant, here of 16 bits, of either form:
                               model.safetensors.index.fp16.json

`model` is the stem: transformers writes that one, diffusers
`diffusion_pytorch_model`. `.bin` and `.pt` files are pickles and are not
opened.
"""

import re

from imagen_jax.files import json_files, remote, tensors

PICKLES = ('.bin', '.pt', '.pth', '.ckpt')
_BETTER = ('fp32', 'bf16', 'fp16')  # of variants; the others come after


def find(
  folder: remote.Folder, stem: str = 'model', variant: str | None = None
) -> dict[str, tensors.Tensor]:
  """Tensors of the directory's weights by their names in the files.

  Args:
    folder: the directory.
    stem: see the module's docstring.
    variant: such as 'fp16'; None = full precision where it is there.

  Raises ValueError with the remedy where they are not whole.
  """
  there = folder.names()
  for kind in _variants(stem, there) if variant is None else (variant,):
    index, whole = _names(stem, kind)
    if index in there:
      return _listed(folder, index, there)
    if whole in there:
      return tensors.safetensors(folder, whole)
  if variant is not None:
    raise ValueError(
      f'{folder} has no {_names(stem, variant)[1]}; leave the variant out, or '
      'copy that file'
    )
  return _only_one(folder, stem, there)


def _variants(stem, there):
  """None, the plain files, and the variants that are there, best first."""
  pattern = rf'{re.escape(stem)}\.(?:safetensors\.index\.(\w+)\.json|'
  pattern += r'(\w+)(?:-\d+-of-\d+)?\.safetensors)'
  matches = filter(None, (re.fullmatch(pattern, name) for name in there))
  found = {m[1] or m[2] for m in matches} - {'index'}
  rank = {kind: i for i, kind in enumerate(_BETTER)}
  return [None, *sorted(found, key=lambda kind: (rank.get(kind, 9), kind))]


def _names(stem, variant):
  """Names of the index and of the one file."""
  if variant is None:
    return f'{stem}.safetensors.index.json', f'{stem}.safetensors'
  index = f'{stem}.safetensors.index.{variant}.json'
  return index, f'{stem}.{variant}.safetensors'


def _only_one(folder, stem, there):
  """A file of another name, where it is the only one."""
  found = [name for name in there if name.endswith('.safetensors')]
  if len(found) == 1 and '-of-' not in found[0]:
    return tensors.safetensors(folder, found[0])
  if found:
    variant = _variants(stem, found)[-1]
    raise ValueError(
      f'{folder} has {", ".join(found[:6])} but no '
      f'{_names(stem, variant)[0]}: half of a sharded checkpoint; copy '
      'the whole directory'
    )
  pickles = [name for name in there if name.endswith(PICKLES)]
  if pickles:
    raise ValueError(no_pickles(folder, pickles))
  raise ValueError(
    f'{folder} has no safetensors file; give the directory of a model, with '
    'its weights'
  )


def _listed(folder, index, there):
  """All tensors of the files that an index names; it names no path."""
  weight_map = json_files.read_in(folder, index).get('weight_map', {})
  texts = isinstance(weight_map, dict)
  if not texts or not all(isinstance(v, str) for v in weight_map.values()):
    raise ValueError(
      f'{folder}/{index}: weight_map is no table of file names; copy it again'
    )
  names = sorted(set(weight_map.values()))
  missing = [name for name in names if name not in there]
  if missing or not names:
    raise ValueError(
      f'{folder}: {index} names {len(names)} files, missing are '
      f'{", ".join(missing) or "all"}; copy the whole directory'
    )
  found = {}
  for file in names:
    found |= tensors.safetensors(folder, file)
  absent = sorted(set(weight_map) - set(found))
  if absent:
    raise ValueError(
      f'{folder}: {weight_map[absent[0]]} has no {absent[0]}, which {index} '
      'says it has; copy the whole directory again'
    )
  return found


def no_pickles(folder: remote.Folder, names: list[str]) -> str:
  """Why such files are refused, and what to do."""
  return (
    f'{folder} has its weights in {", ".join(names[:6])} alone: pickles, '
    'which can run any program and are never opened. Download the '
    'safetensors files of the same model, or convert it where you trust the '
    'file: model.save_pretrained(DIR, safe_serialization=True)'
  )
