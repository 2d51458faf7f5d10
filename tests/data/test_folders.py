"""Folders and their metadata; nothing in them is passed over in silence."""

import csv
import errno
import json
import shutil

import numpy as np
import pytest

from imagen_jax.data import images, index, sources
from imagen_jax.files import retrying
from tests.support import sets, zoo


def _open(root, split='train', **changes):
  return sources.Folder(
    directory=str(root), **({'reading': sets.LOOSE} | changes)
  ).open(split)


def _captions(root, **changes):
  found = sources.Folder(directory=str(root), **changes).open_index()
  return {(t := found.text(row)).id: t.captions for row in found.rows}


def test_text_and_json_beside_pictures(tmp_path):
  root = sets.folder(tmp_path / 'set', 4)
  (root / 'deep').mkdir()
  (root / 'deep' / 'a.b.png').write_bytes(zoo.save(zoo.picture(), 'PNG'))
  (root / 'deep' / 'a.b.json').write_text('{"caption": ["one", " two\\n"]}')
  found = _captions(root)
  assert len(found) == 5
  assert found['deep/a.b.png'] == ('one', 'two')
  assert found['003.jpg'] == ('number 3',)


def test_a_key_that_is_named_goes_before_the_text(tmp_path):
  root = sets.folder(tmp_path / 'set', 2)
  (root / '001.json').write_text('{"caption": "no", "long": "a long one"}')
  assert _captions(root)['001.jpg'] == ('number 1',)
  shutil.rmtree(root / index.FOLDER)
  found = _captions(root, caption='long')
  assert found == {'000.jpg': ('number 0',), '001.jpg': ('a long one',)}


def test_a_folder_that_is_away_for_a_moment(tmp_path, monkeypatch):
  source = _open(sets.folder(tmp_path / 'set', 4))
  expected = sets.batches(source).batch(0)
  read, failures = images.read, [OSError(errno.ESTALE, 'old')]

  def away(path):
    if failures:
      raise failures.pop()
    return read(path)

  monkeypatch.setattr(images, 'read', away)
  monkeypatch.setattr(retrying, 'WAITS', (0,))
  found = sets.batches(source).batch(0)
  np.testing.assert_array_equal(found['image'], expected['image'])


def test_links_that_go_in_circles(tmp_path):
  root = sets.folder(tmp_path / 'set', 2)
  sets.folder(root / 'deep', 1)
  (root / 'deep' / 'up').symlink_to(root)
  (root / 'twice').symlink_to(root / 'deep')
  (root / 'elsewhere').symlink_to(sets.folder(tmp_path / 'other', 1))
  found = sources.Folder(directory=str(root)).open_index()
  names = {found.text(row).id for row in found.rows}
  assert names == {'000.jpg', '001.jpg', 'deep/000.jpg', 'elsewhere/000.jpg'}
  assert {one['id'] for one in found.rejected()} == {'deep/up', 'twice'}


def test_an_index_of_another_folder_is_not_used(tmp_path):
  """Nor is one that looks alike; a folder may have moved, though."""
  one, other = (sets.folder(tmp_path / name, 5) for name in ('one', 'other'))
  place = str(tmp_path / 'index')
  _open(one, index_dir=place)
  with pytest.raises(ValueError, match='index .* is of .*one, .* has .*other;'):
    _open(other, index_dir=place)
  (tmp_path / 'same').symlink_to(one)
  assert len(_open(tmp_path / 'same', index_dir=place))
  one.rename(tmp_path / 'moved')
  assert len(_open(tmp_path / 'moved', index_dir=place))


def test_an_index_in_its_folder_is_no_part_of_it(tmp_path, monkeypatch, capsys):
  sets.folder(tmp_path / 'set', 5)
  monkeypatch.chdir(tmp_path)
  place = str(tmp_path / 'set' / 'index')  # however the two are spelled
  _open('set', index_dir=place)
  assert 'passed over' not in capsys.readouterr().err
  _open('set', index_dir=place)
  assert capsys.readouterr().err == '', 'the index is renewed'


def test_metadata_files(tmp_path):
  rows = [{'file_name': f'{i:03d}.jpg', 'text': f'it is {i}'} for i in range(3)]
  for kind in ('jsonl', 'csv'):
    root = sets.folder(tmp_path / kind, 3)
    with open(root / f'metadata.{kind}', 'w', newline='') as file:
      if kind == 'csv':
        writer = csv.DictWriter(file, ['file_name', 'text'])
        writer.writeheader()
        writer.writerows(rows)
      else:
        file.writelines(json.dumps(row) + '\n' for row in rows)
    assert _captions(root)['002.jpg'] == ('it is 2',)
  with pytest.raises(ValueError, match='caption under title; .* file_name, te'):
    _captions(root, caption='title', index_dir=str(tmp_path / 'other'))


def test_marks_of_utf_8_are_not_read_as_letters(tmp_path):
  """Windows begins files with one."""
  mark = '\ufeff'
  rows = {
    'metadata.jsonl': '{"file_name": "000.jpg", "text": "é 0"}\n',
    'metadata.csv': 'file_name,text\n000.jpg,é 0\n',
    '000.json': '{"caption": "é 0"}',
    '000.txt': 'é 0\n',
  }
  for name, content in rows.items():
    root = tmp_path / name
    root.mkdir()
    (root / '000.jpg').write_bytes(sets.jpeg(0))
    (root / name).write_text(mark + content, encoding='utf-8')
    assert _captions(root) == {'000.jpg': ('é 0',)}, name


def test_rows_of_metadata_that_say_too_little(tmp_path):
  """Such a row is listed; a first row that does, or no table, is an error."""
  root = sets.folder(tmp_path / 'set', 4)
  table = root / 'metadata.csv'
  table.write_text('file_name,text\n000.jpg,a\n,b\n001.jpg\n002.jpg,c,d,e\n')
  found = sources.Folder(directory=str(root)).open_index()
  assert [found.text(row).id for row in found.rows] == ['000.jpg', '002.jpg']
  assert found.about['rejected'] == {'no file_name': 1, 'no caption': 1}
  for content, said in [
    (b'name,text\n0,a\n', 'no column file_name; there are: name, text'),
    (b'file_name,title\n0,a\n', 'there are: file_name, title; set caption'),
    ('file_name,text\n0,é\n'.encode('latin1'), 'csv is not UTF-8 .invalid'),
    (b'file_name,text\n0,"' + b'a' * 200_000, 'csv is damaged .* quote that'),
  ]:
    table.write_bytes(content)
    with pytest.raises(ValueError, match=said):
      _captions(root, index_dir=str(tmp_path / 'other'))
  lines = ['{"file_name": "000.jpg", "text": "a"}', '{"file_name": "001.jpg"}']
  table.unlink()
  (root / 'metadata.jsonl').write_text('\n'.join(lines))
  place = tmp_path / 'third'
  found = sources.Folder(directory=str(root), index_dir=str(place)).open_index()
  assert found.about['rejected'] == {'no caption': 1}


def test_parquet(tmp_path):
  pyarrow = pytest.importorskip('pyarrow')
  parquet = pytest.importorskip('pyarrow.parquet')
  root = sets.folder(tmp_path / 'set', 2)
  table = pyarrow.table(
    {'file_name': ['000.jpg', '001.jpg'], 'captions': [['a', 'b'], ['c']]}
  )
  parquet.write_table(table, root / 'metadata.parquet')
  assert _captions(root) == {'000.jpg': ('a', 'b'), '001.jpg': ('c',)}


def test_the_zoo_is_kept_or_listed_file_by_file(tmp_path):
  """What the index cannot see, training finds; the sum is all there is."""
  root = tmp_path / 'zoo'
  root.mkdir()
  files = zoo.good() | zoo.bad() | zoo.extreme()
  for name, (data, *_) in files.items():
    (root / name).write_bytes(data)
    (root / f'{name.rpartition(".")[0]}.txt').write_text('a thing')
  (root / 'alone.txt').write_text('no picture here')
  (root / 'silent.jpg').write_bytes(sets.jpeg(0))
  (root / 'blank.jpg').write_bytes(sets.jpeg(0))
  (root / 'blank.txt').write_text(' \n')
  (root / 'latin.jpg').write_bytes(sets.jpeg(0))
  (root / 'latin.txt').write_bytes('été'.encode('latin-1'))
  source = _open(root)
  found = source._index
  reasons = {row['id']: row['reason'] for row in found.rejected()}
  kept = {found.text(row).id for row in found.rows}
  assert kept.isdisjoint(reasons)
  assert kept | set(reasons) == set(files) | {
    'alone.txt', 'silent.jpg', 'blank.jpg', 'latin.jpg'
  }  # fmt: skip
  assert reasons['alone.txt'] == 'no picture'
  assert reasons['silent.jpg'] == reasons['blank.jpg'] == 'no caption'
  assert reasons['latin.jpg'] == 'caption is not UTF-8'
  assert reasons['bomb.png'] == 'too many pixels'
  assert set(zoo.good()) | set(zoo.extreme()) <= kept
  # Every example asked for once: the rest of the bad ones show.
  batches = sets.batches(source)
  bad = dict(one for i in range(len(source)) for one in batches.row(i)[1])
  for split in ('validation',):
    held = sets.batches(_open(root, split))
    n = len(_open(root, split))
    bad |= dict(one for i in range(n) for one in held.row(i)[1])
  assert set(bad) | set(reasons) >= set(zoo.bad())
  assert not set(bad) & (set(zoo.good()) | set(zoo.extreme()))


def test_extremes_are_filtered(tmp_path):
  root = sets.folder(tmp_path / 'set', 5)
  for name, (data, _) in zoo.extreme().items():
    (root / name).write_bytes(data)
    (root / f'{name.rpartition(".")[0]}.txt').write_text('extreme')
  assert len(_open(root)) + len(_open(root, 'validation')) == 5
  with pytest.raises(ValueError, match='none of 8 .* side of 900 .* is 70'):
    big = index.Filter(min_side=900)
    _open(root, reading=sets.photographs.Reading(keep=big))


def test_paths_that_leave_the_folder(tmp_path):
  root = sets.folder(tmp_path / 'set', 3)
  names = ['../out.jpg', '/etc/passwd', 'x/../../out.jpg', '000.jpg', '000.jpg']
  lines = [json.dumps({'file_name': n, 'text': 'x'}) for n in names]
  (root / 'metadata.jsonl').write_text('\n'.join([*lines, '{"cut']))
  found = sources.Folder(directory=str(root)).open_index()
  assert len(found) == 1
  assert found.about['rejected'] == {
    'path leaves the folder': 3,
    'row occurs twice': 1,
    'not a row of JSON': 1,
  }


def test_what_cannot_be_a_set(tmp_path):
  with pytest.raises(ValueError, match='nowhere does not exist'):
    _open(tmp_path / 'nowhere')
  (tmp_path / 'empty').mkdir()
  with pytest.raises(ValueError, match='empty holds no examples, neither pict'):
    _open(tmp_path / 'empty')
  root = sets.folder(tmp_path / 'silent', 3)
  for path in root.glob('*.txt'):
    path.unlink()
  with pytest.raises(ValueError, match='holds no examples: 3 no caption'):
    _open(root)
  assert not (root / index.FOLDER).exists()


def test_too_many_rejected_stop_before_the_start(tmp_path):
  root = sets.folder(tmp_path / 'set', 9)
  (root / '003.jpg').write_bytes(b'')
  strict = sets.photographs.Reading(keep=index.Filter(min_side=8))
  with pytest.raises(ValueError, match='1 of 9 files .11.1%. are no .*1 empty'):
    _open(root, reading=strict)


def test_files_that_change_under_a_run(tmp_path):
  root = sets.folder(tmp_path / 'set', 6)
  source = _open(root)
  for i in range(5):
    (root / f'{i:03d}.jpg').unlink()
  (root / '005.jpg').write_bytes(sets.jpeg(5) + b'x')
  with pytest.raises(ValueError, match='examples in a row are bad.*index was'):
    sets.batches(source).batch(0)
  with pytest.raises(ValueError, match='bad examples from 0 on'):
    source.example(0, 8)


def test_an_index_is_of_one_set_and_one_setting(tmp_path):
  root = sets.folder(tmp_path / 'set', 6)
  _open(root)
  with pytest.raises(ValueError, match=r"settings .*None.* has .*'title'"):
    _open(root, caption='title')
  (root / index.FOLDER / 'texts.bin').write_bytes(b'short')
  with pytest.raises(ValueError, match='texts.bin has 5 bytes.*is made again'):
    _open(root)
