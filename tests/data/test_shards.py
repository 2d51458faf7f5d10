"""Tar shards by number; bad archives, and shards that change under a run."""

import errno
import os
import shutil
import tarfile

import numpy as np
import pytest

from imagen_jax.data import index, sources
from imagen_jax.files import remote as remote_lib
from imagen_jax.files import retrying
from tests.support import sets


def _shards(files, **changes):
  fields = {'files': str(files), 'reading': sets.LOOSE} | changes
  return sources.Shards(**fields)


def _open(files, split='train', **changes):
  return _shards(files, **changes).open(split)


def _index(tmp_path, members, name='00000.tar'):
  root = tmp_path / 'made'
  sets.shard(root / name, members)
  return _shards(root).open_index()


def test_pictures_and_captions_stay_together(tmp_path):
  root = sets.shards(tmp_path / 'set')
  source = _open(root)
  assert len(source) + len(_open(root, 'validation')) == 12
  for i in range(len(source)):
    example = source.example(i, 8)
    number = int(example['caption'].split()[1])
    assert example['id'] == f'{number // 4:05d}.tar/{number:09d}'
    expected = sets.colour_of(number)
    assert np.abs(example['image'][4, 4].astype(int) - expected).max() < 6


def test_batches_need_no_order_of_reading(tmp_path):
  root = sets.shards(tmp_path / 'set')
  first = sets.batches(_open(root)).batch(7)
  batches = sets.batches(_open(root))
  for k in (0, 7):
    again = batches.batch(k)
  np.testing.assert_array_equal(first['image'], again['image'])


def test_patterns(tmp_path):
  root = sets.shards(tmp_path / 'set')
  assert remote_lib.expand('x{08..10}y') == ['x08y', 'x09y', 'x10y']
  for pattern, count in [
    (f'{root}/*.tar', 12),
    (f'{root}/{{00000..00001}}.tar', 8),
    (f'{root}/00002.tar', 4),
  ]:
    place = str(tmp_path / f'index_{count}')
    assert len(_shards(pattern, index_dir=place).open_index()) == count
  with pytest.raises(ValueError, match='there is no file'):
    _open(tmp_path / 'no' / '*.tar')
  with pytest.raises(ValueError, match='names .*/00001.tar twice'):
    _open(f'{root}/*{{0..1}}*.tar')
  with pytest.raises(ValueError, match='00003.tar is not there'):
    _open(f'{root}/{{00002..00003}}.tar')


def test_json_where_there_is_no_text(tmp_path):
  picture, _, about = sets.sample(5)
  found = _index(tmp_path, [picture, about])
  assert found.text(found.rows[0]).captions == ('number 5',)


def test_a_key_that_is_named_goes_before_the_text(tmp_path):
  picture, text, _ = sets.sample(5)
  about = ('000000005.json', b'{"caption": "number 5", "long": "a long one"}')
  root = tmp_path / 'set'
  sets.shard(root / '00000.tar', [picture, text, about, *sets.sample(6)[:2]])
  for caption, first in [(None, 'number 5'), ('long', 'a long one')]:
    place = str(tmp_path / f'index_{caption}')
    source = sources.Shards(files=str(root), caption=caption, index_dir=place)
    found = source.open_index()
    seen = [found.text(row).captions for row in found.rows]
    assert seen == [(first,), ('number 6',)]


def test_members_that_are_no_examples(tmp_path):
  picture, text, about = sets.sample(1)
  found = _index(
    tmp_path,
    [
      *sets.sample(0),
      ('../../outside.jpg', sets.jpeg(2)),
      ('/etc/absolute.jpg', sets.jpeg(2)),
      ('a/../../b.jpg', sets.jpeg(2)),
      picture,
      text,
      (picture[0], sets.jpeg(9)),  # again
      ('lone.jpg', sets.jpeg(3)),
      ('words.txt', b'no picture'),
      ('failed.json', b'{"status": "failed_to_download"}'),
      ('._000000000.jpg', b'of another system'),
      ('bad.jpg', b''),
      ('bad.txt', b'empty'),
      ('odd.jpg', sets.jpeg(4)),
      ('odd.json', b'{"title": "x", "url": "y"}'),
    ],
  )
  assert len(found) == 2
  assert found.about['rejected'] == {
    'path leaves the archive': 3,
    'name occurs twice in its shard': 1,
    'no caption': 1,
    'no picture': 1,
    'empty file': 1,
    'no caption under text or caption or captions; there are: title, url': 1,
  }
  assert not (tmp_path / 'outside.jpg').exists()
  ids = {row['id'] for row in found.rejected()}
  assert '00000.tar/000000001.jpg' in ids


def test_links_are_not_followed(tmp_path):
  path = tmp_path / 'made' / '0.tar'
  sets.shard(path, sets.sample(0))
  with tarfile.open(path, 'a') as tar:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
      link = tarfile.TarInfo(f'link{kind[0]}.jpg')
      link.type, link.linkname = kind, '/etc/passwd'
      tar.addfile(link)
  found = _shards(path.parent).open_index()
  assert len(found) == 1
  assert found.about['rejected'] == {'not a plain file': 3}


def test_the_same_names_in_several_shards_are_several_examples(tmp_path):
  root = tmp_path / 'set'
  for name in ('a', 'b'):
    sets.shard(root / name / '00000.tar', sets.sample(0) + sets.sample(1))
  found = _shards(root).open_index()
  ids = {found.text(row).id for row in found.rows}
  assert len(ids) == 4 and 'b/00000.tar/000000001' in ids


def test_a_shard_cut_short_keeps_what_is_whole(tmp_path):
  root = sets.shards(tmp_path / 'set', 1, 6)
  data = (root / '00000.tar').read_bytes()
  (root / '00000.tar').write_bytes(data[: len(data) // 2])
  found = _shards(root).open_index()
  assert 0 < len(found) < 6
  reasons = found.about['rejected']
  assert reasons['shard ends early or is damaged'] >= 1


def test_archives_put_one_after_another(tmp_path):
  root = sets.shards(tmp_path / 'set', 2, 20)
  both = b''.join((root / f'0000{i}.tar').read_bytes() for i in (0, 1))
  (root / '00001.tar').write_bytes(both * 3)
  found = _shards(root).open_index()
  assert found.about['rejected'] == {'shard goes on after its end': 1}


@pytest.mark.parametrize('data', [b'', b'no archive at all' * 99, b'\x1f\x8b'])
def test_what_is_no_archive(tmp_path, data):
  root = sets.shards(tmp_path / 'set', 1)
  (root / '00001.tar').write_bytes(data)
  with pytest.raises(ValueError, match='00001.tar is no tar file that can be'):
    _open(root)
  assert not (root / index.FOLDER).exists()


def test_a_shard_that_shrinks_or_goes_while_it_is_read(tmp_path):
  root = sets.shards(tmp_path / 'set', 1, 30)
  batches = sets.batches(_open(root), 30)
  before = batches.batch(0)
  whole = (root / '00000.tar').read_bytes()
  (root / '00000.tar').write_bytes(whole[:9000])
  with pytest.raises(ValueError, match='00000.tar has shrunk: bytes .* put'):
    batches.batch(0)
  (root / '00000.tar').unlink()
  with pytest.raises(ValueError, match='00000.tar is not there; put it back'):
    batches.batch(0)
  (root / '00000.tar').write_bytes(whole)
  with pytest.raises(ValueError, match='00000.tar was written again since'):
    batches.batch(0)
  after = sets.batches(_open(root), 30).batch(0)  # which renews the index
  np.testing.assert_array_equal(before['image'], after['image'])


def test_shards_that_come_and_go_between_runs(tmp_path, capsys):
  """The index follows, and reads what changed alone."""
  root = sets.shards(tmp_path / 'set', 3)
  first = _shards(root).open_index()
  shutil.move(root / '00001.tar', tmp_path / 'away.tar')
  assert len(_shards(root).open_index()) == 8
  assert 'older state of' in (said := capsys.readouterr().err)
  assert '(00001.tar is gone): it is renewed' in said
  assert '12 examples before, 8 now' in said
  shutil.move(tmp_path / 'away.tar', root / '00001.tar')
  shutil.copy(root / '00001.tar', root / '00000b.tar')
  found = _shards(root).open_index()
  assert '(2 new, the first is 00000b.tar)' in capsys.readouterr().err
  texts = [found.text(row).id for row in found.rows]
  assert len(texts) == 16 and texts[4] == '00000b.tar/000000004'
  (root / '00000b.tar').unlink()
  again = _shards(root).open_index()
  assert again.about['digest'] == first.about['digest'], 'another stream'
  for i in range(12):  # numbers of shards are those of now
    path, row = root / f'0000{i // 4}.tar', again.rows[i]
    there = path.read_bytes()[int(row['offset']) :][: int(row['size'])]
    assert there == sets.jpeg(i)


def test_shards_may_move_with_their_index(tmp_path, capsys):
  _open(sets.shards(tmp_path / 'set', 2))
  (tmp_path / 'set').rename(tmp_path / 'moved')
  capsys.readouterr()
  photographs = _open(tmp_path / 'moved')
  assert capsys.readouterr().err == '', 'nothing is looked through again'
  row, text = photographs.entry(0)
  number = int(text.captions[0].split()[1])
  assert photographs.fetch(row, text) == sets.jpeg(number)


def test_what_did_not_change_is_not_read_again(tmp_path, monkeypatch):
  root = sets.shards(tmp_path / 'set', 3)
  _open(root)
  opened, open_file = [], remote_lib.open_file
  monkeypatch.setattr(
    remote_lib, 'open_file', lambda p: opened.append(p) or open_file(p)
  )
  _open(root)
  assert opened == []
  data = (root / '00001.tar').read_bytes()
  (root / '00001.tar').write_bytes(data)
  os.utime(root / '00001.tar', ns=(1, 1))  # of the same size, and older
  _open(root)
  assert opened == [str(root / '00001.tar')]


def test_a_bucket(tmp_path):
  fsspec = pytest.importorskip('fsspec')
  local = sets.shards(tmp_path / 'set', 2)
  remote = fsspec.filesystem('memory')
  for name in ('00000.tar', '00001.tar'):
    remote.pipe_file(f'memory://set/{name}', (local / name).read_bytes())
  with pytest.raises(ValueError, match='is remote: say where its index is'):
    _open('memory://set')
  place = str(tmp_path / 'index')
  there = sets.batches(_open('memory://set', index_dir=place)).batch(3)
  here = sets.batches(_open(local)).batch(3)
  np.testing.assert_array_equal(there['image'], here['image'])
  by_name = _open('memory://set/{00000..00001}.tar', index_dir=place)
  again = sets.batches(by_name).batch(3)  # the same index is found fit for it
  np.testing.assert_array_equal(again['image'], here['image'])
  remote.rm('memory://set/00001.tar')
  with pytest.raises(ValueError, match='set/00001.tar is not there; put it b'):
    _open('memory://set/{00000..00001}.tar', index_dir=place)
  assert len(_shards('memory://set', index_dir=place).open_index()) == 4


def test_a_bucket_s_hidden_files(tmp_path):
  """Those below the directory that is named, as on a disk."""
  fsspec = pytest.importorskip('fsspec')
  system = fsspec.filesystem('memory')
  for name in ('a.tar', '.b.tar', '.c/d.tar', 'e/f.tar'):
    system.pipe(f'/hidden/.sets/one/{name}', b'1')
  _, found = remote_lib.find('memory://hidden/.sets/one', remote_lib.TARS)
  assert [name for name, *_ in found] == ['a.tar', 'e/f.tar']


def _no_time_for(seconds):
  raise AssertionError(f'waits {seconds} s for what will not change')


def test_a_bucket_that_refuses(tmp_path, monkeypatch):
  pytest.importorskip('fsspec')

  class Refuses:
    def __init__(self, error):
      self.error = error

    def find(self, path):
      raise self.error

  monkeypatch.setattr(retrying.time, 'sleep', _no_time_for)
  for error in (
    PermissionError('Anonymous caller does not have storage.objects'),
    OSError('Forbidden: b/set\nAnonymous caller'),  # gcsfs, without a number
  ):
    refuses = Refuses(error)
    monkeypatch.setattr(remote_lib, '_open_system', lambda scheme, r=refuses: r)
    with pytest.raises(
      ValueError,
      match=r'gs://b/set cannot be read .Permission'
      r'Error: (Anonymous|Forbidden: b/set).*gcloud auth application-default',
    ):
      _open('gs://b/set', index_dir=str(tmp_path))

  def no_login(scheme):
    raise RuntimeError('Your default credentials were not found.')

  monkeypatch.setattr(remote_lib, '_open_system', no_login)
  with pytest.raises(ValueError, match='credentials were not found.*; log in'):
    _open('gs://b/{0..1}.tar', index_dir=str(tmp_path))


def test_a_disk_that_is_away_for_a_moment(tmp_path, monkeypatch):
  (tmp_path / 'file').write_bytes(b'abcdef')
  pread, failures = remote_lib._pread, [OSError(errno.ESTALE, 'Stale handle')]

  def away(*arguments):
    if failures:
      raise failures.pop()
    return pread(*arguments)

  monkeypatch.setattr(remote_lib, '_pread', away)
  monkeypatch.setattr(remote_lib.retrying, 'WAITS', (0,))
  assert remote_lib.read(str(tmp_path / 'file'), 2, 3) == b'cde'
