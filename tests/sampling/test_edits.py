"""Edits of a picture: what is kept is kept to the last bit."""

import dataclasses

import jax
import numpy as np
import PIL.Image
import pytest

from imagen_jax.sampling import bundles, edits, stage_sampler
from imagen_jax.sampling import cascade as cascade_lib
from tests.support import tiny_cascade

FOX = tiny_cascade.CAPTIONS[0]


@pytest.fixture
def cascade():
  return tiny_cascade.load()


def _picture(height=16, width=16):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def _left_half(side=16):
  mask = np.zeros((side, side), bool)
  mask[:, : side // 2] = True
  return mask


def test_outside_the_mask_the_picture_stays(cascade):
  picture, mask = _picture(8, 8), _left_half(8)
  source = edits.Source(picture=picture, mask=mask, strength=1.0, resamples=5)
  (drawn,) = cascade.sample([FOX], upto=8, seed=3, source=source)
  np.testing.assert_array_equal(drawn[~mask], picture[~mask])
  assert np.any(drawn[mask] != picture[mask])


def test_strength_zero_is_the_picture(cascade):
  source = edits.Source(picture=_picture(), strength=0.0)
  (drawn,) = cascade.sample([FOX], upto=16, source=source)
  np.testing.assert_array_equal(drawn, _picture())


def test_strength_one_is_drawn_from_noise(cascade):
  source = edits.Source(picture=_picture(), strength=1.0)
  drawn = cascade.sample([FOX], upto=16, seed=3, source=source)
  np.testing.assert_array_equal(drawn, cascade.sample([FOX], upto=16, seed=3))


def test_a_low_strength_stays_near_the_picture(cascade):
  """The tiny networks are random: what they add grows with the steps."""
  picture = np.full((8, 8, 3), 200, np.uint8)
  distances = []
  for strength in (0.2, 1.0):
    source = edits.Source(picture=picture, strength=strength)
    drawn = cascade.sample([FOX], upto=8, steps=10, source=source)
    distances.append(np.abs(drawn - 200.0).mean())
  assert distances[0] < distances[1]


def test_a_negative_caption_is_heard_where_guidance_is_on(cascade):
  other = tiny_cascade.CAPTIONS[1]
  plain, led = (
    cascade.sample([FOX], upto=8, negative=negative)
    for negative in (None, other)
  )
  assert np.any(plain != led)
  plain, led = (
    cascade.sample([FOX], upto=8, guidance=1.0, steps=1, negative=negative)
    for negative in (None, other)
  )
  np.testing.assert_array_equal(plain, led)


def test_every_touched_pixel_of_a_small_mask_is_drawn():
  mask = np.zeros((32, 32), bool)
  mask[5, 9] = True
  edit = edits.Source(picture=_picture(32, 32), mask=mask).at(8, 2)
  expected = np.zeros((2, 8, 8), bool)
  expected[:, 1, 2] = True
  np.testing.assert_array_equal(edit.mask, expected)
  assert edit.picture.shape == (2, 8, 8, 3)


def test_square_cuts_the_centre():
  picture = np.zeros((10, 30, 3), np.uint8)
  picture[:, 10:20] = 255
  np.testing.assert_array_equal(
    edits.square(picture, 5), np.full((5, 5, 3), 255)
  )
  mask = picture[..., 0] > 0
  assert edits.square(mask, 5).dtype == bool and edits.square(mask, 5).all()


def test_outpainting_keeps_the_centre():
  picture = np.full((20, 20, 3), 7, np.uint8)
  canvas, mask = edits.outpainting(picture, 0.25)
  assert (~mask).sum() == 10 * 10
  np.testing.assert_array_equal(canvas[~mask], 7)
  np.testing.assert_array_equal(canvas[mask], 255)


def test_upscale_is_the_stage_on_the_picture(cascade):
  picture, plan = _picture(16, 16), cascade.plan()
  got = edits.upscale(cascade, picture, plan, caption=FOX, seed=5)
  stage = cascade.stages[2]
  text, mask = cascade.encoder.encode([FOX])
  expected = stage_sampler.draw(
    stage,
    cascade.params[2],
    plan[2],
    bundles.Conditions(text=text, mask=mask, low_res=picture[None]),
    bundles.Seeds(seed=5, index=[0]),
  )
  np.testing.assert_array_equal(got, expected[0])


def test_upscale_takes_any_shape(cascade):
  got = edits.upscale(cascade, _picture(15, 22), cascade.plan())
  assert got.shape == (30, 44, 3)


def test_upscale_cuts_rows_over_devices(monkeypatch):
  """22 rows, with padding 24, become 48: bands on four of five devices."""
  cut = cascade_lib.load_cascade(
    tiny_cascade.directory(), devices=jax.devices()[:5], rows_from=32
  )
  picture, bands, draw = _picture(22, 16), [], stage_sampler.draw

  def draw_recorded(*args, **options):
    devices = options['devices']
    bands.append((devices.cut, len(devices.devices)))
    return draw(*args, **options)

  monkeypatch.setattr(stage_sampler, 'draw', draw_recorded)
  got = edits.upscale(cut, picture, cut.plan()).astype(int)
  expected = edits.upscale(tiny_cascade.load(), picture, cut.plan())
  assert bands == [(True, 4), (False, 1)]
  assert got.shape == expected.shape == (44, 32, 3)
  assert np.abs(got - expected).max() <= 1


def test_a_small_picture_goes_through_both_stages(cascade):
  plan = cascade.plan()

  def resolutions(side):
    chosen = edits.upscaling(cascade, _picture(side, 4), plan)
    return [stage.resolution for stage, _, _ in chosen]

  assert resolutions(8) == [16, 32]
  assert resolutions(12) == [16, 32]
  assert resolutions(13) == [32]


def test_what_cannot_be_enlarged_is_said(cascade):
  with pytest.raises(ValueError, match='no super-resolution stage'):
    edits.upscaling(cascade, _picture(), cascade.plan(upto=8))
  with pytest.raises(ValueError, match='3000 x 4.*more than 4096'):
    edits.upscaling(cascade, _picture(4, 3000), cascade.plan())


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'strength': 1.5}, r'strength is 1.5; it must lie in \[0, 1\]'),
    ({'strength': float('nan')}, 'strength is nan'),
    ({'mask': np.ones((8, 9), bool)}, 'the mask is 9 x 8, the picture 16 x 16'),
    ({'picture': _picture(16, 8)}, '8 x 16; cut it to a square'),
    ({'resamples': 0}, 'resamples is 0'),
  ],
)
def test_bad_sources_are_named(changes, message):
  source = edits.Source(picture=_picture())
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(source, **changes)


def test_files_are_read_upright_over_white(tmp_path):
  image = PIL.Image.new('RGBA', (4, 2), (0, 0, 0, 0))
  image.save(tmp_path / 'clear.png')
  np.testing.assert_array_equal(
    edits.read(tmp_path / 'clear.png'), np.full((2, 4, 3), 255)
  )


@pytest.mark.parametrize(
  ('mode', 'shade', 'expected'),
  [('I;16', 0x8000, 128), ('L', 77, 77), ('RGBA', (10, 20, 30, 255), 20)],
)
def test_files_of_any_depth_are_read(tmp_path, mode, shade, expected):
  PIL.Image.new(mode, (3, 2), shade).save(tmp_path / 'a.png')
  picture = edits.read(tmp_path / 'a.png')
  assert picture.dtype == np.uint8 and picture.shape == (2, 3, 3)
  assert abs(int(picture[0, 0, 1]) - expected) <= 1


def test_a_tiny_picture_is_changed_and_enlarged(cascade):
  dot = np.full((1, 1, 3), 99, np.uint8)
  source = edits.Source(picture=edits.square(dot, 8), strength=0.5)
  assert cascade.sample([FOX], upto=8, source=source).shape == (1, 8, 8, 3)
  assert edits.upscale(cascade, dot, cascade.plan()).shape == (4, 4, 3)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
  PIL.Image.new('1', (10_000, 9_000)).save(tmp_path / 'huge.png')
  with pytest.raises(ValueError, match='huge.png cannot be used: too many pix'):
    edits.read(tmp_path / 'huge.png')


def test_bad_files_are_named(tmp_path):
  with pytest.raises(ValueError, match='none.png cannot be read'):
    edits.read(tmp_path / 'none.png')
  (tmp_path / 'words.png').write_text('words')
  with pytest.raises(ValueError, match='words.png cannot be used: not a pic'):
    edits.read(tmp_path / 'words.png')
  PIL.Image.new('L', (16, 16), 10).save(tmp_path / 'dark.png')
  with pytest.raises(ValueError, match='dark everywhere'):
    edits.read_mask(tmp_path / 'dark.png', _picture())
  with pytest.raises(ValueError, match='16 x 16, the picture 4 x 8'):
    edits.read_mask(tmp_path / 'dark.png', _picture(8, 4))
