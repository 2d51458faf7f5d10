"""The sweep: every combination once, the same numbers when it goes on."""

import csv
import types

import numpy as np
import pytest

from imagen_jax import sweep
from imagen_jax.data.emoji_scenes import drawing
from imagen_jax.evaluation.scenes import questions
from imagen_jax.files import pictures
from imagen_jax.sampling import cascade as cascade_lib
from tests.support import tiny_cascade


class Book:
  """A cascade that draws what was asked where guidance is above 2."""

  id = 'b00c'
  words = None
  plan = cascade_lib.Cascade.plan
  _stages_upto = cascade_lib.Cascade._stages_upto
  presets = {}

  def __init__(self):
    small, large = tiny_cascade.stage(8), tiny_cascade.stage(16)
    self.stages = tuple(
      types.SimpleNamespace(
        resolution=r, sampling=s.sampling, schedule=s.schedule, model=s.model
      )
      for r, s in ((64, small), (128, large))
    )
    self.scenes = {
      e.caption: e.scene for e in questions.examples('validation', 'lite', 6)
    }
    self.drawn = []
    self.ran = []  # stages of each

  def group(self, num_stages):
    return 2

  def draw(self, requests, plan, seed, given=None):
    first = 0 if given is None else 1
    self.drawn += [(r.caption, plan[-1].guidance) for r in requests]
    self.ran += [len(plan) - first] * len(requests)
    white = np.full((64, 64, 3), 255, np.uint8)
    return [
      drawing.draw(self.scenes[r.caption], 64)
      if plan[-1].guidance > 2
      else white
      for r in requests
    ]


@pytest.fixture
def book(monkeypatch):
  book = Book()
  monkeypatch.setattr(cascade_lib, 'load_cascade', lambda path: book)
  monkeypatch.setattr(sweep.compilation, 'enable_cache', lambda: None)
  return book


def test_all_combinations_and_no_picture_twice(book, tmp_path, capsys):
  out = tmp_path / 'out'
  command = [f'--out={out}', '--vocabulary=lite', '--threshold=static,dynamic']
  assert sweep.main([*command, '--num=2', '--guidance=1,4']) == 0
  assert len(book.drawn) == len(set(book.drawn)) * 2 == 8
  rows = list(csv.DictReader((out / 'sweep.csv').open()))
  assert [(r['guidance'], r['threshold']) for r in rows] == [
    ('1.0', 'static'),
    ('1.0', 'dynamic'),
    ('4.0', 'static'),
    ('4.0', 'dynamic'),
  ]
  assert [float(r['alignment']) for r in rows] == [0, 0, 1, 1]
  assert [float(r['likeness']) > 0.9 for r in rows] == [False] * 2 + [True] * 2
  # A value and a caption more: only these are drawn.
  assert sweep.main([*command, '--num=3', '--guidance=1,4,8']) == 0
  assert len(book.drawn) == 8 + 4 + 2 * 3
  rows = list(csv.DictReader((out / 'sweep.csv').open()))
  assert len(rows) == 6 and {r['n'] for r in rows} == {'3'}
  for name in ('sweep.png', 'sheet.png'):
    assert pictures.read_png(out / name)[0].std() > 0


def test_what_comes_before_the_stage_is_drawn_once(book, tmp_path):
  command = [f'--out={tmp_path}', '--vocabulary=lite', '--upto=128']
  assert sweep.main([*command, '--num=2', '--guidance=1,4,8']) == 0
  assert book.ran == [1] * 2 + [1] * 2 * 3  # the base; then the other alone
  assert sweep.main([*command, '--num=3', '--guidance=1,4,8,9']) == 0
  assert len(book.ran) == 8 + 1 + 3 + 3 and set(book.ran) == {1}


def test_rare_settings_are_swept(book, tmp_path):
  command = [f'--out={tmp_path}', '--vocabulary=lite', '--num=1']
  flags = ['--guidance_range=-5:5,off', '--eta=0,1']
  assert sweep.main([*command, *flags]) == 0
  rows = list(csv.DictReader((tmp_path / 'sweep.csv').open()))
  assert [(r['guidance_range'], r['eta']) for r in rows] == [
    ('-5:5', '0.0'),
    ('-5:5', '1.0'),
    ('off', '0.0'),
    ('off', '1.0'),
  ]
  assert (tmp_path / 'guidance_range=off,eta=1').is_dir()


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--guidance=-1'], 'guidance is -1.0'),
    (['--threshold=hard'], "threshold 'hard' is not one of"),
    (['--percentile=101'], 'percentile is 101.0'),
    (['--aug_level=0.1'], '--aug_level is of super-resolution'),
    (['--margin=2'], '--margin is of super-resolution'),
    (['--guidance_range=5:-5'], 'it must rise, from the noisier'),
    (['--stage=32'], '--stage=32, the stages that run end at 64'),
    (['--preset=best'], "preset 'best' is not one of paper, fast, draft"),
    (['--upto=32'], "'32' is no whole number (pixels) from 64"),
  ],
)
def test_bad_input_is_one_line(book, tmp_path, capsys, flags, message):
  try:
    code = sweep.main([f'--out={tmp_path}', '--vocabulary=lite', *flags])
  except SystemExit as e:
    code = e.code
  error = capsys.readouterr().err
  assert code == 2 and message in error and error.count('\n') == 1


def test_another_seed_needs_another_directory(book, tmp_path, capsys):
  command = [f'--out={tmp_path}', '--vocabulary=lite', '--num=1']
  assert sweep.main(command) == 0
  assert sweep.main([*command, '--seed=1']) == 2
  assert 'seed 0, not 1' in capsys.readouterr().err


def test_a_preset_that_has_changed_needs_another_directory(
  book, tmp_path, capsys
):
  command = [f'--out={tmp_path}', '--vocabulary=lite', '--num=1']
  command.append('--preset=fast')
  book.presets = {'fast': ({'steps': 3}, {'steps': 2})}
  assert sweep.main(command) == 0
  book.presets = {'fast': ({'steps': 4}, {'steps': 2})}
  assert sweep.main(command) == 2
  assert 'holds pictures of sampling' in capsys.readouterr().err
  assert len(book.drawn) == 1
