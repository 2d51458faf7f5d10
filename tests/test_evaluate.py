"""Facts about the evaluate command, with a cascade that draws by the book."""

import dataclasses
import json
import types

import numpy as np
import pytest

from imagen_jax import evaluate, stages
from imagen_jax.data.emoji_scenes import drawing, source, splits
from imagen_jax.sampling import cascade as cascade_lib
from tests.support import tiny_cascade

WRONG = 3  # every third caption is drawn in green


class Book:
  """Stands in for a cascade: draws the very scene that a caption came from."""

  id = 'b00c'

  def __init__(self):
    vocabulary = splits.LITE
    self.words = frozenset((*vocabulary.nouns, *vocabulary.colours))
    self.stages = tuple(
      types.SimpleNamespace(
        name=f's{r}', resolution=r, sampling=stages.Sampling(steps=r)
      )
      for r in (64, 256)
    )
    self.pages, self.drawn, self.calls = {}, [], []
    for split in ('prompts', 'test_binding'):
      data = source.EmojiScenes(split, 'lite')
      for index in range(20):
        self.pages[data.caption(index)] = data.scene(index)

  def plan(self, *, upto, guidance=None, steps=None, aug_level=None):
    if guidance is not None and guidance[0] < 0:
      raise ValueError(f'guidance is {guidance[0]}; it must be 0 or more')
    return tuple(
      dataclasses.replace(s.sampling, steps=steps[0] if steps else 8)
      for s in self.stages
      if s.resolution <= upto
    )

  def group(self, num_stages):
    return 4

  def draw(self, requests, plan, *, seed=0, progress=None):
    self.calls.append(len(requests))
    images = []
    for request in requests:
      scene = self.pages[request.caption]
      if len(self.drawn) % WRONG == 0:
        items = [dataclasses.replace(i, colour='green') for i in scene.items]
        scene = dataclasses.replace(scene, items=tuple(items))
      self.drawn.append(request.caption)
      images.append(drawing.draw(scene, self.stages[len(plan) - 1].resolution))
    return np.stack(images)


@pytest.fixture
def book(monkeypatch):
  book = Book()
  monkeypatch.setattr(cascade_lib, 'load_cascade', lambda path: book)
  return book


def test_scores_resumes_and_grows(book, tmp_path, capsys):
  out = tmp_path / 'out'
  command = ['--split=test_binding', f'--out={out}', '--num']
  assert evaluate.main([*command, '5']) == 0
  first = capsys.readouterr().out
  # In groups that fill every device.
  assert len(book.drawn) == 5 and book.calls == [4, 1]
  # A kill between picture and record: read again, not drawn again.
  path = out / 'test_binding.jsonl'
  lines = path.read_text().splitlines(keepends=True)
  path.write_text(''.join(lines[:3]) + lines[3][:20])
  assert evaluate.main([*command, '5']) == 0
  assert capsys.readouterr().out == first and len(book.drawn) == 5
  assert evaluate.main([*command, '6']) == 0
  assert len(book.drawn) == 6
  (out / 'test_binding' / '00004.png').unlink()
  book.drawn.append('a')  # keeps the rhythm of what is drawn wrong
  assert evaluate.main([*command, '6']) == 0
  assert book.drawn.pop() == book.drawn[4]
  scores = json.loads((out / 'scores.json').read_text())['test_binding']
  assert scores['n'] == 6 and scores['all']['ceiling'] == 1
  assert scores['objects']['right'] == 6
  assert scores['all']['right'] == scores['colours']['right'] == 4
  assert (out / 'test_binding.png').exists()
  assert sum(1 for _ in (out / 'test_binding').glob('*.png')) == 6


def test_prints_the_kinds_of_prompts(book, tmp_path, capsys):
  book.pages |= {
    p.caption: p.scene for p in evaluate.questions.prompts.load('lite')
  }
  command = ['--num=10', '--upto=64', f'--out={tmp_path}']
  assert evaluate.main([*command, '--split=prompts']) == 0
  names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
  assert 'prompts/easy' in names and 'prompts/conflicting' in names


def test_refuses_another_cascade_or_setting_in_the_same_directory(
  book, tmp_path, capsys
):
  command = ['--split=test_binding', '--num=1', f'--out={tmp_path}']
  assert evaluate.main(command) == 0
  book.id = 'other'
  assert evaluate.main(command) == 2
  assert "cascade 'b00c', not 'other'" in capsys.readouterr().err
  book.id = 'b00c'
  assert evaluate.main([*command, '--seed=1']) == 2
  assert 'seed 0, not 1' in capsys.readouterr().err
  assert evaluate.main([*command, '--steps=9']) == 2
  assert len(book.drawn) == 1


def test_bad_input_is_one_line(book, tmp_path, capsys):
  file = tmp_path / 'file'
  file.write_text('')
  for arguments, words in (
    (['--guidance=-1'], 'guidance is -1'),
    (
      ['--protocol=scenes', '--margin=2'],
      "in a protocol margin is the stages'",
    ),
    ([f'--out={file}/x'], 'cannot be written'),
  ):
    assert evaluate.main([f'--out={tmp_path / "o"}', *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count('\n') == 1
  for arguments, words in (
    (['--split=test'], "unknown split 'test'"),
    (['--num=0'], "'0' is no whole number"),
  ):
    with pytest.raises(SystemExit) as stop:
      evaluate.main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert words in error and error.count('\n') == 1


def test_judges_the_last_stage_of_at_most_256_that_can_be_read(book):
  sizes = lambda *rs: types.SimpleNamespace(  # noqa: E731
    stages=[types.SimpleNamespace(resolution=r) for r in rs]
  )
  assert evaluate.last_stage(sizes(64, 256, 1024)) == 256
  assert evaluate.last_stage(sizes(64)) == 64
  assert evaluate.last_stage(sizes(512)) == 512
  with pytest.raises(ValueError, match='8 px, the checker needs 64'):
    evaluate.check_resolution(8)


def test_real_cascades_are_checked_before_anything_is_drawn(tmp_path, capsys):
  tiny = tiny_cascade.directory()  # 32 px
  for cascade, words in (
    (tiny, '32 px, the checker needs 64'),
    (tmp_path / 'none', 'does not exist'),
  ):
    arguments = [f'--cascade={cascade}', f'--out={tmp_path / "out"}']
    assert evaluate.main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count('\n') == 1
  assert not (tmp_path / 'out').exists()
