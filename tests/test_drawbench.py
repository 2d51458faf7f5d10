"""DrawBench drawn with the tiny cascade: sheets, metadata, ready to rate."""

import pytest

from imagen_jax import drawbench
from imagen_jax.data.emoji_scenes import prompts
from imagen_jax.evaluation.ratings import questionnaires, studies
from imagen_jax.evaluation.scenes import questions
from imagen_jax.files import pictures
from imagen_jax.sampling import cascade as cascade_lib
from tests.support import tiny_cascade


@pytest.fixture
def cascade(monkeypatch):
  found, drawn = tiny_cascade.load(), []
  monkeypatch.setattr(cascade_lib, 'load_cascade', lambda path: found)
  monkeypatch.setattr(drawbench.compilation, 'enable_cache', lambda: None)
  monkeypatch.setattr(questions, 'claimed', lambda words: 'lite')
  draw = cascade_lib.Cascade.draw

  def watched(self, requests, plan, **more):
    drawn.extend((r.caption, r.index) for r in requests)
    return draw(self, requests, plan, **more)

  monkeypatch.setattr(cascade_lib.Cascade, 'draw', watched)
  return drawn


def test_sets_by_category_that_rate_takes(cascade, tmp_path, capsys):
  command = ['--upto=8', '--steps=2', '--prompts=1', '--num_images=2']
  for side, seed in (('a', 0), ('b', 1)):
    flags = [f'--out={tmp_path / side}', f'--seed={seed}']
    assert drawbench.main([*command, *flags]) == 0
  printed = capsys.readouterr().out
  assert '2 pictures of 5 prompts in 5 categories, 8 px' in printed
  assert len(cascade) == 20
  first = prompts.load('lite')[0]
  _, text = pictures.read_png(tmp_path / 'a' / first.category / '000_1.png')
  assert text['category'] == first.category
  assert (text['prompt'], text['index']) == (first.caption, '1')
  sheet, text = pictures.read_png(tmp_path / 'a' / 'counting_sheet.png')
  assert 'prompt' not in text and sheet.std() > 0
  # The study has a trial for each prompt, of two sets, by category.
  roots = {side: str(tmp_path / side) for side in 'ab'}
  study = studies.define(roots, questionnaires.PROTOCOLS['drawbench'])
  assert [len(trial.a) for trial in study.trials] == [2] * 5
  assert sorted(trial.category for trial in study.trials) == sorted(
    prompts.CATEGORIES
  )
  # More prompts are added; nothing is drawn again.
  cascade.clear()
  command[2] = '--prompts=2'
  assert drawbench.main([*command, f'--out={tmp_path / "a"}']) == 0
  assert len(cascade) == 10
  # Different prompts on both sides cannot be compared.
  with pytest.raises(ValueError, match='--a has the prompt .* draw both from'):
    studies.define(roots, questionnaires.PROTOCOLS['drawbench'])


def test_bad_input_is_one_line(cascade, tmp_path, capsys):
  sheet = tmp_path / 'sheet.csv'
  sheet.write_text('Text,Kind\na fox,Colors\n')
  for flags, words in (
    ([f'--sheet={sheet}'], 'has the columns Text, Kind'),
    (['--upto=7'], 'upto is 7'),
    (['--guidance=-1'], 'guidance is -1'),
  ):
    assert drawbench.main([f'--out={tmp_path / "out"}', *flags]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count('\n') == 1
  assert not cascade and not (tmp_path / 'out').exists()


def test_another_seed_needs_another_directory(cascade, tmp_path, capsys):
  command = ['--upto=8', '--steps=2', '--prompts=1', '--num_images=1']
  command += [f'--out={tmp_path}']
  assert drawbench.main(command) == 0
  assert drawbench.main([*command, '--seed=1']) == 2
  assert 'seed 0, not 1' in capsys.readouterr().err


def test_ctrl_c_is_one_line_and_loses_nothing(
  cascade, monkeypatch, tmp_path, capsys
):
  command = ['--upto=8', '--steps=2', '--prompts=1', '--num_images=2']
  command += [f'--out={tmp_path}']
  draw = cascade_lib.Cascade.draw

  def interrupted(self, requests, plan, **more):
    if cascade:
      raise KeyboardInterrupt
    return draw(self, requests, plan, **more)

  with monkeypatch.context() as patch:
    patch.setattr(cascade_lib.Cascade, 'draw', interrupted)
    assert drawbench.main(command) == 130
  error = capsys.readouterr().err.splitlines()[-1]
  assert error == 'stopped; the same command goes on'
  there = len(cascade)
  assert 0 < there < 10
  cascade.clear()
  assert drawbench.main(command) == 0 and len(cascade) == 10 - there
