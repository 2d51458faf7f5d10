"""A directory with a CLIP model: random weights, letters as its tokens."""

import json
import pathlib
import shutil

DATA = pathlib.Path(__file__).parents[1] / 'data' / 'huggingface' / 'clip_tiny'


def directory(where, **preprocessor):
  """Makes it at `where`; keywords go into preprocessor_config.json."""
  where.mkdir()
  for name in ('config.json', 'model.safetensors'):
    shutil.copy(DATA / name, where / name)
  letters = 'abcdefghijklmnopqrstuvwxyz1!'
  names = [*letters, *(f'{x}</w>' for x in letters)]
  names += ['<|startoftext|>', '<|endoftext|>']  # the end has the largest id
  ids = {name: i for i, name in enumerate(names)}
  (where / 'vocab.json').write_text(json.dumps(ids))
  (where / 'merges.txt').write_text('#version: 0.2\n')
  if preprocessor:
    text = json.dumps(preprocessor)
    (where / 'preprocessor_config.json').write_text(text)
  return where
