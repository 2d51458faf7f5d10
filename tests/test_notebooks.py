"""Every notebook runs, on tiny stand-ins, and lies in git without outputs."""

import json
import pathlib
import re

import matplotlib
import numpy as np
import pytest

from imagen_jax.models import unet
from tests.support import notebook_runner, sets, tiny_cascade

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'notebooks'
NOTEBOOKS = sorted(FOLDER.glob('*.ipynb'))

matplotlib.use('Agg')


@pytest.fixture
def figures(tmp_path, monkeypatch):
  """A directory of one's own, and the figures that were shown."""
  from matplotlib import pyplot

  shown = []

  def show():
    figure = pyplot.gcf()
    figure.draw_without_rendering()  # what cannot be drawn fails here
    shown.append(figure)
    pyplot.close(figure)

  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(pyplot, 'show', show)
  with matplotlib.rc_context():
    yield shown


def titles(figure):
  found = [' '.join(axis.get_title().split()) for axis in figure.axes]
  return [title for title in found if title]


def test_there_are_four():
  assert [path.stem for path in NOTEBOOKS] == [
    'first_picture',
    'the_pieces',
    'tpu_from_t5_xxl',
    'train_on_your_folder',
  ]


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_valid_and_has_no_outputs(path):
  notebook = notebook_runner.read(path)
  assert notebook.nbformat == 4 and notebook.nbformat_minor >= 5
  assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
  for cell in notebook.cells:
    if cell.cell_type == 'code':
      assert cell.outputs == [] and cell.execution_count is None
  # As editors write it, so that changes of a cell are all that git shows.
  text = path.read_text(encoding='utf-8')
  again = json.dumps(json.loads(text), indent=1, ensure_ascii=False)
  assert text == again + '\n'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_it_opens_with_what_it_is_and_one_line_that_installs(path):
  cells = notebook_runner.read(path).cells
  assert cells[0].source.startswith('# ')
  install, parameters = [c for c in cells if c.cell_type == 'code'][:2]
  assert install.metadata.tags == ['install']
  assert install.source.count('%pip install') == 1
  assert "REPOSITORY = ''" in install.source
  assert parameters.metadata.tags == ['parameters']


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_it_tells_of_what_there_is(path):
  """Commands with their flags, notebooks and files of this repository."""
  text = '\n'.join(c.source for c in notebook_runner.read(path).cells)
  for name in re.findall(r'`([\w/]+\.(?:gin|sh|ipynb)|imagen_jax/\w+/)`', text):
    assert (ROOT / name).exists() or (FOLDER / name).exists(), name
  for module in re.findall(r'python -m imagen_jax\.(\w+)', text):
    assert (ROOT / 'imagen_jax' / f'{module}.py').exists(), module


def test_first_picture(figures):
  """With the weights that ship: the first stage, a step."""
  names = notebook_runner.run(
    FOLDER / 'first_picture.ipynb', UPTO=64, STEPS=1, SEED=3
  )
  coarse, sentences, seeds = figures
  assert titles(coarse) == ['64 x 64']
  assert titles(sentences) == names['sentences']
  pictures = [np.asarray(a.images[0].get_array()) for a in seeds.axes]
  assert len(pictures) == 4 and pictures[0].shape == (64, 64, 3)
  # The first of several is the one drawn alone.
  alone = np.asarray(coarse.axes[0].images[0].get_array())
  np.testing.assert_array_equal(pictures[0], alone)
  assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 1


def test_the_pieces(figures):
  names = notebook_runner.run(
    FOLDER / 'the_pieces.ipynb',
    CASCADE=tiny_cascade.directory(),
    STEPS=3,
  )
  assert len(figures) == 7
  schedules = figures[0].axes[0]
  cosine, shifted, _ = (line.get_ydata() for line in schedules.lines)
  np.testing.assert_allclose(cosine - shifted, 2, rtol=1e-5)
  # Told and not told see different things in the same noise.
  assert float(abs(names['told'] - names['untold']).mean()) > 1e-4
  # The pixels beyond which one in 200 lies, but at least 1.
  for scale, x in zip(names['scale'], names['strong']):
    np.testing.assert_allclose(
      scale, max(1, np.percentile(abs(x), 99.5)), rtol=1e-5
    )
  assert max(names['seen']) == 3


@pytest.mark.slow  # compiles a train step, three samplers: 45 s of a core
def test_train_on_your_folder(figures, tmp_path):
  names = notebook_runner.run(
    FOLDER / 'train_on_your_folder.ipynb',
    CASCADE=tiny_cascade.directory(),
    STEPS=8,
    BATCH=8,
  )
  data, before, losses, after = figures
  assert 'ring' in titles(data)[0] and len(titles(data)) == 8
  assert titles(before) == titles(after) == names['CAPTIONS']
  pictures = [
    np.stack([np.asarray(a.images[0].get_array()) for a in figure.axes])
    for figure in (before, after)
  ]
  assert (pictures[0] != pictures[1]).any(), 'nothing was learned'
  assert len(losses.axes[0].lines[0].get_xdata()) == 8
  assert len(list((tmp_path / 'rings').glob('*.png'))) == 200
  assert names['images'].shape == (1, 32, 32, 3)


@pytest.mark.slow  # and another, over 8 devices: 40 s of a core
def test_tpu_from_t5_xxl(figures, tmp_path):
  """T5-XXL, a pod's shards and 370M parameters, all of them tiny."""
  sets.shards(tmp_path / 'shards', each=16)
  names = notebook_runner.run(
    FOLDER / 'tpu_from_t5_xxl.ipynb',
    ENCODER=tiny_cascade.parts() / 'text',
    MODEL=tiny_cascade.stage(8).model,
    LENGTH=tiny_cascade.LENGTH,
    BATCH=8,
    STEPS=4,
    EVERY=2,
    SAMPLER_STEPS=2,
  )
  assert isinstance(names['MODEL'], unet.UNetConfig)
  assert len(names['captions']) == 48
  losses, samples = figures
  assert list(losses.axes[0].lines[1].get_xdata()) == [2, 4]
  assert len(losses.axes[1].lines) >= 4
  assert titles(samples) == names['shown']
  assert names['images'].shape == (8, 8, 8, 3)
  run = tmp_path / 'work' / 'run'
  assert (run / 'report.html').stat().st_size > 10_000
  assert (run / 'samples' / 'step_00000004.png').exists()
