"""Between captions: the ends are the captions, and nothing jumps on the way."""

import numpy as np
import PIL.Image
import pytest

from imagen_jax.sampling import interpolation
from tests.support import tiny_cascade

FOX, KEYS, CAR = tiny_cascade.CAPTIONS
pytestmark = pytest.mark.filterwarnings('ignore:the prompt')


def test_embeddings_begin_and_end_as_those_of_the_captions():
  rng = np.random.default_rng(0)
  text = rng.normal(size=(3, 5, 4)).astype(np.float32)
  mask = np.arange(5) < [[2], [4], [3]]
  mixed, weights = interpolation.between(text, mask, 3)
  assert mixed.shape == (6, 5, 4)
  for row, caption in ((0, 0), (2, 1), (3, 1), (5, 2)):
    np.testing.assert_array_equal(weights[row], mask[caption])
    own = mask[caption]
    np.testing.assert_allclose(mixed[row][own], text[caption][own], rtol=1e-6)
  np.testing.assert_allclose(weights[1], [1, 1, 0.5, 0.5, 0])
  np.testing.assert_allclose(mixed[1, 0], (text[0, 0] + text[1, 0]) / 2)
  np.testing.assert_allclose(mixed[1, 3], text[1, 3], rtol=1e-6)


def test_padding_that_is_seen_is_mixed_too():
  """Stages of DeepFloyd IF see what their encoder gives at padding."""
  rng = np.random.default_rng(0)
  text = rng.normal(size=(2, 5, 4)).astype(np.float32)
  mask = np.arange(5) < [[2], [4]]
  mixed, weights = interpolation.between(text, mask, 3, padding=True)
  np.testing.assert_allclose(mixed[[0, 2]], text, rtol=1e-6)
  np.testing.assert_allclose(mixed[1], text.mean(axis=0), rtol=1e-5)
  np.testing.assert_allclose(weights[1], [1, 1, 0.5, 0.5, 0])


def test_the_ends_are_the_pictures_of_the_captions():
  cascade = tiny_cascade.load()
  captions, plan = [FOX, CAR], cascade.plan(upto=8)
  images = interpolation.draw(cascade, captions, 5, plan, seed=3)
  assert images.shape == (1, 5, 8, 8, 3)
  expected = cascade.sample(captions, upto=8, seed=3).astype(int)
  distance = np.abs(expected[0] - expected[1]).mean()
  for got, wanted in zip(images[0, [0, -1]], expected):
    assert np.abs(got - wanted).mean() < 0.05 * distance


def test_a_token_of_little_weight_changes_little():
  """Its embedding is not small, only its weight is."""
  cascade = tiny_cascade.load()
  text, mask = cascade.encoder.encode([FOX, CAR])
  assert mask[0].sum() != mask[1].sum()
  mixed, weights = interpolation.between(text, mask, 1001)
  rows, plan = [0, 1, 1000], cascade.plan(upto=8)
  first, near, last = cascade.draw_texts(
    mixed[rows], weights[rows], [0] * 3, plan, seed=3
  ).astype(int)
  assert np.abs(near - first).mean() < 0.05 * np.abs(last - first).mean()


def test_strip_and_animation(tmp_path):
  images = np.zeros([2, 3, 16, 16, 3], np.uint8)
  images += np.uint8([[0, 50, 100], [100, 150, 200]])[..., None, None, None]
  strip = interpolation.strip(images, [FOX, KEYS, CAR])
  row = 16 + 8 + 22
  assert strip.shape == (2 * row + 4, 8 + 3 * 24, 3)
  assert (strip[row + 22 : row + 38, 8:24] == 100).all()
  interpolation.write_animation(tmp_path / 'a.gif', images)
  with PIL.Image.open(tmp_path / 'a.gif') as gif:
    shades = []
    for frame in range(gif.n_frames):
      gif.seek(frame)
      shades.append(int(np.asarray(gif.convert('RGB')).mean()))
  assert shades == [0, 50, 100, 150, 200, 150, 100, 50]


@pytest.mark.parametrize(
  ('captions', 'n', 'message'),
  [([FOX], 5, '1 prompts to go between'), ([FOX, CAR], 1, 'at least 2')],
)
def test_what_cannot_be_drawn(captions, n, message):
  cascade = tiny_cascade.load()
  with pytest.raises(ValueError, match=message):
    interpolation.draw(cascade, captions, n, cascade.plan(upto=8))
