"""Studies of small pictures, and raters who answer as they are told.

pictures(root, prompts)      PNG files with their prompts in the metadata
opened(root, protocol, ...)  a study with its open database
rate(votes, answer)          a rater answers everything: answer(trial, name)
"""

import dataclasses
import pathlib

import numpy as np
import PIL.Image

from imagen_jax.evaluation.ratings import archive, questionnaires, studies
from imagen_jax.files import pictures as files

PROMPTS = ('a red fox', 'two <b>keys</b>', 'a man on a horse', 'three stars')


def pictures(root, prompts=PROMPTS, count=1, value=0, size=8, **text):
  """A directory with `count` pictures of each prompt; returns its path."""
  root = pathlib.Path(root)
  root.mkdir(parents=True, exist_ok=True)
  for number, prompt in enumerate(prompts):
    for index in range(count):
      image = np.full((size, size, 3), value + 10 * number + index, np.uint8)
      path = root / f'{number}_{index}.png'
      said = {'prompt': prompt, 'index': str(index)} | text
      files.write_png(path, image, said)
  return root


def photographs(root, prompts=PROMPTS, size=(20, 12)):
  """A folder of JPEG files with captions beside them."""
  root = pathlib.Path(root)
  root.mkdir(parents=True, exist_ok=True)
  for number, prompt in enumerate(prompts):
    image = PIL.Image.effect_noise(size, 60 + number).convert('RGB')
    image.save(root / f'{number}.jpg')
    (root / f'{number}.txt').write_text(prompt)
  return root


def roots(root, protocol, count=1, prompts=PROMPTS):
  """{'a': directory, 'b': directory} as the protocol takes them."""
  a = pictures(root / 'model_a', prompts, count)
  if protocol.photographs:
    return {'a': a, 'b': photographs(root / 'real', prompts)}
  return {'a': a, 'b': pictures(root / 'model_b', prompts, count, value=100)}


def opened(root, name='pairs', count=1, prompts=PROMPTS, **settings):
  """A new study below `root`: the open `votes.Votes`."""
  own = {k: settings.pop(k) for k in ('num', 'batch') if k in settings}
  protocol = dataclasses.replace(questionnaires.PROTOCOLS[name], **own)
  where = roots(root, protocol, count, prompts)
  study = studies.define(where, protocol, **settings)
  return archive.create(root / 'study.sqlite', study)


def rate(votes, answer):
  """Lets a new rater answer everything; returns the number of the rater."""
  rater = votes.rater(votes.begin())
  while shown := votes.show(rater):
    trial = votes.study.trials[shown.trial]
    given = {
      question.name: answer(trial, question.name)
      for question in votes.study.protocol.questions
    }
    votes.cast(rater, shown.ticket, given)
  return rater
