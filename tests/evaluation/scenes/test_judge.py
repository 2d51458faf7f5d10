"""The learned judge: its answers in the checker's form, targets, agreement."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from imagen_jax.data.emoji_scenes import checker, drawing, scenes, splits
from imagen_jax.evaluation import feature_statistics
from imagen_jax.evaluation import fid as distances
from imagen_jax.evaluation.scenes import judge, judge_examples
from imagen_jax.files import weights
from imagen_jax.models import judge as network
from tests.support import tiny_cascade

SIZES = {'nouns': 16, 'colours': 7, 'backgrounds': 8}


def _scenes(n, split='test'):
  words = splits.vocabulary('lite')
  stream = f'judge/lite/{split}'
  return [
    scenes.generate(words, scenes.Draws(stream, i)) for i in range(n)
  ]  # fmt: skip


def perfect(scene, words):
  """The answers of a judge that sees everything."""
  t = judge_examples.targets(scene.items, words, 16)
  answers = {
    'features': np.zeros(64),
    'centres': np.where(t['heat'] == 1, 5.0, -5.0),
    'nouns': np.zeros((16, 16, 16)),
    'colours': np.zeros((16, 16, 7)),
    'boxes': np.zeros((16, 16, 3)),
    'backgrounds': np.eye(8)[words.backgrounds.index(scene.background)],
    'harm': np.zeros(2),
  }
  for n, place in enumerate(t['places']):
    if t['taken'][n]:
      at = divmod(int(place), 16)
      answers['nouns'][at][t['nouns'][n]] = 1
      answers['colours'][at][t['colours'][n]] = 1
      answers['boxes'][at] = t['boxes'][n]
  return network.Reading(**answers)


def test_targets_and_readings_are_inverse():
  """What is put into the targets comes out as the scene: every part right."""
  words = splits.vocabulary('lite')
  for scene in _scenes(100):
    seen = judge.reading(perfect(scene, words), words)
    verdict = checker.compare(seen, scene)
    assert verdict.all, (scene, seen)
    assert len(seen.found) == len(scene.items)
    for found in seen.found:
      item = min(
        scene.items, key=lambda i: abs(i.x - found.x) + abs(i.y - found.y)
      )
      assert abs(item.x - found.x) + abs(item.y - found.y) < 1e-6
      assert abs(item.side - found.width) < 1e-6
  other = dataclasses.replace(scene, background='never')
  assert checker.compare(seen, other).place is False


def test_examples_depend_on_their_index_alone_and_match_their_targets():
  data = judge_examples.JudgeExamples(batch_size=4)
  a, b = data.batch(1), judge_examples.JudgeExamples(batch_size=2).batch(3)
  for name, values in a.items():
    np.testing.assert_array_equal(values[2:], b[name])
  other = dataclasses.replace(data, split='validation').batch(1)
  assert (a['pictures'] != other['pictures']).any(axis=(1, 2, 3)).all()
  # A moved picture has its objects where the targets say: all that differs
  # from the background lies in the boxes.
  scene = _scenes(8)[3]
  picture = drawing.draw(scene, 64)
  moved = judge_examples.moved(picture, 5, -3)
  np.testing.assert_array_equal(moved[:-3, 5:], picture[3:, :-5])


def test_peaks_are_local_and_sure():
  logits = np.full((6, 6), -9.0)
  logits[1, 1] = logits[1, 2] = 2.0  # one thing on the edge of two cells
  logits[4, 4], logits[4, 5], logits[0, 5] = 3.0, 1.0, -0.1
  assert judge.peaks(logits) == [(1, 1), (4, 4)]


def test_agreement_of_two_judges():
  none = dict.fromkeys(('relation', 'place', 'objects', 'colours', 'count'))
  a = [{**none, 'all': x} for x in (True, True, False, False, True, False)]
  b = [{**none, 'all': x} for x in (True, False, False, False, True, True)]
  found = judge.agreement(a, b)
  assert list(found) == ['all']
  part = found['all']
  assert (part['both_right'], part['both_wrong']) == (2, 2)
  assert (part['first_alone'], part['second_alone']) == (1, 1)
  assert part['same'] == 0.6667 and part['kappa'] == 0.3333
  same = judge.agreement(a[:2], a[:2])['all']
  assert same['same'] == 1 and same['kappa'] is None


@pytest.fixture(scope='module')
def small(tmp_path_factory):
  """A directory with a judge of random weights."""
  directory = tmp_path_factory.mktemp('judge') / 'judge'
  config = network.JudgeConfig(**SIZES, width=8, blocks=1, groups=2)
  shapes = jax.eval_shape(
    lambda key: network.init(config, key), jax.random.key(0)
  )
  judge.save(directory, config, tiny_cascade.random_arrays(shapes), 'lite')
  return directory


def test_a_directory_is_checked(small, tmp_path):
  found = judge.load(small)
  assert found.width == 8 and len(found.sha256) == 64
  pictures = np.stack([drawing.draw(s, 128) for s in _scenes(3)])
  features = found(pictures)
  assert features.shape == (3, 8) and np.isfinite(features).all()
  # Pictures of other sizes are read as at 64 px; others cannot be.
  halved = judge.smaller(pictures, 64)
  np.testing.assert_allclose(found(halved), features, atol=1e-5)
  with pytest.raises(ValueError, match='32 x 32 px; the judge reads squares'):
    found(np.zeros((1, 32, 32, 3), np.uint8))
  with pytest.raises(ValueError, match='holds no judge'):
    judge.load(tmp_path)
  for change, words in (
    ({'vocabulary': 'full'}, "vocabulary 'full' has .56, 10, 12"),
    ({'format_version': 9}, 'has format 9, this release reads 1'),
    ({'model': {**SIZES, 'width': 16}}, 'judge.json wants'),
    ({'model': {**SIZES, 'wide': 16}}, "unknown field 'wide'"),
  ):
    copy = tmp_path / 'copy'
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(small, copy)
    path = copy / judge.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=words):
      judge.load(copy)


def test_broken_weights_are_told(small, tmp_path):
  """NaN features stop a distance: here through the judge's own."""
  found = judge.load(small)
  params = weights.flatten(found.params)
  params['input_conv.bias'] = np.full(8, np.nan, np.float32)
  broken = dataclasses.replace(found, params=weights.unflatten(params))
  features = broken(np.zeros((2, 64, 64, 3), np.uint8))
  with pytest.raises(ValueError, match='features of picture 0 are not finite'):
    feature_statistics.of(features, 0)


def test_the_shipped_judge_reads_scenes():
  """Clean ones right, pictures of other scenes wrong."""
  found, asked = judge.load(), _scenes(64)
  clean = np.stack([drawing.draw(scene, 64) for scene in asked])
  right = [v['all'] for v in judge.verdicts(found, clean, asked)]
  assert np.mean(right) > 0.9
  others = [*asked[1:], asked[0]]
  wrong = [v['all'] for v in judge.verdicts(found, clean, others)]
  assert np.mean(wrong) < 0.05
  words = found.words
  assert (found.config.nouns, found.vocabulary) == (len(words.nouns), 'lite')
  size = sum(path.stat().st_size for path in judge.SHIPPED.iterdir())
  assert size < 1_000_000


def test_scene_fid_orders_harm():
  """More of it is farther, against drawings of other scenes, and clearly so."""
  found, n = judge.load(), 192
  clean, others = (
    np.stack([drawing.draw(s, 64) for s in _scenes(n, split)])
    for split in ('test', 'other')
  )
  reference = feature_statistics.of(found(others), 0)
  noise = 255 * np.random.default_rng(0).standard_normal(clean.shape)

  def noised(deviation):
    return np.clip(clean + deviation * noise, 0, 255).astype(np.uint8)

  def swapped(share):
    some = clean.copy()
    some[: int(share * n)] = some[: int(share * n), ..., [1, 2, 0]]
    return some

  harmed = {
    'blur': [
      np.stack([judge_examples.blurred(x, sigma) for x in clean])
      for sigma in (0.7, 1.4)
    ],
    'noise': [noised(0.05), noised(0.1)],
    'colours': [swapped(0.25), swapped(1.0)],
    'collapse': [clean[np.arange(n) % kept] for kept in (32, 4)],
  }

  def distance(pictures):
    features = feature_statistics.of(found(pictures), 0)
    return distances.frechet(features, reference)

  least = distance(clean)
  for name, (some, much) in harmed.items():
    few, far = distance(some), distance(much)
    assert least < few < far and far > 1.5 * least, (name, least, few, far)
