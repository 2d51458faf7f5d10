"""Mixtures: exact shares, every part in its own order, any position."""

import collections

import numpy as np
import pytest

from imagen_jax.data import mixing, pipeline, sources
from tests.support import sets


@pytest.mark.parametrize(
  'weights', [(1.0,), (0.5, 0.5), (3.0, 1.0), (0.2, 0.5, 0.3), (1, 1e-3)]
)
def test_shares_are_exact_and_parts_advance_by_one(weights):
  left, n = mixing.shares(weights), 4000
  places = collections.defaultdict(list)
  for p in range(n):
    part, place = mixing.locate(p, left)
    places[part].append(place)
    for j, w in enumerate(weights):
      expected = (p + 1) * w / sum(weights)
      assert abs(len(places[j]) - expected) < len(weights)
  for part in places.values():
    assert part == list(range(len(part)))


def test_weights_that_make_no_sense():
  with pytest.raises(ValueError, match=r'weights are \(1.0, 0.0\); each must'):
    mixing.shares((1.0, 0.0))
  with pytest.raises(ValueError, match='2 sources and 1 weights'):
    two = (pipeline.EmojiScenes(), pipeline.EmojiScenes())
    sources.Mixture(sources=two, weights=(1.0,))


def test_a_folder_shards_and_scenes(tmp_path):
  mixture = sources.Mixture(
    sources=(
      sources.Folder(
        directory=str(sets.folder(tmp_path / 'folder')), reading=sets.LOOSE
      ),
      sources.Shards(
        files=str(sets.shards(tmp_path / 'shards')), reading=sets.LOOSE
      ),
      pipeline.EmojiScenes(),
    ),
    weights=(0.25, 0.5, 0.25),
  )
  source = mixture.open('train')
  batches = sets.batches(source, 8)
  scenes = pipeline.EmojiScenes().open('train')
  drawn = []
  for k in range(3):
    words = [w.decode() for w in batches.batch(k)['words']]
    numbers = [w for w in words if w.startswith('number')]
    assert len(numbers) == 6
    drawn += [w for w in words if not w.startswith('number')]
  assert drawn == [scenes.caption(i)[:40] for i in range(6)]
  direct = sets.batches(mixture.open('train'), 8).batch(2)
  np.testing.assert_array_equal(direct['image'], batches.batch(2)['image'])
  held = mixture.open('validation')
  assert held.example(0, 8)['caption'] == held.caption(0)
  assert len(source.fingerprint) == 3


def test_parts_of_equal_length_are_gone_through_in_orders_of_their_own(
  tmp_path,
):
  folder = sources.Folder(
    directory=str(sets.folder(tmp_path / 'folder', 30)), reading=sets.LOOSE
  )
  mixture = sources.Mixture(sources=(folder, folder), weights=(0.5, 0.5))
  words = sets.batches(mixture.open('train'), 40).batch(0)['words'].tolist()
  left, parts = mixing.shares((0.5, 0.5)), ([], [])
  for position, word in enumerate(words):
    parts[mixing.locate(position, left)[0]].append(word)
  assert len(set(parts[0])) == len(set(parts[1])) == 20
  assert parts[0] != parts[1]
