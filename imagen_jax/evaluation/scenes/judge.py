"""The learned judge of emoji scenes: a second opinion beside the checker.

Pictures uint8 [n, r, r, 3], r a multiple of 64 -> features [n, d] for
scene-FID, and readings in the checker's own form, so that one `compare` judges
both. A directory holds judge.json and model.safetensors. It says nothing about
natural images.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from imagen_jax.config import checks
from imagen_jax.data import pipeline
from imagen_jax.data.emoji_scenes import checker, splits
from imagen_jax.evaluation.scenes import alignment
from imagen_jax.files import json_files, weights
from imagen_jax.models import judge as network

SHIPPED = pathlib.Path(__file__).parents[2] / 'pretrained' / 'judge'
CONFIG, WEIGHTS = 'judge.json', 'model.safetensors'
FORMAT = 1
BATCH = 32  # pictures at a time
FEATURES = 'deviations over the first grid'  # see `models.judge`
SURE = 0.5  # probability of a centre above which something is there


@functools.partial(jax.jit, static_argnums=0)
def _read(config, params, pictures):
  return network.Judge(config).apply({'params': params}, pictures)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
  """The network with its weights and its words."""

  config: network.JudgeConfig
  params: dict
  vocabulary: str
  sha256: str  # of weights and configuration

  @property
  def words(self):
    return splits.vocabulary(self.vocabulary)

  @property
  def width(self) -> int:
    """Features of a picture."""
    return self.config.width

  @property
  def batch(self) -> int:
    """Pictures that run at a time."""
    return BATCH

  def about(self) -> dict:
    """All that decides the features of a picture, ready for JSON."""
    return {
      'network': self.sha256,
      'resize': f'means of blocks to {self.config.resolution} px',
      'features': f'judge {self.width}, {FEATURES}',
    }

  def __call__(self, pictures) -> np.ndarray:
    """Features, float32 [n, width]."""
    return self.answers(pictures).features

  def answers(self, pictures) -> network.Reading:
    """The network's answers to uint8 [n, r, r, 3], as arrays [n, ...].

    One compiled shape: the last batch is padded.
    """
    found = []
    for first in range(0, len(pictures), BATCH):
      part = smaller(pictures[first : first + BATCH], self.config.resolution)
      spare = ((0, BATCH - len(part)), *((0, 0),) * 3)
      answers = _read(self.config, self.params, np.pad(part, spare))
      found.append(jax.tree.map(lambda x: np.asarray(x)[: len(part)], answers))  # noqa: B023
    if not found:
      raise ValueError('no pictures to judge; give at least one')
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

  def read(self, pictures) -> list[checker.Reading]:
    """What is seen in each picture, in the checker's form."""
    answers = self.answers(pictures)
    return [
      reading(jax.tree.map(lambda x: x[i], answers), self.words)  # noqa: B023
      for i in range(len(answers.features))
    ]


def smaller(pictures, resolution):
  """uint8 [n, r, r, 3] -> the judge's size, by means of square blocks."""
  pictures = np.asarray(pictures)
  height, width = pictures.shape[1:3]
  if height != width or width % resolution:
    raise ValueError(
      f'pictures are {width} x {height} px; the judge reads squares of a '
      f'multiple of {resolution} px'
    )
  return pipeline.box_average(pictures, width // resolution)


def reading(answers: network.Reading, words) -> checker.Reading:
  """The answers to one picture -> what is in it."""
  side = len(answers.centres)
  found = []
  for row, column in peaks(answers.centres):
    x, y, size = answers.boxes[row, column]
    colour = int(answers.colours[row, column].argmax())
    sure = 1 / (1 + np.exp(-answers.centres[row, column]))
    found.append(
      checker.Found(
        noun=words.nouns[int(answers.nouns[row, column].argmax())],
        colour=words.colours[colour - 1] if colour else None,
        x=float(column + x) / side,
        y=float(row + y) / side,
        width=float(size) / side,
        height=float(size) / side,
        cost=float(1 - sure),
      )
    )
  background = words.backgrounds[int(answers.backgrounds.argmax())]
  return checker.Reading(found=tuple(found), background=background)


def peaks(logits: np.ndarray) -> list[tuple[int, int]]:
  """(row, column) where a centre is likely, and no likelier one is beside."""
  height, width = logits.shape
  padded = np.pad(logits, 1, constant_values=-np.inf)
  around = [
    padded[i : i + height, j : j + width] for i in range(3) for j in range(3)
  ]
  # Of neighbours that are just as likely the first one counts.
  before, after = around[:4], around[5:]
  top = (logits > np.max(before, 0)) & (logits >= np.max(after, 0))
  least = np.log(SURE / (1 - SURE))
  return [tuple(map(int, at)) for at in np.argwhere(top & (logits > least))]


def verdicts(judge: Judge, pictures, scenes) -> list[dict]:
  """{part: bool or None} of each picture against what was asked."""
  return [
    dataclasses.asdict(checker.compare(seen, scene))
    for seen, scene in zip(judge.read(pictures), scenes)
  ]


def agreement(
  ours: Sequence[Mapping], theirs: Sequence[Mapping]
) -> dict[str, dict]:
  """How often two judges say the same of a picture, part by part.

  kappa is Cohen's (1960): 1 is agreement, 0 what chance would give; None
  where one of the two always says the same.
  """
  found = {}
  for part in alignment.PARTS:
    pairs = [(a[part], b[part]) for a, b in zip(ours, theirs)]
    pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not pairs:
      continue
    a, b = np.array(pairs).T
    same, n = float((a == b).mean()), len(pairs)
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    low, high = alignment.wilson(int((a == b).sum()), n)
    varied = 0 < a.mean() < 1 and 0 < b.mean() < 1
    found[part] = {
      'n': n,
      'same': round(same, 4),
      'interval': [round(low, 4), round(high, 4)],
      'kappa': round(float((same - chance) / (1 - chance)), 4)
      if varied
      else None,
      'both_right': int((a & b).sum()),
      'first_alone': int((a & ~b).sum()),
      'second_alone': int((~a & b).sum()),
      'both_wrong': int((~a & ~b).sum()),
    }
  return found


def save(directory, config, params, vocabulary) -> None:
  """Writes a judge directory, weights in 16 bits."""
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  about = {'format_version': FORMAT, 'vocabulary': vocabulary}
  weights.save(directory / WEIGHTS, params, np.float16)
  weights.save_json(
    directory / CONFIG, about | {'model': dataclasses.asdict(config)}
  )


def load(directory=None) -> Judge:
  """Reads a judge directory; None = the one that ships."""
  directory = SHIPPED if directory is None else pathlib.Path(directory)
  path = directory / CONFIG
  about = json_files.read(
    path,
    f'{directory} holds no judge ({CONFIG} is missing); train one by '
    'imagen_jax.train_judge, or install the package again',
  )
  try:
    version, vocabulary = about['format_version'], about['vocabulary']
    model = about['model']
  except (KeyError, TypeError) as e:
    raise ValueError(f'{path} is damaged ({e}); copy it again') from e
  if version != FORMAT:
    raise ValueError(
      f'{path} has format {version}, this release reads {FORMAT}; train it '
      'again'
    )
  config = checks.build(network.JudgeConfig, model, str(path))
  words = splits.vocabulary(vocabulary)
  params = weights.load(directory / WEIGHTS)
  _check(directory, config, params, words)
  text = json.dumps(dataclasses.asdict(config) | {'of': vocabulary})
  digest = hashlib.sha256(text.encode())
  for name, value in sorted(weights.flatten(params).items()):
    digest.update(f'{name} {value.shape}\n'.encode())
    digest.update(np.ascontiguousarray(value).tobytes())
  return Judge(
    config=config,
    params=params,
    vocabulary=vocabulary,
    sha256=digest.hexdigest(),
  )


def _check(directory, config, params, words):
  shapes = jax.eval_shape(
    functools.partial(network.init, config), jax.random.key(0)
  )
  expected = {k: v.shape for k, v in weights.flatten(shapes).items()}
  found = {k: v.shape for k, v in weights.flatten(params).items()}
  for name in sorted(expected.keys() | found.keys()):
    if expected.get(name) != found.get(name):
      raise ValueError(
        f'{directory}: {name} is {found.get(name, "missing")}, its {CONFIG} '
        f'wants {expected.get(name, "none")}; copy the directory again'
      )
  sizes = len(words.nouns), len(words.colours) + 1, len(words.backgrounds)
  given = config.nouns, config.colours, config.backgrounds
  if sizes != given:
    raise ValueError(
      f'{directory} tells {given} nouns, colours and backgrounds apart, the '
      f'vocabulary {words.name!r} has {sizes}; train it again'
    )
