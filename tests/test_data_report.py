"""The report: its numbers are the set's, its page needs nothing else."""

import os
import re

import numpy as np
import pytest

from imagen_jax import build_tfds, data_report
from imagen_jax.data import survey
from imagen_jax.pages import survey_page
from tests.support import sets, zoo


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  """20 pictures; 2 of them equal, 1 small, 1 wide, 2 bad; 2 captions long."""
  root = sets.folder(tmp_path_factory.mktemp('data') / 'set', 14)
  texts = ['a fox', 'лиса', '<b>bold</b> & more', 'word ' * 300] * 2
  for i, said in enumerate(texts[:6], start=14):
    (root / f'{i:03d}.jpg').write_bytes(sets.jpeg(i, size=(64, 64)))
    (root / f'{i:03d}.txt').write_text(said)
  (root / '001.jpg').write_bytes(sets.jpeg(0))
  (root / '002.jpg').write_bytes(sets.jpeg(2, size=(9, 9)))
  (root / '003.jpg').write_bytes(sets.jpeg(3, size=(400, 30)))
  (root / '004.jpg').write_bytes(zoo.bad()['cut_late.jpg'][0])
  (root / '005.jpg').write_bytes(b'')
  return root


def _report(root, *flags):
  argv = [f'--source={root}', '--resolution=16', *flags]
  return data_report.report(data_report.parser().parse_args(argv))


def test_the_numbers_are_the_sets(root):
  found = _report(root)
  assert found.examples == 19 and found.rejected == {'empty file': 1}
  assert (found.kept, found.too_small, found.too_narrow) == (17, 1, 1)
  assert found.bad == {'004.jpg': 'truncated'}
  assert found.same_files == [['000.jpg', '001.jpg']]
  assert found.characters.max() == len('word ' * 300) - 1
  assert (found.tokens > found.max_tokens).sum() == 1
  assert found.scripts['cyrillic'] == 8 / sum(
    sum(map(str.isalpha, c)) for several in found.captions for c in several
  )
  assert found.same_captions == [('a fox', 2), ('лиса', 2)]
  areas = 12 * [30 / 40] + 5 * [1.0] + [zoo.H / zoo.W]
  assert abs(found.cropped - np.mean(areas)) < 0.05
  assert found.seconds > 0 and len(found.thumbnails) == 16


def test_text_and_page(root, tmp_path, capsys):
  out = tmp_path / 'report.html'
  data_report.main(
    [f'--source={root}', '--resolution=16', f'--out={out}', '--width=256']
  )
  said = capsys.readouterr().out
  for line in (
    'examples            19 of 20 found',
    'kept by the filter  17 (89.5%)',
    'bad when decoded    1 (5.9%): 1 truncated',
    '000.jpg = 001.jpg',
    'cut at 128          1 (5.3%)',
    'all from 3 to 129 (129 = cut)',
    'a picture has       one each',
  ):
    assert line in said, said
  page = out.read_text(encoding='utf-8')
  assert page.count('data:image/jpeg;base64,') == 16
  assert page.count('<svg') == 5 and page.count('role="img"') == 5
  # Short sides: 16 of 30 to 64 pixels fall in one bin, 9 pixels in the first.
  assert re.search(r'tallest: 1[0-9]<', page)
  assert '<title>9 to ' in page and 'height="0.' not in page.split('<svg')[1]
  assert '&lt;b&gt;bold&lt;/b&gt; &amp; more' in page and '<b>' not in page
  assert not re.search(r'(src|href)="(?!data:)', page), 'it needs other files'


def test_one_value_far_away_does_not_press_the_others_into_one_bar():
  values = np.array([*range(10, 30)] * 20 + [9000])
  svg = survey_page._histogram(values, 'letters')
  assert 'letters (29 = or more)' in svg and svg.count('<rect') >= 19
  assert 'or more' not in survey_page._histogram(values[:-1], 'letters')
  assert '<svg' in survey_page._histogram(values[:0], 'letters')


def test_shards_and_their_captions(tmp_path):
  found = _report(sets.shards(tmp_path / 'set'))
  assert found.examples == 12
  assert found.captions[3] == ('number 3',)


def test_scripts():
  shares = survey.scripts(['ab', '猫', 'ねこ', '12 !?'])
  assert shares == {'latin': 0.4, 'hiragana': 0.4, 'cjk': 0.2}
  assert survey.scripts(['12']) == {}


@pytest.mark.parametrize(
  ('flags', 'said'),
  [
    (['--source=nowhere'], 'nowhere does not exist; give a folder'),
    (['--source=scenes:lite'], 'the embedded scenes are drawn'),
    (['--source=gs://b/set'], 'is remote: say where its index is kept'),
    (['--source=shards:'], '--source=shards: names no set'),
    (['--source=tfds:'], '--source=tfds: names no set'),
    (['--source=.', '--data_dir=x'], '--data_dir is for a tfds: source'),
    (['--source=shards:.', '--image=x'], '--image is for a folder or a tfds:'),
    (['--source=.', '--tokenizer=none.model'], 'none.model does not exist'),
    ([], '--source'),
  ],
)
def test_bad_input_is_one_line(flags, said, capsys, tmp_path):
  flags = [f.replace('--source=.', f'--source={tmp_path}') for f in flags]
  if any('tokenizer' in f for f in flags):
    sets.folder(tmp_path, 2)
  try:
    code = data_report.main(flags)
  except SystemExit as stop:  # a flag that argparse refuses
    code = stop.code
  assert code == 2
  error = capsys.readouterr().err.splitlines()[-1]
  assert error.startswith('error: ') and said in error


def test_names_of_files_that_are_no_text(tmp_path, capsys):
  root = sets.folder(tmp_path / 'set', 3, (80, 70))
  stem = os.fsdecode(b'caf\xe9')  # Latin 1
  (root / f'{stem}.jpg').write_bytes(sets.jpeg(0, (80, 70)))
  (root / f'{stem}.txt').write_text('number 0')
  (root / f'{stem}_bad.jpg').write_bytes(b'')
  (root / f'{stem}_bad.txt').write_text('bad')
  page = tmp_path / 'page.html'
  assert data_report.main([f'--source={root}', f'--out={page}']) == 0
  assert '4 of 5 found' in capsys.readouterr().out
  written = page.read_text(encoding='utf-8')
  assert 'caf\\udce9_bad.jpg' in written and 'empty file' in written


def test_sets_may_be_called_as_kinds_are(tmp_path, monkeypatch, capsys):
  """docs/data.md puts shards into a directory of that name."""
  monkeypatch.chdir(tmp_path)
  sets.shards(tmp_path / 'shards', 1, 3, (80, 70))
  sets.folder(tmp_path / 'tfds', 4, (80, 70))
  sets.folder(tmp_path / 'scenes', 5, (80, 70))
  for name, count in [('shards', 3), ('tfds', 4), ('scenes', 5)]:
    assert data_report.main([f'--source={name}']) == 0
    assert f'{count} of {count} found' in capsys.readouterr().out


@pytest.mark.parametrize('tool', [data_report, build_tfds])
def test_help_names_every_flag_with_its_default(tool, capsys):
  with pytest.raises(SystemExit) as stop:
    tool.main(['--help'])
  assert not stop.value.code
  text = ' '.join(capsys.readouterr().out.split())
  for action in tool.parser()._actions:
    if action.dest == 'help':
      continue
    assert 'default' in action.help
    assert all(option in text for option in action.option_strings)


def test_a_page_that_cannot_be_written(root, capsys):
  flags = [f'--source={root}', '--resolution=16', '--out=no/such/place.html']
  assert data_report.main(flags) == 2
  error = capsys.readouterr().err.splitlines()[-1]
  assert error.startswith('error: --out=no/such/place.html cannot be written')


def test_two_equal_files_are_found_where_no_other_is_of_their_size(tmp_path):
  root = sets.folder(tmp_path / 'set', 3)
  for name in ('000.jpg', '002.jpg'):
    (root / name).write_bytes(sets.jpeg(0, size=(90, 70)))
  assert _report(root).same_files == [['000.jpg', '002.jpg']]
