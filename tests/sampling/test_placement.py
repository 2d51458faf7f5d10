"""Pictures spread over devices: what is drawn does not depend on how many."""

import dataclasses

import jax
import numpy as np
import pytest

from imagen_jax.diffusion import grids
from imagen_jax.sampling import bundles, edits, placement, stage_programs
from imagen_jax.sampling import cascade as cascade_lib
from tests.support import tiny_cascade


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


def test_rows_of_a_picture_are_cut_over_the_devices():
  """The same but for rounding, and every device holds its band alone."""
  cut = cascade_lib.load_cascade(
    tiny_cascade.directory(), devices=jax.devices()[:4], rows_from=16
  )
  captions = tiny_cascade.CAPTIONS[:2]
  drawn = cut.sample(captions, seed=5).astype(int)
  expected = tiny_cascade.load().sample(captions, seed=5)
  assert np.abs(drawn - expected).max() <= 1
  assert np.abs(drawn - expected).mean() < 0.01
  mesh = placement.make_mesh(cut.devices, cut=True)
  x = jax.jit(lambda x: placement.cut_rows(x, mesh))(np.zeros([1, 16, 8, 3]))
  assert {s.data.shape for s in x.addressable_shards} == {(1, 4, 8, 3)}


@pytest.mark.slow
def test_bands_are_the_picture_within_1e_4():
  """Before it becomes whole numbers: z after all steps of a stage."""
  cascade = tiny_cascade.load()
  stage, params = cascade.stages[1], cascade.params[1]
  text, mask = cascade.encoder.encode(list(tiny_cascade.CAPTIONS[:2]))
  low_res = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
  steps = stage.sampling.steps

  def drawn(devices):
    programs = stage_programs.make(
      stage,
      stage_programs.compiled_part(stage, stage.sampling),
      (16, 16),
      None,
      placement.make_mesh(devices, cut=True),
    )
    here = jax.tree.map(np.asarray, params)
    carry, keys, levels, inputs = programs.begin(
      here,
      bundles.Seeds(seed=np.uint32(5), index=np.arange(2, dtype=np.int32)),
      bundles.Conditions(text=text, mask=mask, low_res=low_res),
      stage_programs.Numbers(
        fractions=grids.fractions(steps, 256, 0),
        steps=np.int32(steps),
        guidance=np.float32(stage.sampling.guidance),
        aug_level=np.float32(stage.sampling.aug_level),
      ),
      None,
      None,
    )
    given = np.int32(0), np.int32(steps), levels, keys, (here, inputs)
    return np.asarray(programs.run(carry, *given).z)

  bands, whole = drawn(jax.devices()[:4]), drawn(None)
  assert whole.std() > 0.1
  np.testing.assert_allclose(bands, whole, atol=1e-4)


def test_rows_that_cannot_be_cut():
  cascade = tiny_cascade.load()
  uneven = dataclasses.replace(
    cascade, devices=tuple(jax.devices()[:3]), rows_from=8
  )
  with pytest.raises(ValueError, match='tiny_8: 8 rows cannot be cut over 3'):
    uneven.sample(tiny_cascade.CAPTIONS[:1], upto=8)
