"""Shares, intervals and agreement against numbers found elsewhere."""

import math

import numpy as np
import pytest

from imagen_jax.evaluation.ratings import preference, questionnaires

QUALITY = questionnaires.PROTOCOLS['pairs'].questions[0]
FITS = questionnaires.PROTOCOLS['coco_alignment'].questions[0]


def _answers(given, category='x', question='quality', side=''):
  """One answer a trial; given: {rater: answers}."""
  return [
    preference.Answer(
      rater=rater,
      trial=trial,
      category=category,
      side=side,
      question=question,
      answer=answer,
    )
    for rater, answers in given.items()
    for trial, answer in enumerate(answers)
  ]


NAMES = {'a': 'a', '-': 'none', 'b': 'b'}


def _said(text):
  return [NAMES[letter] for letter in text]


def test_shares_keep_ties_and_add_up():
  answers = _answers({1: _said('aaaaaaa--b')})
  found = {
    r.what: r
    for r in preference.rows(answers, [QUALITY])
    if r.category == preference.EVERYTHING
  }
  assert [found[w].value for w in ('a', 'none', 'b')] == [70, 20, 10]
  # Wilson's interval for 7 of 10, by R's prop.test without correction.
  low, high = found['a'].low, found['a'].high
  assert (low, high) == pytest.approx((39.68, 89.22), abs=0.01)
  assert found['mean'].value == pytest.approx(80)
  assert {r.interval for r in found.values()} == {
    'Wilson',
    'bootstrap over raters and pairs',
  }


def test_categories_stand_behind_everything():
  answers = _answers({1: _said('aab')}, 'y') + _answers({1: _said('b')}, 'x')
  rows = preference.rows(answers, [QUALITY])
  shares = {(r.category, r.n): r.value for r in rows if r.what == 'a'}
  assert list(shares) == [('all', 4), ('x', 1), ('y', 3)]
  assert list(shares.values()) == pytest.approx([50, 0, 200 / 3])


def test_pictures_without_categories_have_one_row():
  rows = preference.rows(_answers({1: _said('a')}, ''), [QUALITY])
  assert {r.category for r in rows} == {'all'}


def test_scores_have_a_normal_interval():
  """By hand: 100, 50, 0, 100 has mean 62.5, deviation 47.87."""
  given = ['yes', 'somewhat', 'no', 'yes']
  rows = preference.rows(
    _answers({1: given}, question='fits', side='b'), [FITS]
  )
  a, b = (r for r in rows if r.category == 'all')
  assert (b.what, b.n, b.value) == ('b', 4, 62.5)
  assert b.high - b.value == pytest.approx(1.959964 * 47.8714 / 2, abs=1e-3)
  assert a.n == 0 and math.isnan(a.value)


def test_the_bootstrap_knows_that_answers_of_a_rater_are_alike():
  """Ten raters, each of one mind: as ten answers, not as a thousand."""
  minds = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
  scores = np.repeat(minds, 100)
  raters, trials = np.repeat(np.arange(10), 100), np.tile(np.arange(100), 10)
  alike = preference.bootstrap(scores, raters, trials).std()
  assert alike == pytest.approx(math.sqrt(0.6 * 0.4 / 10), rel=0.1)
  mixed = np.random.default_rng(1).permutation(scores)
  assert preference.bootstrap(mixed, raters, trials).std() < alike / 4


def test_the_bootstrap_knows_that_answers_about_a_pair_are_alike():
  easy = np.tile([1, 1, 1, 0], 50)
  raters, trials = np.repeat(np.arange(50), 4), np.tile(np.arange(4), 50)
  spread = preference.bootstrap(easy, raters, trials).std()
  assert spread == pytest.approx(math.sqrt(0.75 * 0.25 / 4), rel=0.1)


# Krippendorff 2011, the reliability data of section C; 0 = no answer.
EXAMPLE = """
1 2 3 3 2 1 4 1 2 0 0 0
1 2 3 3 2 2 4 1 2 5 0 3
0 3 3 3 2 3 4 2 2 5 1 0
1 2 3 3 2 4 4 1 2 5 1 0
"""


def _units():
  table = np.array([line.split() for line in EXAMPLE.split('\n')[1:-1]], int)
  return [[int(v) for v in column if v] for column in table.T]


@pytest.mark.parametrize(
  ('distance', 'expected'),
  [(preference.different, 0.743), (preference.squared, 0.849)],
)
def test_alpha_of_the_published_example(distance, expected):
  found = preference.alpha(_units(), distance)
  assert found == pytest.approx(expected, abs=5e-4)


def test_alpha_at_its_ends():
  assert preference.alpha(['aa', 'bb', 'aa']) == 1
  assert preference.alpha(['ab', 'ba', 'ab']) < 0
  assert math.isnan(preference.alpha(['a', 'b']))  # nobody to agree with
  assert math.isnan(preference.alpha(['aa', 'aa']))  # nothing to differ in
  random = np.random.default_rng(0).integers(3, size=(4000, 3)).tolist()
  assert abs(preference.alpha(random)) < 0.03


def test_agreement_takes_its_own_question_alone():
  answers = _answers({1: _said('aabb'), 2: _said('aabb')})
  answers += _answers({1: _said('abab'), 2: _said('baba')}, question='caption')
  caption = questionnaires.PROTOCOLS['pairs'].questions[1]
  assert preference.agreement(answers, QUALITY) == 1
  assert preference.agreement(answers, caption) < 0
  scores = _answers({1: ['yes', 'no'], 2: ['somewhat', 'no']}, question='fits')
  nominal = preference.alpha([['yes', 'somewhat'], ['no', 'no']])
  assert preference.agreement(scores, FITS) > nominal
