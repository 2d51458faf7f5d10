"""The guidance curve on scenes: points, resumed, with a judge of no training.

The cascade is a book: with guidance it draws what was asked, without it white.
"""

import csv
import json

import numpy as np
import pytest

from imagen_jax import evaluate, guidance_curve
from imagen_jax.data.emoji_scenes import drawing
from imagen_jax.evaluation import (
  feature_statistics,
  picture_sets,
  protocol_runs,
  protocols,
)
from imagen_jax.evaluation.scenes import judge
from imagen_jax.files import pictures
from imagen_jax.sampling import cascade as cascade_lib
from tests.evaluation.scenes.test_judge import small  # noqa: F401
from tests.support import tiny_cascade
from tests.test_sweep import Book as _Book


class Book(_Book):
  """Of the captions of test_iid."""

  def __init__(self):
    super().__init__()
    found = protocol_runs.questions.examples('test_iid', 'lite', 8)
    self.scenes = {e.caption: e.scene for e in found}
    self.stages = self.stages[:1]


@pytest.fixture
def book(monkeypatch, small):  # noqa: F811
  book = Book()
  for module in (guidance_curve, evaluate):
    monkeypatch.setattr(module.compilation, 'enable_cache', lambda: None)
  monkeypatch.setattr(cascade_lib, 'load_cascade', lambda path: book)
  monkeypatch.setattr(judge, 'SHIPPED', small)
  # A reference of a few scenes: each costs a reading by the checker.
  of = {
    'scenes_64': protocols.dataclasses.replace(
      protocols.PROTOCOLS['scenes_64'], reference_num=6
    )
  }
  monkeypatch.setattr(protocols, 'PROTOCOLS', {**protocols.PROTOCOLS, **of})
  return book


def test_points_are_drawn_once_and_stand_in_one_table(book, tmp_path, capsys):
  out = tmp_path / 'out'
  command = [f'--out={out}', '--num=4', '--guidance=1,4', '--threshold=static']
  assert guidance_curve.main(command) == 0
  assert len(book.drawn) == 2 * 4
  rows = list(csv.DictReader((out / 'guidance_curve.csv').open()))
  assert [float(r['alignment']) for r in rows] == [0, 1]
  assert [r['n'] for r in rows] == ['4', '4']
  assert len({r['protocol_id'] for r in rows}) == 2
  # The distance is that of the judge's features, to drawings of validation.
  found = judge.load()
  data = protocol_runs.source.EmojiScenes('validation', 'lite')
  drawn = np.stack([drawing.draw(data.scene(i), 64) for i in range(6)])
  reference = feature_statistics.of(found(drawn), 0)
  paths = sorted((out / 'static_w4' / 'images').rglob('*.png'))
  images = np.stack([pictures.read_png(path)[0] for path in paths])
  distance = picture_sets.distance(
    feature_statistics.of(found(images), 0), reference
  )
  assert abs(float(rows[1]['scene_fid']) - distance['fid']) < 1e-4
  # Drawn by the book, the pictures are those of the captions' own scenes.
  result = json.loads((out / 'static_w4' / 'scores.json').read_text())
  assert abs(result['drawings']['fid'] - distance['fid']) < 1e-6
  assert result['checker']['all']['share'] == 1
  assert set(result['agreement']) >= {'objects', 'count', 'all'}
  for name in ('guidance_curve.png', 'sheet.png'):
    assert pictures.read_png(out / name)[0].std() > 0
  # A point more: only this one is drawn, and the reference is not again.
  assert (
    guidance_curve.main([*command[:2], '--guidance=1,4,8', command[3]]) == 0
  )
  assert len(book.drawn) == 3 * 4
  assert len(list(out.glob('*/reference.npz'))) == 1
  capsys.readouterr()
  # Points of another judge, say, do not come into the same curve.
  results = {
    name: json.loads((out / name / 'scores.json').read_text())
    for name in ('static_w1', 'static_w4')
  }
  assert len(guidance_curve.curve_id(results)) == 12
  results['static_w4']['protocol']['network'] = 'other'
  with pytest.raises(ValueError, match='differ in more than guidance and thr'):
    guidance_curve.curve_id(results)
  files = [str(out / n / 'scores.json') for n in ('static_w1', 'static_w4')]
  assert evaluate.main(['--table', *files]) == 2
  assert 'stages 0 guidance is 1.0 there and 4.0' in capsys.readouterr().err


def test_the_scenes_protocol_prints_both_judges(book, tmp_path, capsys):
  command = ['--protocol=scenes_64', '--num=4', f'--out={tmp_path / "o"}']
  assert evaluate.main(command) == 2
  assert '4 pictures, at least 9 are needed' in capsys.readouterr().err
  assert evaluate.main([*command, '--minimum=4', '--guidance=4']) == 0
  printed = capsys.readouterr().out
  for words in ('scene-FID', 'agree', 'kappa', 'scenes_64, num changed'):
    assert words in printed
  found = json.loads((tmp_path / 'o' / 'scores.json').read_text())
  assert found['protocol']['network'] == judge.load().sha256
  assert found['protocol_id'] in printed and len(book.drawn) == 4
  assert evaluate.main([*command, '--minimum=4', '--guidance=4']) == 0
  assert capsys.readouterr().out == printed and len(book.drawn) == 4


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--threshold=hard'], '--threshold=hard is not one of dynamic, static'),
    (['--preset=best'], "preset 'best' is not one of"),
    (['--guidance=-1'], 'guidance is -1.0'),
    (['--protocol=coco10k'], '--clip is missing'),
    (['--protocol=coco10k', '--upto=64', '--clip=x'], 'convert_inception'),
    (['--hosts=2'], '--hosts: a curve is drawn by one machine'),
    (['--upto=128'], 'upto is 128'),
    (['--num=2000'], 'test_iid holds 1,000 captions, not 2,000'),
    (['--judge=none'], 'none holds no judge'),
  ],
)
def test_bad_input_is_one_line(book, tmp_path, capsys, flags, message):
  assert guidance_curve.main([f'--out={tmp_path / "o"}', *flags]) == 2
  error = capsys.readouterr().err
  assert message in error and error.count('\n') == 1
  assert not book.drawn


def test_a_cascade_of_other_stages_is_refused(monkeypatch, tmp_path, capsys):
  found = tiny_cascade.load()
  monkeypatch.setattr(cascade_lib, 'load_cascade', lambda path: found)
  assert guidance_curve.main([f'--out={tmp_path / "o"}']) == 2
  assert 'stages of 64 px, the cascade has 8' in capsys.readouterr().err
