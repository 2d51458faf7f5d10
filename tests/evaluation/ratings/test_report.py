"""The report says what was voted, for whom it counts, and who voted."""

import csv

import numpy as np
import PIL.ImageColor
import pytest

from imagen_jax.evaluation.ratings import figure, report
from tests.support import studio


def _summary(opened):
  found = report.summary(opened)
  opened.close()
  return found


@pytest.fixture
def pairs(tmp_path):
  """Two raters: A is better for both; of the caption they think apart."""
  opened = studio.opened(tmp_path, simulated=True, names=['ours', 'theirs'])
  for said in ('b', 'none'):
    studio.rate(
      opened, lambda _, name, said=said: 'a' if name == 'quality' else said
    )
  return _summary(opened)


def test_text(pairs):
  said = report.text(pairs)
  assert said.startswith(report.SIMULATED)
  for line in (
    'pairs v1, 4 pairs, 2 simulated raters, 16 votes, study ',
    'A = ours, B = theirs',
    'Which is the better picture?',
    'all       8  100.0 [67.6, 100.0]  0.0 [0.0, 32.4]',
    'all       8  0.0 [0.0, 32.4]  50.0 [21.5, 78.5]  50.0 [21.5, 78.5]  25.0',
    "agreement of raters, Krippendorff's alpha: -",
    "Wilson's 95% interval",
    'ties half',
  ):
    assert line in said, said
  assert pairs.agreement['caption'] == pytest.approx(1 - 7 * 8 / (2 * 16))
  lefts = sum(v.left == v.answer for v in pairs.cast)
  assert f'sides: {lefts} of 12 choices were on the left' in said


def test_votes_of_people_are_not_called_simulated(tmp_path):
  opened = studio.opened(tmp_path)
  studio.rate(opened, lambda *_: 'a')
  found = _summary(opened)
  assert 'imulated' not in report.text(found)
  assert 'SIMULATED' not in report.text(found)
  first, second = report.write(found, tmp_path / 'study')
  for path in (first, second):
    assert {row['simulated'] for row in _rows(path)} == {'0'}


def _rows(path):
  with open(path, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def test_csv(pairs, tmp_path):
  first, second = report.write(pairs, tmp_path / 'study')
  assert (first.name, second.name) == (
    'study_preference.csv',
    'study_votes.csv',
  )
  rows = {(r['question'], r['what']): r for r in _rows(first)}
  best = rows['quality', 'ours']
  assert (best['n'], best['percent'], best['interval']) == (
    '8',
    '100.00',
    'Wilson',
  )
  assert rows['caption', 'mean']['percent'] == '25.00'
  votes = _rows(second)
  assert len(votes) == 16 and {v['simulated'] for v in votes} == {'1'}
  assert {v['prompt'] for v in votes} == set(studio.PROMPTS)
  assert {v['answer'] for v in votes if v['question'] == 'quality'} == {'a'}
  assert len(list(tmp_path.glob('*.csv'))) == 2  # nothing half written


def test_csv_cells_are_no_formulas(tmp_path):
  prompts = ('=HYPERLINK("x")', '@sum', '-1+1', '+1', 'a = b')
  opened = studio.opened(tmp_path, prompts=prompts, names=['=1', 'theirs'])
  studio.rate(opened, lambda *_: 'a')
  first, second = report.write(_summary(opened), tmp_path / 'study')
  cells = {r['prompt'] for r in _rows(second)}
  assert cells == {*(f"'{p}" for p in prompts[:-1]), 'a = b'}
  assert "'=1" in {r['what'] for r in _rows(first)}
  for path in (first, second):
    values = {v for row in _rows(path) for v in row.values()}
    assert not [v for v in values if v[:1] in '=+-@\t\r' and v not in '-']


def _mask(image, colour):
  return (image == PIL.ImageColor.getrgb(colour)).all(-1)


def test_bars_are_as_high_as_their_shares(pairs):
  image = figure.draw(pairs)
  whole, half = 2 * figure._HEIGHT, figure._HEIGHT
  # Below the legend, whose squares have the bars' colours.
  bars = {w: _mask(image, c)[240:] for w, c in figure._COLOURS.items()}
  heights = {w: np.sort(mask.sum(0))[-9] for w, mask in bars.items()}
  assert heights['a'] == pytest.approx(whole, abs=4)
  assert heights['b'] == pytest.approx(half, abs=4)
  assert heights['none'] == pytest.approx(half, abs=4)


def test_the_figure_says_simulated_in_its_head(pairs, tmp_path):
  warned = _mask(figure.draw(pairs)[:60], figure._WARN_GROUND)
  assert warned.mean() > 0.7
  opened = studio.opened(tmp_path / 'people')
  studio.rate(opened, lambda *_: 'a')
  plain = figure.draw(_summary(opened))
  assert not _mask(plain, figure._WARN_GROUND).any()


def test_long_names_fit_below_their_bars():
  for name in ('Gary Marcus et al.', 'Incomprehensibilities', 'a ' * 40):
    lines = figure._fit(name, 60)
    assert 1 <= len(lines) <= 2
    assert all(figure._width(line, 12) <= 60 for line in lines)


def _coco(tmp_path, name='coco_quality'):
  """One careful rater, one who presses the same key all the time."""
  opened = studio.opened(tmp_path, name)
  first = opened.study.protocol.questions[0].answers[0]
  studio.rate(opened, lambda t, _: t.right[0] if t.right else first)
  studio.rate(opened, lambda *_: first)
  return _summary(opened)


def test_raters_who_miss_controls_do_not_count(tmp_path):
  found = _coco(tmp_path)
  assert (found.raters, found.left_out) == (2, 1)
  assert found.controls == (5, 10)
  assert {a.rater for a in found.answers} == {1} and len(found.answers) == 4
  everything = next(r for r in found.rows if r.what == 'a')
  assert (everything.value, everything.n) == (100, 4)
  said = report.text(found)
  assert 'controls: 5 of 10 right; 1 of 2 raters left out, below 80%' in said
  assert {r.category for r in found.rows} == {'all', 'people', 'no people'}


def test_alignment_is_scored_side_by_side(tmp_path):
  found = _coco(tmp_path, 'coco_alignment')
  rows = {r.what: r for r in found.rows if r.category == 'all'}
  assert (rows['a'].value, rows['b'].value) == (100, 100)
  assert (rows['a'].n, rows['b'].n) == (4, 4)
  assert '4 + 4' in report.text(found)
  assert figure.draw(found).shape[2] == 3


def test_no_votes_is_no_report(tmp_path):
  opened = studio.opened(tmp_path / 'x')
  with pytest.raises(ValueError, match='holds no votes yet'):
    report.summary(opened)
  opened.close()
  opened = studio.opened(tmp_path / 'y', 'coco_quality')
  studio.rate(opened, lambda *_: 'a')
  with pytest.raises(ValueError, match='none of 1 raters has 80% of the contr'):
    report.summary(opened)
  opened.close()
