"""Tar shards that lie: each ends, is bounded, and is counted."""

import gzip
import io
import os
import tarfile

import pytest

from imagen_jax.data import gzipped, sources
from tests.support import sets, zoo


def _header(name, size, kind=b'0', data=b''):
  """A member whose header says `size`, whatever it has."""
  info = tarfile.TarInfo(name)
  info.size = len(data)
  head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
  sign = b'\x80' if size >= 0 else b'\xff'
  head[124:136] = sign + (size % 256**11).to_bytes(11, 'big')
  head[156:157] = kind
  head[148:156] = b' ' * 8
  head[148:156] = b'%06o\0 ' % sum(head)
  return bytes(head) + data + b'\0' * (-len(data) % 512)


def _members(*numbers):
  out = io.BytesIO()
  with tarfile.open(fileobj=out, mode='w') as tar:
    for number in numbers:
      for name, data in sets.sample(number):
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    end = tar.offset
  return out.getvalue()[:end]


def _index(root, data):
  root.mkdir()
  (root / '0.tar').write_bytes(data)
  return sources.Shards(files=str(root), reading=sets.LOOSE).open_index()


@pytest.mark.parametrize('kind', [b'0', b'L', b'K', b'x', b'g', b'S', b'2'])
@pytest.mark.parametrize('size', [-512, -10_240, 1 << 40, 256**10])
def test_sizes_that_cannot_be(kind, size, tmp_path):
  odd = _header('odd.txt', size, kind)
  found = _index(tmp_path / 'set', _members(0) + odd + bytes(10_240))
  assert len(found) == 1 and found.about['rejected']
  # What lies before the damage stays.
  assert found.text(found.rows[0]).id == '0.tar/000000000'


def test_headers_upon_headers(tmp_path):
  """Each long name is read by calling itself, in tarfile."""
  long = _header('a', 4, b'L', b'abc\0')
  found = _index(tmp_path / 'set', _members(0) + long * 3000 + bytes(1024))
  assert len(found) == 1
  assert found.about['rejected'] == {'shard ends early or is damaged': 1}


def test_members_that_are_too_large(tmp_path):
  """They are passed by without being read; what follows is met."""
  path = tmp_path / 'set' / '0.tar'
  path.parent.mkdir()
  huge = 3 << 30
  with open(path, 'wb') as file:
    file.write(_members(0) + _header('000000007.jpg', 40, b'0', bytes(40)))
    for name in ('000000007.txt', '000000008.jpg'):
      file.write(_header(name, huge))
      file.seek(huge, os.SEEK_CUR)
    file.write(_header('000000008.txt', 3, b'0', b'fox') + _members(9))
    file.write(bytes(1024))
  found = sources.Shards(
    files=str(path.parent), reading=sets.LOOSE
  ).open_index()
  assert len(found) == 2
  assert found.about['rejected'] == {'not a picture': 1, 'too large a file': 1}


def test_a_caption_that_is_too_long(tmp_path):
  members = sets.sample(0) + [
    ('a.jpg', sets.jpeg(1)), ('a.txt', b'fox ' * (1 << 18) + b'!'),
    ('b.jpg', sets.jpeg(2)), ('b.json', b'[' * 100_000),
    ('c.jpg', sets.jpeg(3)), ('c.caption', b'a caption file'),
    ('d.jpg', zoo.bad()['cut.jpg'][0][:12]), ('d.txt', b'x'),
  ]  # fmt: skip
  sets.shard(tmp_path / 'set' / '0.tar', members)
  found = sources.Shards(
    files=str(tmp_path / 'set'), reading=sets.LOOSE
  ).open_index()
  reasons = {one['id']: one['reason'] for one in found.rejected()}
  assert reasons.pop('0.tar/a') == 'caption is too long'
  assert reasons.pop('0.tar/b') == 'caption file is not JSON'
  assert set(reasons) == {'0.tar/d'}
  texts = [found.text(row) for row in found.rows]
  assert [text.captions for text in texts] == [
    ('number 0',),
    ('a caption file',),
  ]


def _zipped(path, data):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(gzip.compress(data))
  return path


def test_compressed_shards_are_unpacked_once(tmp_path, capsys):
  root = tmp_path / 'set'
  _zipped(root / 'a' / '0.tar.gz', _members(0, 1) + bytes(1024))
  _zipped(root / 'a.tgz', _members(2) + bytes(1024))
  sets.shard(root / 'b.tar', sets.sample(3))
  source = sources.Shards(files=str(root), reading=sets.LOOSE)
  photographs = source.open('train')
  assert len(source.open_index()) == 4
  assert capsys.readouterr().err.count('unpacking') == 2
  for i in range(len(photographs)):
    row, text = photographs.entry(i)
    number = int(text.captions[0].split()[1])
    assert photographs.fetch(row, text) == sets.jpeg(number)
  assert 'unpacking' not in capsys.readouterr().err
  _zipped(root / 'a.tgz', _members(2, 5) + bytes(1024))
  assert len(source.open_index()) == 5
  assert capsys.readouterr().err.count('unpacking') == 1


def test_compressed_shards_of_like_names_are_not_mixed_up(tmp_path):
  names = ['A.TAR.GZ', 'B.TAR.GZ', 'a.tar.gz', 'a.tgz', 'd/a.tgz', 'd_a.tgz']
  for number, name in enumerate(names):
    path = _zipped(tmp_path / name, _members(number) + bytes(1024))
    os.utime(path, (1e9, 1e9))  # as when a set was copied or unpacked itself
  found = sources.Shards(files=str(tmp_path)).open_index()
  texts = [found.text(row) for row in found.rows]
  told = {text.id.rpartition('/')[0]: text.captions for text in texts}
  assert told == {name: (f'number {i}',) for i, name in enumerate(names)}


def test_what_was_unpacked_among_the_shards_is_none_of_them(tmp_path, capsys):
  root = tmp_path / 'set'
  _zipped(root / 'a.tar.gz', _members(0, 1) + bytes(1024))
  source = sources.Shards(files=str(root), index_dir=str(root / 'index'))
  assert len(source.open_index()) == 2
  capsys.readouterr()
  assert len(source.open_index()) == 2
  assert capsys.readouterr().err == '', 'the index is renewed'


def test_what_cannot_be_unpacked_is_one_line(tmp_path, monkeypatch):
  path = _zipped(tmp_path / 'set' / '0.tar.gz', _members(0))
  path.write_bytes(path.read_bytes()[:-300])
  source = sources.Shards(files=str(tmp_path / 'set'))
  with pytest.raises(ValueError, match='0.tar.gz cannot be unpacked to'):
    source.open_index()
  path.write_bytes(b'no gzip at all')
  with pytest.raises(ValueError, match='0.tar.gz cannot be unpacked to'):
    source.open_index()
  monkeypatch.setattr(gzipped, '_LEAST', 1 << 20)
  _zipped(path, bytes(64 << 20))
  with pytest.raises(ValueError, match='holds more than 30 times its size'):
    source.open_index()
  assert not list(tmp_path.rglob('*.tar.*[!z]'))  # nothing half unpacked
