"""Draws with exported programs: python run.py "a red fox at sunset" fox.png 7

Needs jax, flatbuffers, numpy, pillow and safetensors, sentencepiece for T5 or
tokenizers for CLIP and BERT, and no imagen_jax.
"""

import json
import pathlib
import sys

import jax.export
import numpy as np
import PIL.Image
from safetensors.numpy import load_file


def draw(directory, caption, seed=0):
  """Pictures of a caption, uint8 [b, h, w, 3]."""
  about = json.loads((directory / 'programs.json').read_text())
  length, batch = about['max_length'], about['batch']
  ids = encoded(str(directory / about['tokenizer']), length, caption)
  tokens = np.full(length, about['pad'], np.int32)
  tokens[: len(ids)] = ids
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


def encoded(file, length, caption):
  """Tokens of a caption, at most so many, the special ones among them."""
  if file.endswith('.json'):
    import tokenizers

    pieces = tokenizers.Tokenizer.from_file(file)
    pieces.encode_special_tokens = True  # a caption cannot spell them
    pieces.enable_truncation(length)
    return pieces.encode(caption).ids
  import sentencepiece

  pieces = sentencepiece.SentencePieceProcessor(model_file=file)
  return [*pieces.encode(caption)[: length - 1], 1]  # T5's end of sequence


if __name__ == '__main__':
  seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
  pictures = draw(pathlib.Path(__file__).parent, sys.argv[1], seed)
  PIL.Image.fromarray(pictures[0]).save(sys.argv[2])
