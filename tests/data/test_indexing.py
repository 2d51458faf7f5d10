"""An index is made once, by one process, and a kill costs a piece at most."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from imagen_jax.data import folders, indexing, shards, sources
from imagen_jax.parallel import partitioning
from tests.support import pieces, sets

ROOT = pathlib.Path(__file__).parents[2]


def _files(directory):
  return {p.name: p.read_bytes() for p in directory.iterdir()}


@pytest.mark.parametrize('each', [1700, 9000, 30_000])
def test_the_index_does_not_depend_on_its_pieces(each, tmp_path):
  """Runs that resume rely on it: the digest is that of an earlier release."""
  place = tmp_path / 'index'
  found = indexing.open_or_make(
    place, pieces.ABOUT, lambda: pieces.some(20_000, each)
  )
  assert found.about['digest'] == 'f870316c637a2064'
  assert len(found) + found.about['rejected']['odd'] == 20_000
  assert len(found.rejected()) == found.about['rejected']['odd']
  for i in (0, 7, -1):
    entry = pieces.entry(int(found.rows[i]['offset']))
    text = found.text(found.rows[i])
    assert (text.id, text.captions) == (entry.id, entry.captions)
  assert [p.name for p in tmp_path.iterdir()] == ['index']  # no pieces left


def test_pieces_are_used_again_as_long_as_they_are_of_the_same(tmp_path):
  seen, place = [], tmp_path / 'index'

  def broken(bad):
    for i, piece in enumerate(pieces.some(100, 10, seen)):
      if i == bad:
        raise ValueError('no space, say')
      yield piece

  with pytest.raises(ValueError, match='no space'):
    indexing.open_or_make(place, pieces.ABOUT, lambda: broken(7))
  done = set(seen)
  # One is of another file by now, one was cut by a crash of the machine.
  kept = sorted((tmp_path / 'index.pieces').glob('*.npz'))
  assert {int(p.stem) for p in kept} == done and len(done) > 2
  kept[0].write_bytes(kept[0].read_bytes()[:-40])
  kept[1].write_bytes(kept[2].read_bytes())
  seen.clear()
  found = indexing.open_or_make(
    place, pieces.ABOUT, lambda: pieces.some(100, 10, seen)
  )
  first_two = {int(p.stem) for p in kept[:2]}
  assert set(seen) == set(range(10)) - done | first_two
  assert len(seen) == len(set(seen)) and len(found) == 91
  other = indexing.open_or_make(
    tmp_path / 'other', pieces.ABOUT, lambda: pieces.some(100, 10)
  )
  assert _files(found.directory) == _files(other.directory)
  with pytest.raises(ValueError, match='a set holds no examples'):
    indexing.open_or_make(tmp_path / 'none', pieces.ABOUT, lambda: iter(()))


def test_keys_of_pieces_tell_other_files(tmp_path):
  root = sets.folder(tmp_path / 'set', 4)

  def states():
    return [piece.state() for piece in folders.pieces(root)]

  before = states()
  assert states() == before
  (root / '001.txt').write_text('another caption')
  changed = states()
  (root / '002.jpg').write_bytes(sets.jpeg(2, (50, 50)))
  assert before != changed != states()
  one, other = (
    [p.state() for p in shards.pieces('r', [['a.tar', size]], None)]
    for size in (10_240, 20_480)
  )
  assert one != other


# A process that makes an index of five pieces. `hang` is the one before which
# it stops for good; it says which pieces it looked through.
MAKER = """
import json, sys, time
from tests.support import pieces
from imagen_jax.data import indexing
place, hang = sys.argv[1], int(sys.argv[2])
seen = []
def hanging():
  for i, piece in enumerate(pieces.some(50, 10, seen)):
    if i == hang:
      print('hangs', flush=True)
      time.sleep(1e6)
    yield piece
found = indexing.open_or_make(place, pieces.ABOUT, hanging)
print(json.dumps([sorted(seen), found.about['digest']]), flush=True)
"""


def _python(program, *arguments):
  return subprocess.Popen(
    [sys.executable, '-c', program, *map(str, arguments)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_a_killed_maker_lets_the_others_go_on_with_its_pieces(tmp_path):
  place = tmp_path / 'index'
  first = _python(MAKER, place, 3)
  assert first.stdout.readline() == 'hangs\n'
  place_of_pieces = tmp_path / 'index.pieces'
  while len(list(place_of_pieces.glob('*.npz'))) < 3:
    time.sleep(0.01)
  second = _python(MAKER, place, -1)
  assert 'another process makes the index' in second.stderr.readline()
  time.sleep(1)  # in which it waits, and makes nothing itself
  assert second.poll() is None and not place.exists()
  assert len(list(place_of_pieces.glob('*.npz'))) == 3
  first.send_signal(signal.SIGKILL)
  seen, digest = json.loads(second.communicate()[0])
  assert seen == [3, 4]
  whole = indexing.open_or_make(
    tmp_path / 'whole', pieces.ABOUT, lambda: pieces.some(50, 10)
  )
  assert digest == whole.about['digest']
  first.communicate()


# One process of several that train on a folder: the rows of its devices.
READER = """
import json, sys
import numpy as np
from imagen_jax.data import sources
from tests.support import sets
root, rows, out = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
source = sources.Folder(directory=root, reading=sets.LOOSE).open('train')
batches = sets.batches(source, 16, seed=3, rows=rows)
np.savez(out, **{k: v for b in (0, 5) for k, v in (
    (f'{name}_{b}', value) for name, value in batches.batch(b).items())})
"""


@pytest.mark.parametrize('hosts', [1, 2, 4])
def test_processes_that_start_together_read_one_global_batch(hosts, tmp_path):
  root = sets.folder(tmp_path / 'set', 40)
  (root / '003.jpg').write_bytes(sets.jpeg(3)[:-200])
  mesh = partitioning.make_mesh(partitioning.MeshConfig(data=2, fsdp=4))
  places = partitioning.batch_sharding(mesh).devices_indices_map((16,))
  devices = np.array(jax.devices()).reshape(hosts, -1)
  rows = [
    sorted(i for d in some for i in range(*places[d][0].indices(16)))
    for some in devices
  ]
  outs = [tmp_path / f'{h}.npz' for h in range(hosts)]
  started = [
    _python(READER, root, json.dumps(some), out)
    for some, out in zip(rows, outs)
  ]
  said = [process.communicate()[1] for process in started]
  assert not any(process.returncode for process in started), said
  assert ''.join(said).count('making the index') == 1
  parts = [np.load(out) for out in outs]
  own = sources.Folder(directory=str(root), reading=sets.LOOSE).open('train')
  for k in (0, 5):
    whole = sets.batches(own, 16, seed=3).batch(k)
    for name, value in whole.items():
      found = np.empty_like(value)
      for some, part in zip(rows, parts):
        found[some] = part[f'{name}_{k}']
      np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
  ('here', 'other'),
  [
    ('tfds:laion400m', False),
    ('tfds:laion400m/images', False),
    ('tfds:laion400m/images:1.0.0', False),
    ('tfds:laion400m:1.0.0', False),
    ('tfds:laion400m/embeddings', True),
    ('tfds:laion400m/images:2.0.0', True),
    ('tfds:coco_captions', True),
  ],
)
def test_an_index_of_another_data_set_is_told(here, other, tmp_path):
  """In a directory that a run names, sets of one size look alike."""
  about = pieces.ABOUT | {'kind': 'tfds', 'root': 'tfds:laion400m/images:1.0.0'}
  place = tmp_path / 'index'
  indexing.open_or_make(place, about, lambda: pieces.some(5, 5))
  again = about | {'root': here}
  if not other:
    found = indexing.open_or_make(place, again, lambda: pieces.some(5, 5))
    assert len(found) == 5
    return
  with pytest.raises(ValueError, match='is of tfds:laion400m/images:1.0.0, th'):
    indexing.open_or_make(place, again, list)
