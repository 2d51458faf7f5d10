"""Shares, means, their 95% intervals, and how far raters agree.

Section 4.3 and appendix C: means with 95% intervals; which intervals, and what
becomes of "no preference", the paper does not say. Ours, named in every
report:

- shares of A, no preference and B among all answers, so that they add up to
  100%, with Wilson's interval each; ties are in neither bar and never dropped;
- the preference for A, ties counted half, with an interval that draws raters
  and pairs anew (bootstrap): answers of one rater are no independent trials;
- scores of 100, 50 and 0 and choices of two: the mean -+ 1.96 standard errors;
- agreement: Krippendorff's alpha, which takes any number of raters a picture.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from imagen_jax.evaluation.ratings import questionnaires
from imagen_jax.evaluation.scenes import alignment

_QUANTILE = 1.959964  # of the normal distribution, for 95%
_DRAWS = 2000  # of the bootstrap
_AT_ONCE = 250  # of them, for the memory
VALUES = {'a': 1.0, 'none': 0.5, 'b': 0.0}  # of the preference for A
EVERYTHING = 'all'  # the row over all categories


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
  """A vote with what it was about."""

  rater: int
  trial: int
  category: str
  side: str  # of the one picture that was judged; '' = two were compared
  question: str
  answer: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One line of a report: a share or a score with its interval."""

  question: str
  category: str
  what: str  # 'a', 'none' or 'b'; 'mean' = preference for A, ties half
  n: int  # answers
  value: float  # percent
  low: float
  high: float
  interval: str  # how low and high were found


def rows(answers: Iterable[Answer], questions: Sequence) -> list[Row]:
  """Every line: question by question, all answers first, then categories."""
  answers = list(answers)
  found = []
  for question in questions:
    asked = [a for a in answers if a.question == question.name]
    names = sorted({a.category for a in asked} - {''})
    groups = [(EVERYTHING, asked)]
    groups += [(n, [a for a in asked if a.category == n]) for n in names]
    for name, some in groups:
      found += _about(question, name, some)
  return found


def _about(question, category, answers):
  common = dict(question=question.name, category=category)
  if 'a' not in question.answers:
    for side in ('a', 'b'):
      scores = [
        questionnaires.FITS[a.answer] for a in answers if a.side == side
      ]
      yield _mean(scores, what=side, **common)
    return
  counts = collections.Counter(a.answer for a in answers)
  for what in question.answers:
    low, high = alignment.wilson(counts[what], len(answers))
    yield Row(
      what=what,
      n=len(answers),
      value=100 * counts[what] / len(answers) if answers else math.nan,
      low=100 * low,
      high=100 * high,
      interval='Wilson',
      **common,
    )
  if 'none' in question.answers:
    yield _preference(answers, common)


def _mean(scores, **about):
  """Mean -+ 1.96 standard errors; NaN where one or none was given."""
  n = len(scores)
  value = float(np.mean(scores)) if n else math.nan
  half = (
    _QUANTILE * float(np.std(scores, ddof=1)) / math.sqrt(n)
    if n > 1
    else math.nan
  )
  return Row(
    n=n,
    value=value,
    low=value - half,
    high=value + half,
    interval='normal',
    **about,
  )


def _preference(answers, common):
  """The preference for A, ties half, with its bootstrap interval."""
  value = low = high = math.nan
  if answers:
    scores = [VALUES[a.answer] for a in answers]
    value = 100 * float(np.mean(scores))
    drawn = 100 * bootstrap(
      scores, [a.rater for a in answers], [a.trial for a in answers]
    )
    low, high = np.percentile(drawn, [2.5, 97.5])
  return Row(
    what='mean',
    n=len(answers),
    value=value,
    low=float(low),
    high=float(high),
    interval='bootstrap over raters and pairs',
    **common,
  )


def bootstrap(scores: Sequence, raters: Sequence, trials: Sequence):
  """Means of `scores` with raters and trials drawn anew, each on its own.

  Owen 2007, "The pigeonhole bootstrap": answers of one rater, and about one
  pair, are alike, and neither may count as independent. One rater alone says
  nothing about other raters; the interval is then one over pairs.

  Returns: float64 [_DRAWS], those of no answer left out.
  """
  rows, by_rater = np.unique(raters, return_inverse=True)
  columns, by_trial = np.unique(trials, return_inverse=True)
  sums, counts = np.zeros((2, len(rows), len(columns)))
  np.add.at(sums, (by_rater, by_trial), scores)
  np.add.at(counts, (by_rater, by_trial), 1)
  random, means = np.random.default_rng(0), []
  for _ in range(0, _DRAWS, _AT_ONCE):
    some, others = (
      random.multinomial(n, np.full(n, 1 / n), _AT_ONCE).astype(float)
      for n in (len(rows), len(columns))
    )
    total = np.einsum('dt,dt->d', some @ counts, others)
    score = np.einsum('dt,dt->d', some @ sums, others)
    means.append(score[total > 0] / total[total > 0])
  return np.concatenate(means)


def different(x, y) -> float:
  """Distance of answers that are only alike or not (nominal)."""
  return float(x != y)


def squared(x: float, y: float) -> float:
  """Distance of scores (interval)."""
  return (x - y) ** 2


def alpha(
  units: Iterable[Sequence], distance: Callable[..., float] = different
) -> float:
  """Krippendorff's alpha: 1 = all agree, 0 = as by chance.

  Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section D:
  1 - (n - 1) sum_u sum_cc' o_cc' d_cc' / sum_cc' n_c n_c' d_cc', with the
  pairs within a unit weighted by 1 / (its number of values - 1).

  Args:
    units: the answers about each thing that was judged; those with fewer than
      two say nothing.
    distance: of two answers.
  """
  pairs, totals = collections.Counter(), collections.Counter()
  for unit in units:
    if len(unit) < 2:
      continue
    counts = collections.Counter(unit)
    totals.update(counts)
    for x, n in counts.items():
      for y, m in counts.items():
        pairs[x, y] += n * (m - (x == y)) / (len(unit) - 1)
  n = sum(totals.values())
  seen = sum(o * distance(x, y) for (x, y), o in pairs.items())
  chance = sum(
    totals[x] * totals[y] * distance(x, y) for x in totals for y in totals
  )
  return 1 - (n - 1) * seen / chance if chance else math.nan


def agreement(answers: Iterable[Answer], question) -> float:
  """Alpha of one question: nominal for choices, interval for scores."""
  units = collections.defaultdict(list)
  scores = 'a' not in question.answers
  for a in answers:
    if a.question == question.name:
      value = questionnaires.FITS[a.answer] if scores else a.answer
      units[a.trial].append(value)
  return alpha(units.values(), squared if scores else different)
