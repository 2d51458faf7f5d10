"""What a study found: lines for a terminal, two CSV files.

summary(votes)     everything that is told: a Summary
text(summary)      for people
write(summary, ..) NAME_votes.csv and NAME_preference.csv
"""

import collections
import csv
import dataclasses
import io
import math
import os
import pathlib
import uuid

from imagen_jax.evaluation.ratings import preference, studies, votes

_FORMULAS = ('=', '+', '-', '@', '\t', '\r')  # what they begin with
SIMULATED = "SIMULATED: scripts cast these votes. No person's preference."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
  """A study with what came of it."""

  study: studies.Study
  cast: list[votes.Vote]  # all, those of raters who do not count too
  raters: int  # who voted
  left_out: int  # of them, for too few controls right
  controls: tuple[int, int]  # right, answered; of all raters
  lefts: int  # answers for what was on the left
  sided: int  # of so many that chose a side
  answers: list[preference.Answer]  # of raters who count, no controls
  rows: list[preference.Row]
  agreement: dict[str, float]  # alpha by question


def summary(opened: votes.Votes) -> Summary:
  """Reads the votes; raises ValueError where there are none."""
  study, cast = opened.study, opened.all()
  if not cast:
    raise ValueError(f'{opened.path} holds no votes yet; nothing to report')
  right, answered = _controls(study, cast)
  share = study.protocol.pass_share
  raters = {vote.rater for vote in cast}
  # Who answered no control yet has not shown that the task was understood.
  good = {
    r for r in raters if not share or right[r] >= max(1, share * answered[r])
  }
  answers = [
    preference.Answer(
      rater=vote.rater,
      trial=vote.trial,
      category=trial.category,
      side='' if trial.a and trial.b else 'a' if trial.a else 'b',
      question=vote.question,
      answer=vote.answer,
    )
    for vote in cast
    if vote.rater in good and not (trial := study.trials[vote.trial]).right
  ]
  if not answers:
    raise ValueError(
      f'{opened.path}: none of {len(raters)} raters has {share:.0%} of the '
      'controls right yet; nothing to report'
    )
  questions = study.protocol.questions
  sided = [vote for vote in cast if vote.answer in ('a', 'b')]
  return Summary(
    study=study,
    cast=cast,
    raters=len(raters),
    left_out=len(raters - good),
    controls=(sum(right.values()), sum(answered.values())),
    lefts=sum(vote.answer == vote.left for vote in sided),
    sided=len(sided),
    answers=answers,
    rows=preference.rows(answers, questions),
    agreement={q.name: preference.agreement(answers, q) for q in questions},
  )


def _controls(study, cast):
  """Counters by rater: controls answered right, and answered at all."""
  right, answered = collections.Counter(), collections.Counter()
  for vote in cast:
    if wanted := study.trials[vote.trial].right:
      answered[vote.rater] += 1
      right[vote.rater] += vote.answer in wanted
  return right, answered


def text(s: Summary) -> str:
  """The report for a terminal."""
  study = s.study
  lines = [SIMULATED] if study.simulated else []
  lines += [heading(s), f'A = {study.names[0]}, B = {study.names[1]}']
  if study.protocol.pass_share:
    right, answered = s.controls
    lines.append(
      f'controls: {right} of {answered} right; {s.left_out} of {s.raters} '
      f'raters left out, below {study.protocol.pass_share:.0%}'
    )
  if s.sided:
    lines.append(
      f'sides: {s.lefts} of {s.sided} choices were on the left '
      f'({s.lefts / s.sided:.0%})'
    )
  for question in study.protocol.questions:
    some = [row for row in s.rows if row.question == question.name]
    lines += ['', question.text, *_table(some, question)]
    lines.append(
      "agreement of raters, Krippendorff's alpha: "
      f'{_number(s.agreement[question.name], ".3f")}'
    )
  return '\n'.join([*lines, '', method(s)])


def heading(s: Summary) -> str:
  """What the numbers belong to."""
  protocol = s.study.protocol
  simulated = 'simulated raters' if s.study.simulated else 'raters'
  pairs = sum(not trial.right for trial in s.study.trials)
  things = 'pictures' if protocol.single else 'pairs'
  return (
    f'{protocol.name} v{protocol.version}, {pairs} {things}, '
    f'{s.raters} {simulated}, {len(s.cast)} votes, study {s.study.id[:12]}'
  )


def method(s: Summary) -> str:
  """How the intervals were found."""
  if 'mean' in {row.what for row in s.rows}:
    return (
      "Percent of answers [Wilson's 95% interval]; mean: preference for A, "
      'ties half\n[95%, bootstrap over raters and pairs]'
    )
  if s.study.protocol.single:
    return (
      'Mean of yes = 100, somewhat = 50, no = 0 [95%: 1.96 standard errors]'
    )
  return "Percent of answers [Wilson's 95% interval]; 50 = as real as real"


def _table(rows, question):
  """Lines, a category each."""
  kinds = list(dict.fromkeys(row.what for row in rows))
  titles = {'a': 'A', 'b': 'B', 'none': 'no preference', 'mean': 'mean'}
  cells = {(row.category, row.what): row for row in rows}
  table = [('category', 'n', *(titles[k] for k in kinds))]
  for category in dict.fromkeys(row.category for row in rows):
    some = [cells[category, kind] for kind in kinds]
    n = ' + '.join(str(r.n) for r in some) if _scores(question) else some[0].n
    table.append((category, str(n), *map(_cell, some)))
  widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
  return [
    '  '.join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in table
  ]


def _scores(question):
  return 'a' not in question.answers


def _cell(row):
  if math.isnan(row.value):
    return '-'
  if math.isnan(row.low):
    return f'{row.value:.1f}'
  return f'{row.value:.1f} [{row.low:.1f}, {row.high:.1f}]'


def _number(value, form):
  return '-' if math.isnan(value) else format(value, form)


def write(s: Summary, stem: pathlib.Path) -> list[pathlib.Path]:
  """Writes both CSV files; returns their paths."""
  first = stem.with_name(f'{stem.name}_preference.csv')
  second = stem.with_name(f'{stem.name}_votes.csv')
  study = s.study
  about = {
    'study': study.id[:12],
    'protocol': f'{study.protocol.name} v{study.protocol.version}',
    'simulated': int(study.simulated),
  }
  names = dict(zip('ab', study.names))
  _write_csv(
    first,
    [
      about
      | {
        'question': row.question,
        'category': row.category,
        'what': names.get(row.what, row.what),
        'n': row.n,
        'percent': _number(row.value, '.2f'),
        'low': _number(row.low, '.2f'),
        'high': _number(row.high, '.2f'),
        'interval': row.interval,
      }
      for row in s.rows
    ],
  )
  _write_csv(second, [about | _told(study, vote) for vote in s.cast])
  return [first, second]


def _told(study, vote):
  """A vote as a line of CSV."""
  trial = study.trials[vote.trial]
  return {
    'rater': vote.rater,
    'prompt': trial.prompt,
    'index': '' if trial.index is None else trial.index,
    'category': trial.category,
    'a': ' '.join(p.path for p in trial.a),
    'b': ' '.join(p.path for p in trial.b),
    'left': vote.left,
    'question': vote.question,
    'answer': vote.answer,
    'right_answers': ' '.join(trial.right),
    'at': vote.at,
  }


def _cell_of(value):
  """What a spreadsheet would take for a formula, as text behind a '.

  Prompts, names and paths come from anywhere; no number here is negative.
  """
  if isinstance(value, str) and value != '-' and value[:1] in _FORMULAS:
    return f"'{value}"
  return value


def _write_csv(path, rows):
  """Whole or not at all."""
  out = io.StringIO(newline='')
  writer = csv.DictWriter(out, rows[0])
  writer.writeheader()
  writer.writerows({k: _cell_of(v) for k, v in row.items()} for row in rows)
  fresh = path.with_name(f'.{uuid.uuid4().hex[:8]}.csv')
  try:
    fresh.write_text(out.getvalue(), encoding='utf-8')
    os.replace(fresh, path)
  finally:
    fresh.unlink(missing_ok=True)
