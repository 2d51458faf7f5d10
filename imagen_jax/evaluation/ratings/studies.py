"""The frozen definition of a study: trials, batches, orders, sides.

All of it follows from two directories, a protocol and a seed, and is one JSON
text whose hash is the study's id. A rater's order and sides follow from the
rater's number: nothing has to be remembered for a reload to show the same.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

from imagen_jax.evaluation.ratings import pictures, questionnaires
from imagen_jax.files import json_files

FORMAT = 1  # of the definition
_NAME = 40  # characters of a model's name on a figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
  """What a rater is shown at a time; one of the sides may be empty."""

  prompt: str
  index: int | None  # of the picture among those of the prompt; None = a set
  category: str
  a: tuple[pictures.Picture, ...]
  b: tuple[pictures.Picture, ...]
  right: tuple[str, ...] = ()  # answers, of a control; () = no control


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """Everything that the votes depend on."""

  protocol: questionnaires.Protocol
  names: tuple[str, str]  # of A and B, never shown to raters
  seed: int
  simulated: bool  # the raters are scripts
  size: int | None  # pixels that all pictures are brought to
  trials: tuple[Trial, ...]
  batches: tuple[tuple[int, ...], ...]  # numbers of trials

  def to_json(self) -> str:
    """The one text for this definition."""
    values = dataclasses.asdict(self) | {
      'format': FORMAT,
      'protocol': dataclasses.asdict(self.protocol),
    }
    return json.dumps(values, sort_keys=True, ensure_ascii=False)

  @property
  def id(self) -> str:
    """SHA-256 of the definition."""
    return digest(self.to_json())

  def order(self, rater: int) -> list[int]:
    """The trials of a rater (from 1), batch by batch, each in another order.

    Raters begin with the batches in turn, so that all are rated as often.
    """
    first = (rater - 1) % len(self.batches)
    turned = self.batches[first:] + self.batches[:first]
    return [
      trial
      for batch in turned
      for trial in sorted(
        batch, key=lambda t: _rank(self.seed, 'order', rater, t)
      )
    ]

  def borders(self, rater: int) -> list[int]:
    """Positions in the rater's order at which a batch begins, and the end."""
    first = (rater - 1) % len(self.batches)
    sizes = [len(batch) for batch in self.batches]
    borders = [0]
    for size in sizes[first:] + sizes[:first]:
      borders.append(borders[-1] + size)
    return borders

  def left(self, rater: int, trial: int) -> str:
    """The side, 'a' or 'b', that the rater sees on the left."""
    return 'ab'[_rank(self.seed, 'side', rater, trial)[0] % 2]


def digest(text: str) -> str:
  """SHA-256 of a text."""
  return hashlib.sha256(text.encode()).hexdigest()


def _rank(*parts) -> bytes:
  """Bytes that look random and are the same everywhere, always."""
  return hashlib.sha256('/'.join(map(str, parts)).encode()).digest()


def from_json(text: str) -> Study:
  """The study of a definition that `to_json` made."""
  values = json_files.parse(text, 'it')
  if values.pop('format') != FORMAT:
    raise ValueError('it was made by another version')
  protocol = values.pop('protocol')
  questions = tuple(
    questionnaires.Question(**_tuples(q)) for q in protocol.pop('questions')
  )
  trials = tuple(_trial(trial) for trial in values.pop('trials'))
  return Study(
    protocol=questionnaires.Protocol(questions=questions, **protocol),
    trials=trials,
    batches=tuple(map(tuple, values.pop('batches'))),
    names=tuple(values.pop('names')),
    **values,
  )


def _tuples(values):
  return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _trial(values):
  sides = {
    side: tuple(pictures.Picture(**p) for p in values[side]) for side in 'ab'
  }
  return Trial(**_tuples(values | sides))


def define(
  roots: Mapping[str, str],
  protocol: questionnaires.Protocol,
  *,
  seed: int = 0,
  names: Sequence[str] | None = None,
  simulated: bool = False,
  sheet: str | None = None,
) -> Study:
  """Makes the study of two directories.

  Args:
    roots: {'a': directory, 'b': directory}.
    protocol: with `num` and `batch` as they are wanted.
    seed: of what is drawn, and of orders and sides.
    names: of A and B on the report; None = those of the directories.
    simulated: whether scripts will vote.
    sheet: CSV or TSV with the category of each prompt, or None.
  """
  found = {
    side: pictures.find(
      roots[side], f'--{side}', protocol.photographs and side == 'b'
    )
    for side in 'ab'
  }
  keys = pictures.pair(found['a'], found['b'], protocol.photographs)
  known = pictures.categories(keys, found['a'], sheet, protocol)
  groups = _groups(keys, protocol)
  if protocol.num is not None:
    groups = sorted(groups, key=lambda g: _rank(seed, 'num', *g[0]))
    groups = sorted(groups[: protocol.num])

  def frozen(side, key):
    return pictures.freeze(roots, side, found[side][key].path)

  trials = []
  for group in groups:
    prompt, number = group[0]
    sides = {s: tuple(frozen(s, key) for key in group) for s in 'ab'}
    for shown in ('a', 'b') if protocol.single else ('ab',):
      trials.append(
        Trial(
          prompt=prompt,
          index=None if protocol.sets else number,
          category=known[prompt],
          a=sides['a'] if 'a' in shown else (),
          b=sides['b'] if 'b' in shown else (),
        )
      )
  batches = _batches(trials, protocol, seed)
  for number, batch in enumerate(batches):
    for control in _controls(trials, protocol, seed, number):
      batch.append(len(trials))
      trials.append(control)
  size = None
  if protocol.photographs:
    size = pictures.side_of(roots, next(t.a[0] for t in trials if t.a))
  return Study(
    protocol=protocol,
    names=tuple(names or _names(roots)),
    seed=seed,
    simulated=simulated,
    size=size,
    trials=tuple(trials),
    batches=tuple(map(tuple, batches)),
  )


def _groups(keys, protocol):
  """Keys that are shown at once: each alone, or all of a prompt."""
  if not protocol.sets:
    return [[key] for key in keys]
  groups = {}
  for key in keys:
    groups.setdefault(key[0], []).append(key)
  return list(groups.values())


def _batches(trials, protocol, seed):
  """Lists of numbers of trials."""
  numbers = range(len(trials))
  if protocol.by_category:
    groups = {}
    for number in numbers:
      groups.setdefault(trials[number].category, []).append(number)
    return list(groups.values())
  if protocol.batch is None:
    return [list(numbers)]
  mixed = sorted(numbers, key=lambda n: _rank(seed, 'batch', n))
  step = protocol.batch
  return [mixed[i : i + step] for i in range(0, len(mixed), step)]


def _controls(trials, protocol, seed, batch):
  """Trials of a batch whose right answer is known.

  What they look like the paper does not say. Ours: a photograph beside its own
  mosaic; a photograph under its own caption, and under another's with which
  it shares the fewest words.
  """
  real = [t for t in trials if t.b and not t.right]
  drawn = sorted(real, key=lambda t: _rank(seed, 'control', batch, t.prompt))
  for number in range(protocol.controls):
    trial = drawn[number % len(drawn)]
    common = dict(index=trial.index, category='control', b=trial.b)
    if not protocol.single:
      (photograph,) = trial.b
      spoilt = dataclasses.replace(photograph, effect='mosaic')
      yield Trial(prompt=trial.prompt, a=(spoilt,), right=('b',), **common)
    elif number % 2:
      own = trial.prompt
      yield Trial(prompt=own, a=(), right=('yes', 'somewhat'), **common)
    else:
      other = _stranger(trial.prompt, [t.prompt for t in drawn])
      yield Trial(prompt=other, a=(), right=('no',), **common)


def _stranger(prompt, others):
  """Of the other captions the first that shares the fewest words."""
  words = set(prompt.lower().split())
  others = [other for other in others if other != prompt]
  if not others:
    raise ValueError(
      f'one prompt alone, {prompt[:60]!r}: controls need another caption; give '
      'pictures of two prompts or more'
    )
  return min(others, key=lambda other: len(words & set(other.lower().split())))


def _names(roots):
  """The last parts of the paths that differ."""
  parts = [pathlib.Path(roots[side]).resolve().parts for side in 'ab']
  for length in range(1, max(map(len, parts)) + 1):
    names = ['/'.join(p[-length:])[-_NAME:] for p in parts]
    if names[0] != names[1]:
      return names
  return ['A', 'B']
