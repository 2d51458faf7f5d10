"""What is drawn of a run, and the words for it."""

import numpy as np

from imagen_jax.pages.run_report import curves, runs
from imagen_jax.training import noise_levels
from tests.support import work


def test_sections_hold_every_scalar_once(tmp_path):
  run = runs.read(str(work.make(tmp_path)))
  found = {title: figures for title, _, figures in curves.sections(run)}
  assert {title: len(figures) for title, figures in found.items()} == {
    'Curves': 5,
    'Loss by noise level': 2,
    'What the caption is worth': 1,
    'Other metrics': 1,  # grad_norm; skipped is 0 throughout
  }
  assert 'grad_norm' in found['Other metrics'][0]
  over_time, by_level = found['Loss by noise level']
  assert over_time.count('<li') == len(noise_levels.NAMES)
  # Level i is i + 1 times as bad, in each third.
  assert by_level.count('<circle') == 3 * len(noise_levels.NAMES)


def test_the_learning_rate_is_that_recorded(tmp_path):
  recorded = runs.read(str(work.make(tmp_path / 'a', learning_rate=0.125)))
  (steps, values), said = curves.learning_rate(recorded)
  assert len(steps) == 50 and set(values) == {0.125} and said == ''


def test_or_else_that_of_the_configuration(tmp_path):
  run = runs.read(str(work.make(tmp_path)))
  (steps, values), said = curves.learning_rate(run)
  assert 'not recorded' in said
  rate = dict(zip(steps, values))
  assert rate[1] == 0 and rate[100] < 0.001
  np.testing.assert_allclose(max(values), 0.02)
  none = runs.read(str(work.make(tmp_path / 'b', config='')))
  assert curves.learning_rate(none) == (([], []), '')
  odd = 'optimizers.LearningRate.warmup = -1\n'
  broken = runs.read(str(work.make(tmp_path / 'c', config=odd)))
  assert curves.learning_rate(broken) == (([], []), '')


def test_smoothing_keeps_lines_and_ends():
  line = [3 + 2 * i for i in range(100)]
  np.testing.assert_allclose(curves.smoothed(line), line)
  noise = np.random.default_rng(0).normal(size=1000)
  assert np.std(curves.smoothed(noise)[50:-50]) < 0.2


def test_a_curve_in_words():
  said = curves.told([10, 20, 30], [0.5, 0.125, 0.25])
  assert said == (
    'from 0.5 at step 10 to 0.25 at step 30; lowest 0.125 at step 20, highest '
    '0.5 at step 10.'
  )
  assert curves.told([5], [2.0]) == '2 at step 5.'


def test_levels_have_names():
  names = [curves.level(f'loss_logsnr_{n}') for n in noise_levels.NAMES]
  assert names[0] == 'below -10' and names[1] == '-10 to -6'
  assert names[-1] == 'above 10'
