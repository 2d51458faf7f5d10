"""Pictures spread over devices: what is drawn does not depend on how many."""

import jax
import numpy as np
import pytest

from imagen_jax import cascade as cascade_lib
from imagen_jax import edits
from tests import tiny_cascade


@pytest.fixture(scope='module')
def spread():
  """The cascade on eight devices."""
  return cascade_lib.load_cascade(
    tiny_cascade.directory(), devices=jax.devices()
  )


def test_pictures_do_not_depend_on_the_number_of_devices(spread):
  """Bit for bit: 7 pictures in batches of 4, 2 and 1 on each device."""
  captions = tiny_cascade.CAPTIONS[:1]
  assert len(spread.devices) == 8
  expected = tiny_cascade.load().sample(captions, num_images=7, seed=5)
  seen = []
  drawn = spread.sample(
    captions, num_images=7, seed=5, progress=lambda *done: seen.append(done)
  )
  np.testing.assert_array_equal(drawn, expected)
  # One call of each stage, with its own number of steps: 5, 3, 2.
  assert {steps for *_, steps in seen} == {5, 3, 2}


def test_every_device_draws_its_share(spread):
  leaf = jax.tree.leaves(spread.params[0])[0]
  assert len(leaf.devices()) == 8


def test_a_mask_is_kept_on_many_devices(spread):
  rng = np.random.default_rng(0)
  picture = rng.integers(0, 256, (8, 8, 3), np.uint8)
  mask = np.zeros((8, 8), bool)
  mask[:, :4] = True
  source = edits.Source(picture=picture, mask=mask, strength=1.0, resamples=2)
  options = {'upto': 8, 'num_images': 5, 'source': source}
  drawn = spread.sample(tiny_cascade.CAPTIONS[:1], **options)
  expected = tiny_cascade.load().sample(tiny_cascade.CAPTIONS[:1], **options)
  np.testing.assert_array_equal(drawn, expected)
