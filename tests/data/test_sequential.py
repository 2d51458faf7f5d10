"""Sources read forward only: the same stream after a restart, by replay."""

import sys
import types

import numpy as np
import pytest

from imagen_jax.data import loading, sequential, sources
from tests.support import sets, zoo


class _Data:
  """Stands for a tf.data set."""

  def __init__(self, rows):
    self._rows = rows

  def as_numpy_iterator(self):
    return iter(self._rows)


class _Task:
  """Stands for a seqio Task: 12 pictures, one cut, one without words."""

  splits = ('train', 'validation')

  def get_dataset(self, sequence_length, split, shuffle, seed, num_epochs):
    assert shuffle and num_epochs == 1 and sequence_length is None
    order = np.random.default_rng(seed).permutation(12)
    rows = []
    for i in map(int, order):
      picture = zoo.bad()['cut_late.jpg'][0] if i == 5 else sets.jpeg(i)
      text = b'' if i == 7 else f'{split} {i}'.encode()
      rows.append({'image': picture, 'caption': text})
    return _Data(rows)


def stand_in():
  """A module that stands for seqio, with one task."""
  module = types.ModuleType('seqio')

  def find(name):
    if name != 'pictures':
      raise ValueError(f'No Task or Mixture found with name: {name}')
    return _Task()

  module.get_mixture_or_task = find
  return module


@pytest.fixture
def _seqio(monkeypatch):
  monkeypatch.setitem(sys.modules, 'seqio', stand_in())


def _open(split='train', **changes):
  fields = {'task': 'pictures', 'reading': sets.LOOSE} | changes
  return sources.SeqioTask(**fields).open(split)


@pytest.mark.usefixtures('_seqio')
def test_a_restart_goes_on_with_the_same_batches(capsys):
  whole = sets.batches(_open())
  assert 'read forward only, so that a resumed run' in capsys.readouterr().err
  expected = [whole.batch(k) for k in range(8)]  # into the third epoch
  assert not whole.random_access and not whole.threaded
  for workers in (0, 2):  # workers cannot share it: they are not started
    stream = loading.stream(
      sets.batches(_open()), 6, loading.Loading(workers=workers)
    )
    for k in (6, 7):
      found = next(stream)
      np.testing.assert_array_equal(found['image'], expected[k]['image'])
      np.testing.assert_array_equal(found['words'], expected[k]['words'])
    stream.close()
  again = whole.batch(1)  # backwards, from the start
  np.testing.assert_array_equal(again['image'], expected[1]['image'])


@pytest.mark.usefixtures('_seqio')
def test_hosts_and_bad_examples():
  batches = sets.batches(_open())
  rows = [batches.row(i) for i in range(22)]
  good = {f'train {i}' for i in range(12) if i not in (5, 7)}
  for epoch in (rows[:11], rows[11:]):  # 11 have words, one of them is cut
    assert {row['caption'] for row, _ in epoch} == good
  bad = [one for _, several in rows for one in several]
  assert {reason for _, reason in bad} == {'truncated', 'no caption'}
  whole = sets.batches(_open()).batch(3)
  for host in (0, 1):
    part = sets.batches(_open(), rows=[2 * host, 2 * host + 1]).batch(3)
    np.testing.assert_array_equal(part['words'], whole['words'][2 * host :][:2])


@pytest.mark.usefixtures('_seqio')
def test_previews_and_what_is_missing():
  held = _open('validation')
  assert held.caption(3) == held.example(3, 8)['caption']
  assert held.caption(0).startswith('validation')
  with pytest.raises(ValueError, match="no feature 'picture'; there are: capt"):
    sets.batches(_open(image='picture')).batch(0)
  with pytest.raises(ValueError, match='seqio:other is not registered .No T'):
    _open(task='other')  # at once, before a model is made
  with pytest.raises(ValueError, match="no split 'dev'; there are: train, val"):
    _open(train='dev')


@pytest.mark.parametrize(
  ('rows', 'said'),
  [
    ([], 'it is empty'),
    ([(('a fox',), b'no'), ((), b'')], '1 no caption, 1 not a picture'),
    ([(('a fox',), sets.jpeg(0, (6, 6)))] * 3, '3 left out by Filter'),
  ],
)
def test_a_stream_without_examples_is_an_error(rows, said):
  """And not one epoch after another in search of one."""
  stream = sequential.Forward('few', lambda epoch: iter(rows), sets.LOOSE)
  with pytest.raises(ValueError, match=f'^few holds no examples: {said}$'):
    sets.batches(stream).batch(0)


def test_without_seqio(monkeypatch):
  monkeypatch.setitem(sys.modules, 'seqio', None)
  with pytest.raises(ValueError, match='needs seqio: pip install .imagen-jax'):
    sets.batches(_open()).batch(0)


def test_features_are_found_by_their_paths():
  """Keys of TFDS have slashes too, as image/filename of coco_captions."""
  row = {'image/filename': 'f', 'image': 'i', 'a': {'b': {'c': 1}, 'b/d': 2}}
  for path, value in [
    ('image/filename', 'f'), ('image', 'i'), ('a/b/c', 1), ('a/b/d', 2),
  ]:  # fmt: skip
    assert sequential.feature(row, path, 'x') == value
  for path in ('image/name', 'a/c', 'image/filename/x', 'b'):
    said = f"^x has no feature '{path}'; there are: a/b/c, a/b/d, image, image/"
    with pytest.raises(ValueError, match=said):
      sequential.feature(row, path, 'x')
