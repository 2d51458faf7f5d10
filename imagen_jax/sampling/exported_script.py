"""Draws with exported programs: python run.py "a red fox at sunset" fox.png 7

Needs jax, numpy, pillow, safetensors and sentencepiece, and no imagen_jax.
"""

import json
import pathlib
import sys

import jax.export
import numpy as np
import PIL.Image
import sentencepiece
from safetensors.numpy import load_file


def draw(directory, caption, seed=0):
  """Pictures of a caption, uint8 [b, h, w, 3]."""
  about = json.loads((directory / 'programs.json').read_text())
  length, batch = about['max_length'], about['batch']
  pieces = sentencepiece.SentencePieceProcessor(
    model_file=str(directory / about['tokenizer'])
  )
  ids = [*pieces.encode(caption)[: length - 1], pieces.eos_id()]
  tokens = np.pad(np.int32(ids), (0, length - len(ids)))
  known = {
    'tokens': np.tile(tokens, (batch, 1)),
    'mask': np.tile(np.arange(length) < len(ids), (batch, 1)),
    'seed': np.uint32(seed),
    'index': np.arange(batch, dtype=np.int32),
  }
  for program in about['programs']:
    call = jax.export.deserialize((directory / program['file']).read_bytes())
    inputs = {name: known[at] for name, at in program['inputs'].items()}
    known[program['name']] = call.call(
      load_file(directory / program['weights']), inputs
    )
  return np.asarray(known[about['programs'][-1]['name']])


if __name__ == '__main__':
  seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
  pictures = draw(pathlib.Path(__file__).parent, sys.argv[1], seed)
  PIL.Image.fromarray(pictures[0]).save(sys.argv[2])
