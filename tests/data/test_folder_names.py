"""What lies in a folder is an example, rejected, or passed over by name."""

import json
import os
import pathlib
import unicodedata

import pytest

from imagen_jax.data import captions as captions_lib
from imagen_jax.data import (
  folders,
  images,
  index,
  parquet_pictures,
  sources,
)
from tests.support import sets, zoo


def _open(root, **changes):
  fields = {'directory': str(root), 'reading': sets.LOOSE} | changes
  return sources.Folder(**fields).open_index()


def _captions(found):
  return {(t := found.text(row)).id: t.captions for row in found.rows}


def _put(root, files):
  """Writes name -> text, or None for a picture."""
  for name, text in files.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = sets.jpeg(len(name)) if text is None else text.encode()
    path.write_bytes(data)
  return root


ODD = {
  'a.b.c.jpg': None, 'a.b.c.txt': 'dots',
  'v1.2.PNG': None, 'v1.2.TXT': 'capitals',
  'deep/er/x.JPEG': None, 'deep/er/x.Json': '{"text": ["one", "two"]}',
  'c.jfif': None, 'c.caption': 'a caption file',
  'both.jpg': None, 'both.png': None, 'both.txt': 'shared',
  'lonely.jpg': None, 'alone.txt': 'no picture', 'failed.json': '{}',
  '.hidden.jpg': None, '.hidden.txt': 'hidden', 'notes.md': 'notes',
  'Thumbs.db': 'x', '.cache/y.jpg': None,
}  # fmt: skip


def _nfd(name):
  return unicodedata.normalize('NFD', name)


def test_folder_and_shards_agree_on_every_file(tmp_path):
  root = _put(tmp_path / 'set', ODD)
  found = _open(root)
  assert _captions(found) == {
    'a.b.c.jpg': ('dots',), 'v1.2.PNG': ('capitals',),
    'deep/er/x.JPEG': ('one', 'two'), 'c.jfif': ('a caption file',),
    'both.jpg': ('shared',), 'both.png': ('shared',),
  }  # fmt: skip
  rejected = {r['id']: r['reason'] for r in found.rejected()}
  assert rejected == {'lonely.jpg': 'no caption', 'alone.txt': 'no picture'}
  assert found.about['such'] == {
    'no caption': 'lonely.jpg', 'no picture': 'alone.txt'
  }  # fmt: skip
  assert found.about['passed'] == {
    'hidden': [2, '.hidden.jpg'],
    'hidden folder': [1, '.cache'],
    'another kind of file': [2, 'Thumbs.db'],
    'no picture beside the .json': [1, 'failed.json'],
  }
  members = [(name, (root / name).read_bytes()) for name in sorted(ODD)]
  sets.shard(tmp_path / 'tar' / '0.tar', members)
  shards = sources.Shards(
    files=str(tmp_path / 'tar'), reading=sets.LOOSE
  ).open_index()
  assert sorted(_captions(shards).values()) == sorted(_captions(found).values())
  assert shards.about['rejected'] == found.about['rejected']
  assert sum(n for n, _ in shards.about['passed'].values()) == 6


def test_names_with_accents_of_either_kind(tmp_path):
  """A Mac writes e and an accent apart, others as one letter."""
  root = _put(
    tmp_path / 'set',
    {_nfd('été.jpg'): None, 'été.txt': 'beside', 'ö.jpg': None},
  )
  (root / _nfd('ö.txt')).write_text('the other way round')
  assert set(_captions(_open(root)).values()) == {
    ('beside',),
    ('the other way round',),
  }
  members = [(p.name, p.read_bytes()) for p in root.iterdir() if p.is_file()]
  sets.shard(tmp_path / 'tar' / '0.tar', members)
  shards = sources.Shards(files=str(tmp_path / 'tar')).open_index()
  assert len(shards) == 2 and not shards.about['rejected']
  rows = ''.join(
    json.dumps({'file_name': name, 'text': 'in the table'}) + '\n'
    for name in ('été.jpg', _nfd('ö.jpg'))
  )
  (root / 'metadata.jsonl').write_text(rows)
  found = _open(root)
  assert len(found) == 2 and not found.about['rejected']


def test_rows_of_one_picture_are_its_captions(tmp_path):
  root = sets.folder(tmp_path / 'set', 3)
  rows = [(f'{i:03d}.jpg', f'{k} of {i}') for k in range(3) for i in range(3)]
  text = 'file_name,text\n' + ''.join(f'{a},{b}\n' for a, b in rows)
  (root / 'metadata.csv').write_text(text + '001.jpg,1 of 1\n002.jpg,\n')
  found = _open(root)
  assert _captions(found)['001.jpg'] == ('0 of 1', '1 of 1', '2 of 1')
  assert [len(c) for c in _captions(found).values()] == [3, 3, 3]
  assert found.about['rejected'] == {'row occurs twice': 1}
  source = sources.Folder(directory=str(root), reading=sets.LOOSE).open('train')
  batches = sets.batches(source)
  drawn = {batches.row(p)[0]['caption'] for p in range(60)}
  assert len(drawn) == 3 * len(source)  # each in its turn
  again = sets.batches(source)
  for p in (0, 31):
    assert again.row(p)[0]['caption'] == batches.row(p)[0]['caption']


def test_tables_of_folders_within(tmp_path):
  """Each speaks for its folder and those below that have none of their own."""
  root = tmp_path / 'set'
  names = ['train/a', 'train/deep/b', 'test/c', 'train/own/d', 'loose/e']
  _put(root, {f'{name}.jpg': None for name in [*names, 'train/extra']})
  tables = {
    'train/metadata.jsonl': '{"file_name": "a.jpg", "text": "1"}\n'
    '{"file_name": "deep/b.jpg", "text": "2"}\n'
    '{"file_name": "../test/c.jpg", "text": "no"}\n',
    'test/METADATA.CSV': 'file_name,text\nc.jpg,3\n',
    'train/own/metadata.tsv': 'file_name\ttext\nd.jpg\t4, and more\n',
    'loose/e.txt': '5', 'train/extra.txt': 'not heeded',
  }  # fmt: skip
  found = _open(_put(root, tables))
  assert _captions(found) == {
    'train/a.jpg': ('1',), 'train/deep/b.jpg': ('2',), 'test/c.jpg': ('3',),
    'train/own/d.jpg': ('4, and more',), 'loose/e.jpg': ('5',),
  }  # fmt: skip
  assert found.about['rejected'] == {'path leaves the folder': 1}
  assert found.about['passed'] == {
    'not named in its metadata': [1, 'train/extra.jpg'],
    'the metadata goes before it': [1, 'train/extra.txt'],
  }


@pytest.mark.parametrize('separator', [',', ';', '\t', '|'])
def test_what_separates_the_columns(separator, tmp_path):
  root = sets.folder(tmp_path / 'set', 2)
  rows = [('id', 'file_name ', 'text'), (1, '000.jpg', '"a, b; c"'),
          (2, '001.jpg', '"a\tb | c\nd"')]  # fmt: skip
  text = ''.join(separator.join(map(str, row)) + '\r\n' for row in rows)
  (root / 'metadata.csv').write_text(text, newline='')
  assert _captions(_open(root)) == {
    '000.jpg': ('a, b; c',),
    '001.jpg': ('a b | c d',),
  }


def test_columns_by_a_setting(tmp_path):
  root = sets.folder(tmp_path / 'set', 1)
  row = {'image': '000.jpg', 'bild': '000.jpg', 'text': 'a', 'titel': 'b'}
  (root / 'metadata.jsonl').write_text(json.dumps(row))
  assert _captions(_open(root))['000.jpg'] == ('a',)
  place = str(tmp_path / 'other')
  found = _open(root, image='bild', caption='titel', index_dir=place)
  assert _captions(found)['000.jpg'] == ('b',)
  with pytest.raises(ValueError, match='no column photo; there are: bild, im'):
    _open(root, image='photo', index_dir=str(tmp_path / 'third'))


def test_lines_as_captions(tmp_path):
  root = _put(tmp_path / 'set', {'a.jpg': None, 'a.txt': 'one\r\n\n two\n'})
  assert _captions(_open(root))['a.jpg'] == ('one two',)
  with pytest.raises(ValueError, match="has settings .*'lines': False"):
    _open(root, lines=True)
  place = str(tmp_path / 'lines')
  found = _open(root, lines=True, index_dir=place)
  assert _captions(found)['a.jpg'] == ('one', 'two')
  sets.shard(
    tmp_path / 'tar' / '0.tar',
    [(n, (root / n).read_bytes()) for n in ('a.jpg', 'a.txt')],
  )
  both = [
    list(captions_lib.parse(text, lines=True, index_dir=str(tmp_path / name)))
    for name, text in (('lines', f'folder:{root}'),
                       ('tar_index', f'shards:{tmp_path / "tar"}'))
  ]  # fmt: skip
  assert both == [['one', 'two']] * 2


def _tables(root):
  rows = [('000.jpg', 'a'), ('001.jpg', 'b'), ('', 'c'), ('002.jpg', '')]
  return {
    'metadata.jsonl': ''.join(
      json.dumps({'file_name': n, 'text': t}) + '\n' for n, t in rows
    )
    + '[' * 100_000
    + '\n{"cut',
    'metadata.csv': 'file_name,text\n' + ''.join(f'{n},{t}\n' for n, t in rows),
  }


@pytest.mark.parametrize('name', ['metadata.jsonl', 'metadata.csv'])
def test_embed_reads_the_captions_of_a_table(name, tmp_path, capsys):
  path = tmp_path / name
  path.write_text(_tables(tmp_path)[name])
  source = captions_lib.parse(str(path))
  assert list(source) == ['a', 'b', 'c'] == list(source)
  said = capsys.readouterr().err
  assert said.count('without a caption, the first is row 4') == 1
  with pytest.raises(ValueError, match='no caption under title; there are: f'):
    list(captions_lib.parse(str(path), feature='title'))


@pytest.mark.parametrize(
  'name',
  ['a\0b.jpg', '\ud800.jpg', 'x' * 5000, '.', 'sub/', '', None, 3, ['a']],
)
def test_file_names_that_are_none(name, tmp_path):
  root = sets.folder(tmp_path / 'set', 2)
  (root / 'sub').mkdir()
  rows = [{'file_name': n, 'text': 'a'} for n in ('000.jpg', name)]
  (root / 'metadata.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  found = _open(root)
  assert len(found) == 1 and sum(found.about['rejected'].values()) == 1


def test_no_file_waits_or_is_read_without_end(tmp_path, monkeypatch):
  root = sets.folder(tmp_path / 'set', 2)
  monkeypatch.chdir(root)
  os.mkfifo('pipe.jpg')
  os.mkfifo('words.txt')
  pathlib.Path('pipe.txt').write_text('x')
  pathlib.Path('words.jpg').write_bytes(sets.jpeg(0))
  pathlib.Path('zero.png').symlink_to('/dev/zero')
  pathlib.Path('zero.txt').write_text('x')
  pathlib.Path('long.jpg').write_bytes(sets.jpeg(0))
  pathlib.Path('gone.jpg').symlink_to('nowhere')
  pathlib.Path('gone.txt').write_text('x')
  for name in ('long.txt', 'large.jpg'):
    with open(name, 'wb') as file:
      file.truncate(1 << 40)
  pathlib.Path('large.txt').write_text('x')
  found = _open(root)
  assert {r['id']: r['reason'] for r in found.rejected()} == {
    'pipe.jpg': 'no plain file', 'words.jpg': 'caption is no plain file',
    'zero.png': 'no plain file', 'long.jpg': 'caption is too long',
    'large.jpg': 'too large a file', 'gone.jpg': 'no picture',
  }  # fmt: skip
  os.mkfifo('metadata.jsonl')
  with pytest.raises(ValueError, match='jsonl cannot be read: is no plain fil'):
    _open(root)


def test_a_folder_that_may_not_be_read_is_told(tmp_path, monkeypatch):
  root = sets.folder(tmp_path / 'set', 2)
  sets.folder(root / 'shut', 1)
  scandir = os.scandir

  def refuse(path):
    if str(path).endswith('shut'):
      raise PermissionError(13, 'Permission denied', str(path))
    return scandir(path)

  monkeypatch.setattr(os, 'scandir', refuse)
  assert _open(root).about['such'] == {'folder cannot be read': 'shut'}


def test_decoders_that_raise_what_they_like(tmp_path, monkeypatch):
  def broken(*args, **kwargs):
    raise RuntimeError('of a decoder')

  monkeypatch.setattr(images.PIL.Image, 'open', broken)
  for function in (images.opened, images.header, images.decode):
    with pytest.raises(images.BadPicture, match='damaged'):
      function(b'data')


@pytest.mark.parametrize('kind', ['AVIF', 'WEBP', 'JPEG2000', 'TIFF', 'PNG'])
def test_every_damage_is_a_bad_picture(kind):
  whole = zoo.save(zoo.picture(), kind)
  for at in range(0, len(whole), max(1, len(whole) // 60)):
    for data in (whole[:at], whole[:at] + b'\xff\0\x7f' + whole[at + 3 :]):
      try:
        images.header(data)
        images.decode(data)
      except images.BadPicture:
        pass


def test_telephones_pictures_are_named():
  head = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(100)
  try:
    import pillow_heif  # noqa: F401

    wanted = 'damaged|truncated|not a picture|HEIC'
  except ImportError:
    wanted = 'HEIC, which needs pillow-heif'
  with pytest.raises(images.BadPicture, match=wanted):
    images.header(head)


def test_pictures_inside_parquet(tmp_path):
  pyarrow = pytest.importorskip('pyarrow')
  parquet = pytest.importorskip('pyarrow.parquet')
  root = tmp_path / 'set'
  (root / 'data').mkdir(parents=True)
  pictures = [{'bytes': sets.jpeg(i), 'path': f'{i}.jpg'} for i in range(12)]
  pictures[3]['bytes'] = b'no picture'
  pictures[4]['bytes'] = None
  table = {'image': pictures, 'text': [f'number {i}' for i in range(12)]}
  table['text'][5] = ''
  parquet.write_table(
    pyarrow.table(table), root / 'data' / 'train-0.parquet', row_group_size=5
  )
  parquet.write_table(
    pyarrow.table({'note': ['x'], 'text': ['y']}), root / 'notes.parquet'
  )
  sets.folder(root / 'beside', 2)
  source = sources.Folder(directory=str(root), reading=sets.LOOSE)
  found, opened = source.open_index(), source.open('train')
  assert len(found) == 11 and found.about['rejected'] == {
    'not a picture': 1, 'no picture': 1, 'no caption': 1
  }  # fmt: skip
  assert found.about['passed'] == {
    'Parquet without pictures': [1, 'notes.parquet']
  }
  for i in range(len(opened)):
    row, text = opened.entry(i)
    number = int(text.captions[0].split()[1])
    assert opened.fetch(row, text) == sets.jpeg(number)
  (root / 'data' / 'train-0.parquet').write_bytes(b'other')
  row, text = next(
    e for e in map(opened.entry, range(len(opened))) if 'parq' in e[1].path
  )
  with pytest.raises(images.BadPicture, match='changed since the index'):
    opened.fetch(row, text)
  with pytest.raises(ValueError, match='train-0.parquet is damaged'):
    source.open_index()


def test_parquet_that_nobody_can_read_is_passed_over(tmp_path, monkeypatch):
  """Programs that download pictures leave tables of addresses beside them."""
  root = sets.folder(tmp_path / 'set', 2)
  (root / '00000.parquet').write_bytes(b'PAR1')
  monkeypatch.setattr(parquet_pictures, '_is_readable', lambda: False)
  assert _open(root).about['passed'] == {
    'Parquet, which needs pyarrow': [1, '00000.parquet']
  }


def test_a_table_may_name_files_of_any_ending(tmp_path):
  root = tmp_path / 'set'
  _put(root, {'a': None, 'b.img': None, 'c.txt': None, 'd.bin': 'x'})
  rows = [{'file_name': n, 'text': n} for n in ('a', 'b.img', 'c.txt')]
  (root / 'metadata.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  found = _open(root)
  assert set(_captions(found)) == {'a', 'b.img', 'c.txt'}
  assert found.about['passed'] == {'another kind of file': [1, 'd.bin']}


def test_reasons_without_end_are_counted_together(tmp_path):
  root = sets.folder(tmp_path / 'set', 2)
  for i in range(150):
    (root / f'x{i}.jpg').write_bytes(sets.jpeg(0))
    (root / f'x{i}.json').write_text(json.dumps({f'key_{i}': 'x'}))
  rejected = _open(root).about['rejected']
  assert len(rejected) == 101 and rejected['other reasons'] == 50


def test_an_index_follows_its_folder_and_reads_what_changed(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(folders, '_PIECE', 8)
  root = sets.folder(tmp_path / 'set', 100)
  first = _open(root)
  looked, look = [], folders._look
  monkeypatch.setattr(
    folders, '_look', lambda r, o, f: looked.append(o.path) or look(r, o, f)
  )
  capsys.readouterr()
  assert _open(root).about == first.about and not looked
  assert not capsys.readouterr().err
  changes = {
    'caption': lambda: (root / '050.txt').write_text('mended'),
    'touched': lambda: os.utime(root / '020.jpg', ns=(5, 5)),
    'new': lambda: _put(root, {'000a.jpg': None, '000a.txt': 'new'}),
    'gone': lambda: (root / '070.jpg').unlink(),
  }
  for name, change in changes.items():
    looked.clear()
    change()
    found = _open(root)
    assert 0 < len(looked) < 60, name
    said = capsys.readouterr().err
    assert 'is of an older state of' in said and 'it is renewed' in said
    assert _captions(found) == _captions(
      _open(root, index_dir=str(tmp_path / f'whole_{name}'))
    )
    capsys.readouterr()
  assert _captions(found)['050.jpg'] == ('mended',)
  assert found.about['rejected'] == {'no picture': 1}
  (root / 'notes.md').write_text('no matter')
  looked.clear()
  _open(root)
  assert not looked and not capsys.readouterr().err


def test_an_index_inside_its_folder_is_no_part_of_it(tmp_path, capsys):
  root = sets.folder(tmp_path / 'set', 4)
  place = str(root / 'my_index')
  assert not _open(root, index_dir=place).about['passed']
  capsys.readouterr()
  assert not _open(root, index_dir=place).about['passed']
  assert not capsys.readouterr().err


def test_an_index_of_the_release_before_is_made_again(tmp_path):
  root = sets.folder(tmp_path / 'set', 4)
  before = _open(root).about
  path = root / index.FOLDER / index.FILE
  old = {k: before[k] for k in ('kind', 'root', 'files', 'examples')}
  path.write_text(json.dumps({'format_version': 1, **old}))
  assert _open(root).about['digest'] == before['digest']
  path.write_text(json.dumps({'format_version': 3, **old}))
  with pytest.raises(ValueError, match='is of format 3, this release reads 2'):
    _open(root)


def test_a_run_keeps_the_index_that_it_began_with(tmp_path):
  """What was opened stays; a process that joins later must not see another."""
  root = sets.folder(tmp_path / 'set', 6)
  found = _open(root)
  texts = _captions(found)
  kind, arguments = found.__reduce__()  # what other processes are sent
  assert _captions(kind(*arguments)) == texts
  (root / '001.txt').write_text('another')
  _open(root)
  assert _captions(found) == texts
  with pytest.raises(ValueError, match='was renewed while it was in use'):
    kind(*arguments)
