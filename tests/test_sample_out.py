"""`sample --out`: a directory, or the file of the only picture."""

import os
import pathlib

import numpy as np
import pytest

from imagen_jax import sample
from imagen_jax.config import flags
from imagen_jax.files import pictures
from imagen_jax.sampling import cascade as cascade_lib
from tests.support import tiny_cascade

FOX, KEYS, _ = tiny_cascade.CAPTIONS


@pytest.fixture(autouse=True)
def _shared_cascade(monkeypatch, tmp_path):
  """Programs compiled once for all tests; pictures below tmp_path."""
  shared = tiny_cascade.load()
  monkeypatch.setattr(cascade_lib, 'load_cascade', lambda *_, **__: shared)
  monkeypatch.setattr(sample.compilation, 'enable_cache', lambda: None)
  monkeypatch.chdir(tmp_path)


def _run(capsys, *words):
  """Exit code, lines on stdout, lines on stderr."""
  try:
    code = sample.main(list(words))
  except SystemExit as e:
    code = e.code
  said = capsys.readouterr()
  return code, said.out.splitlines(), said.err.splitlines()


def test_one_picture_is_the_file(capsys):
  code, out, _ = _run(capsys, FOX, '--upto=8', '--out=a/fox.png')
  assert (code, out) == (0, ['a/fox.png'])
  assert os.listdir('a') == ['fox.png']
  image, text = pictures.read_png('a/fox.png')
  assert text['prompt'] == FOX
  # The same as in a directory, and drawn again from the file into a file.
  _, (path,), _ = _run(capsys, FOX, '--upto=8', '--out=b')
  np.testing.assert_array_equal(pictures.read_png(path)[0], image)
  code, out, _ = _run(capsys, '--reproduce=a/fox.png', '--out=again.PNG')
  assert code == 0 and out == ['again.PNG', 'the same picture, bit for bit']
  assert pictures.read_png('again.PNG')[1] == text


def test_a_file_that_is_there_is_replaced(capsys):
  pathlib.Path('fox.png').write_text('old')
  assert _run(capsys, FOX, '--upto=8', '--out=fox.png')[0] == 0
  assert pictures.read_png('fox.png')[0].shape == (8, 8, 3)


def test_a_directory_of_such_a_name_is_one(capsys):
  pathlib.Path('v1.png').mkdir()
  code, (path,), _ = _run(capsys, FOX, '--upto=8', '--out=v1.png')
  assert code == 0 and pathlib.Path(path).parent == pathlib.Path('v1.png')
  code, (path,), _ = _run(capsys, FOX, '--upto=8', '--out=run.v2')
  assert code == 0 and pathlib.Path('run.v2').is_dir()


def test_an_enlarged_picture_is_the_file(capsys):
  pictures.write_png('small.png', np.zeros((8, 8, 3), np.uint8), {})
  code, out, _ = _run(capsys, '--upscale=small.png', '--out=a/large.png')
  assert (code, out) == (0, ['a/large.png'])


@pytest.mark.parametrize(
  'words, message',
  [
    ([FOX, KEYS, '--out=x.png'], 'one file, too few for 2 pictures'),
    ([FOX, '--num_images=3', '--out=x.png'], 'too few for 3 pictures'),
    ([FOX, '--save_steps', '--out=x.png'], 'too few for --save_steps'),
    (['--prompts_file=p.txt', '--out=x.png'], 'too few for --prompts_file'),
    ([FOX, KEYS, '--interpolate=2', '--out=x.png'], 'for --interpolate'),
    ([FOX, '--out=fox.jpg'], 'pictures are PNG files.*give fox.png'),
    ([FOX, '--out=fox.WEBP'], 'pictures are PNG files.*give fox.png'),
  ],
)
def test_what_is_no_single_file(words, message, capsys):
  pathlib.Path('p.txt').write_text(FOX)
  code, out, (line,) = _run(capsys, '--upto=8', *words)
  assert (code, out) == (2, [])
  assert line.startswith('error: --out=')
  import re

  assert re.search(message, line)
  assert os.listdir() == ['p.txt']


def test_a_recipe_of_another_size_than_its_picture(capsys):
  """A few bytes must not ask for a picture of gigabytes."""
  _run(capsys, FOX, '--upto=8', '--out=fox.png')
  image, text = pictures.read_png('fox.png')
  pictures.write_png('fox.png', image, {**text, 'size': '16384x16384'})
  code, _, (line,) = _run(capsys, '--reproduce=fox.png')
  assert code == 2
  assert 'is of 8 x 8 pixels, its recipe says 16384 x 16384' in line


def test_seeds_of_other_tools_are_told():
  assert flags.seed('4294967295') == 2**32 - 1
  for given, taken in ((2**64 - 1, 2**32 - 1), (2**32, 0)):
    with pytest.raises(Exception, match=f'take {taken}$'):
      flags.seed(str(given))
  for text in ('-1', 'x', '9' * 5000, '1.5'):
    with pytest.raises(Exception, match='is no whole number') as caught:
      flags.seed(text)
    assert 'take' not in str(caught.value)
