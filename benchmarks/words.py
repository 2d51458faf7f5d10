"""What a base hears of the words in its captions.

  python benchmarks/words.py --stage=DIR --text=DIR [--scenes=64] [--draws=4]

Mean squared error of the x-prediction on validation scenes of one recoloured
object, at several noise levels, with the true caption; then by how much it
rises when the caption names another object, another colour, or is dropped. A
network that does not listen shows 0%. Scenes and noise are the same for every
stage. Prints a table and, last, one JSON object.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from imagen_jax import stages, text  # noqa: E402
from imagen_jax.data.emoji_scenes import (  # noqa: E402
  grammar,
  scenes,
  source,
  splits,
)
from imagen_jax.diffusion import conditioning, images, process  # noqa: E402

VOCABULARY = 'lite'
LOGSNR = (-6, -4, -3, -2, 0)


def examples(count, side):
  """(pictures [n, side, side, 3], {kind: captions}) of the first that fit."""
  words = splits.VOCABULARIES[VOCABULARY]
  nouns = sorted(words.recolourable)
  data = source.EmojiScenes('validation', VOCABULARY)
  pictures = []
  captions = {'right': [], 'object': [], 'colour': []}
  for index in range(len(data)):
    scene = data.scene(index)
    if len(scene.groups) != 1 or scene.groups[0].colour is None:
      continue
    group = scene.groups[0]
    other = {
      'right': group,
      'object': dataclasses.replace(group, noun=_next(nouns, group.noun)),
      'colour': dataclasses.replace(
        group, colour=_next(words.colours, group.colour)
      ),
    }
    for kind, changed in other.items():
      draws = scenes.Draws(f'caption/{VOCABULARY}/validation', index)
      changed = dataclasses.replace(scene, groups=(changed,))
      captions[kind].append(grammar.caption(changed, draws, grammar.TRAIN))
    pictures.append(data.example(index, side)['image'])
    if len(pictures) == count:
      break
  return np.stack(pictures), captions


def _next(values, value):
  """The one after `value`, in a circle."""
  return values[(values.index(value) + 1) % len(values)]


def errors(directory, encoder, count, draws):
  """{logsnr: {kind of caption: mean squared error}}."""
  stage, params = stages.read(directory)
  params = jax.tree.map(jnp.asarray, params)
  pictures, captions = examples(count, stage.resolution)
  x0 = images.to_float(jnp.asarray(pictures))
  told = {kind: encoder.encode(lines) for kind, lines in captions.items()}
  told['none'] = conditioning.null_text(*told['right'])
  network = stages.network(stage)

  @jax.jit
  def error(features, mask, logsnr, key):
    eps = jax.random.normal(key, x0.shape)
    level = jnp.full(x0.shape[:1], logsnr)
    z = process.add_noise(x0, eps, level)
    said = network.apply({'params': params}, z, level, features, mask)
    return jnp.mean((process.to_x0(said, z, level, stage.prediction) - x0) ** 2)

  return {
    level: {
      kind: float(
        np.mean(
          [
            error(*features, float(level), jax.random.key(i))
            for i in range(draws)
          ]
        )
      )
      for kind, features in told.items()
    }
    for level in LOGSNR
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--stage', required=True, help='stage directory')
  parser.add_argument('--text', required=True, help='of its encoder')
  parser.add_argument('--scenes', type=int, default=64)
  parser.add_argument('--draws', type=int, default=4, help='of the noise')
  args = parser.parse_args()
  encoder = text.load_encoder(args.text)
  found = errors(args.stage, encoder, args.scenes, args.draws)
  print('logsnr   error   object   colour  no text')
  for level, of in found.items():
    rises = [
      of[kind] / of['right'] - 1 for kind in ('object', 'colour', 'none')
    ]
    print(
      f'{level:6}  {of["right"]:.4f}' + ''.join(f'  {x:+7.1%}' for x in rises)
    )
  print(json.dumps({'stage': args.stage, **found}))


if __name__ == '__main__':
  main()
