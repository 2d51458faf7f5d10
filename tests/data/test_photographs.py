"""The stream: a function of (seed, k), for any hosts, threads and workers."""

import dataclasses
import itertools
import json

import numpy as np
import PIL.Image
import pytest

from imagen_jax.data import index, loading, quarantine, sources
from tests.support import full_disk, sets, zoo


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  """A folder with three captions a picture; some pictures are cut."""
  root = sets.folder(tmp_path_factory.mktemp('data') / 'set', 40)
  for i in range(40):
    captions = [f'{i} {word}' for word in ('one', 'two', 'three')]
    (root / f'{i:03d}.txt').unlink()
    (root / f'{i:03d}.json').write_text(json.dumps({'captions': captions}))
  for i in (3, 17):
    # Its header is whole: only decoding shows what is missing.
    cut, _ = zoo.bad()['cut_late.jpg']
    (root / f'{i:03d}.jpg').write_bytes(cut)
  return root


def _source(root, split='train'):
  return sources.Folder(directory=str(root), reading=sets.LOOSE).open(split)


def _equal(a, b):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_splits_share_nothing(root):
  parts = [
    {c.split()[0] for c in _source(root, split).captions()}
    for split in ('train', 'validation')
  ]
  assert parts[0].isdisjoint(parts[1])
  assert [len(p) for p in parts] == [36, 4]


@pytest.mark.parametrize('share', [0.0001, 0.1, 0.37, 0.99])
def test_the_lowest_hashes_are_held_out(share):
  """Many are equal here: the first of them go before the others."""
  rows = np.zeros(2000, index.ROW)
  rows['hash'] = np.random.default_rng(0).integers(0, 90, 2000)
  kept = np.arange(1, 2000, 3, np.uint32)
  ordered = sorted(kept.tolist(), key=lambda i: (rows['hash'][i], i))
  count = max(1, round(share * len(kept)))
  held = index.split(rows, kept, share, 'validation').tolist()
  assert held == sorted(ordered[:count])
  train = index.split(rows, kept, share, 'train').tolist()
  assert train == sorted(ordered[count:])


@pytest.mark.parametrize('hosts', [1, 2, 8])
def test_hosts_together_make_the_same_global_batch(root, hosts):
  whole = sets.batches(_source(root), 16, seed=3).batch(5)
  each = 16 // hosts
  parts = [
    sets.batches(
      _source(root), 16, seed=3, rows=range(h * each, (h + 1) * each)
    ).batch(5)
    for h in range(hosts)
  ]
  _equal(whole, {k: np.concatenate([p[k] for p in parts]) for k in whole})


def test_threads_and_any_start_give_the_same_batches(root):
  direct = [sets.batches(_source(root)).batch(k) for k in range(9)]
  for start, threads in [(0, 3), (4, 1)]:
    stream = loading.stream(
      sets.batches(_source(root)),
      start,
      loading.Loading(threads=threads, ahead=2),
    )
    # Beyond those that are made at the start.
    for k, batch in enumerate(itertools.islice(stream, 5), start):
      _equal(batch, direct[k])
    stream.close()
  other = sets.batches(_source(root), seed=1).batch(0)
  assert (other['words'] != direct[0]['words']).any()


def test_an_epoch_shows_every_example_and_all_captions_in_time(root):
  batches, n = sets.batches(_source(root)), 36
  words = [batches.row(i)[0]['caption'] for i in range(20 * n)]
  good = {f'{i}' for i in range(40)} - {'3', '17'}
  first = {w.split()[0] for w in words[:n]}
  held = {c.split()[0] for c in _source(root, 'validation').captions()}
  assert first == good - held
  assert len(set(words)) > 0.95 * 3 * len(first)


def test_bad_ones_are_replaced_alike_and_listed_once(root, tmp_path):
  kept = quarantine.Quarantine(tmp_path, 0.5)
  batches = sets.batches(_source(root), 36, quarantine=kept)
  runs = [[batches.batch(k) for k in range(3)] for _ in range(2)]
  for a, b in zip(*runs):
    _equal(a, b)
  listed = [json.loads(line) for line in kept.path.read_text().splitlines()]
  held = {c.split()[0] for c in _source(root, 'validation').captions()}
  names = {f'{i:03d}.jpg' for i in (3, 17) if str(i) not in held}
  assert names and {row['id'] for row in listed} == names
  assert len(listed) == len(names)
  assert {row['reason'] for row in listed} == {'truncated'}
  kept.adopt([{'id': 'notes.jpg', 'reason': 'not a picture'}])
  kept.adopt([{'id': 'notes.jpg', 'reason': 'not a picture'}])
  assert kept.path.read_text().count('notes.jpg') == 1
  names.add('notes.jpg')
  again = quarantine.Quarantine(tmp_path, 0.5)  # after a restart
  again.count(4, [(listed[0]['id'], 'truncated')])
  assert len(kept.path.read_text().splitlines()) == len(names)


def test_previews_pass_over_a_bad_picture(root):
  source = _source(root)
  for i in range(len(source)):
    example = source.example(i, 8)
    assert example['caption'] == source.caption(i)
    assert example['caption'].split()[0] not in ('3', '17')


def test_too_many_bad_ones_stop_the_run(root, tmp_path):
  kept = quarantine.Quarantine(tmp_path, 0.01)
  batches = sets.batches(_source(root), 36, quarantine=kept)
  with pytest.raises(ValueError, match='4 of .* more than .* 1.0%: 4 truncat'):
    for k in range(9):
      batches.batch(k)


def test_the_square_lies_where_it_is_told_to(tmp_path):
  root = sets.folder(tmp_path / 'set', 6, (90, 30))
  picture = PIL.Image.new('RGB', (90, 30), 'red')
  picture.paste('blue', (30, 0, 60, 30))
  for i in range(6):
    (root / f'{i:03d}.jpg').write_bytes(zoo.save(picture, 'JPEG', quality=95))

  def blue(place):
    reading = dataclasses.replace(sets.LOOSE, place=place)
    source = sources.Folder(directory=str(root), reading=reading).open('train')
    image = sets.batches(source, 20).batch(0)['image'].astype(int)
    return (image[..., 2] > image[..., 0]).mean(axis=(1, 2))

  assert (blue('centre') > 0.95).all()
  share = blue('random')
  assert share.min() < 0.3 and share.max() > 0.7


def test_pictures_are_enlarged_where_it_is_asked_for(tmp_path):
  root = sets.folder(tmp_path / 'set', 6)
  reading = dataclasses.replace(sets.LOOSE, enlarge=True)
  source = sources.Folder(directory=str(root), reading=reading).open('train')
  batch = sets.batches(source, resolution=64).batch(0)
  assert batch['image'].shape == (4, 64, 64, 3)


def test_a_list_on_a_full_disk_ends_no_run(tmp_path, capsys):
  kept = quarantine.Quarantine(tmp_path, 1.0)
  with full_disk.beyond(10):
    kept.count(5, [('a.png', 'damaged')])
  assert 'quarantine.jsonl cannot be written' in capsys.readouterr().err
  kept.close()
  assert json.loads(kept.path.read_text()) == {
    'id': 'a.png',
    'reason': 'damaged',
  }


def test_small_pictures_are_not_enlarged_unasked(root):
  with pytest.raises(ValueError, match='min_side 8 is below the resolution 64'):
    sets.batches(_source(root), resolution=64)


def test_workers_of_grain_give_the_same_batches(root):
  pytest.importorskip('grain')
  direct = [sets.batches(_source(root)).batch(k) for k in (2, 3)]
  stream = loading.stream(
    sets.batches(_source(root)), 2, loading.Loading(workers=2, ahead=2)
  )
  for expected, found in zip(direct, stream):
    _equal(expected, found)
  stream.close()
