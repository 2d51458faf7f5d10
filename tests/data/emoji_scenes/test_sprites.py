"""The asset is complete, and recolouring changes the body alone."""

import itertools
import pathlib

import numpy as np
import pytest

from imagen_jax.data.emoji_scenes import sprites

LITE = (
  'fox key cat car apple heart star fish umbrella balloon house tree bell '
  'robot rocket mushroom'
).split()


def visible(noun, colour, pixels=24):
  """A sprite on mid grey, [p, p, 3] in [0, 1]."""
  from imagen_jax.data.emoji_scenes import drawing

  image = drawing.sprite(noun, colour, pixels)
  return image[..., :3] + 0.5 * (1 - image[..., 3:])


def test_there_are_56_objects_and_nine_colours():
  assert len(set(sprites.OBJECTS)) == 56
  assert len(sprites.COLOURS) == 9
  assert set(sprites.load()['sprites']) == set(sprites.OBJECTS)
  assert sprites.RECOLOURABLE == frozenset(sprites.OBJECTS) - {
    'panda',
    'hamburger',
    'cake',
  }
  assert set(LITE) <= sprites.RECOLOURABLE


def test_asset_is_small_and_carries_its_licence():
  folder = pathlib.Path(sprites.__file__).parent
  assert (folder / 'sprites.json').stat().st_size < 200_000
  licence = (folder / 'sprites_LICENSE.txt').read_text()
  assert 'MIT License' in licence
  assert 'Copyright (c) Microsoft Corporation' in licence


def test_drawings_fill_their_box_and_are_centred():
  for noun in sprites.OBJECTS:
    points = np.concatenate(
      [p for path in sprites.paths(noun, None) for p in path[3]]
    )
    low, high = points.min(axis=0), points.max(axis=0)
    np.testing.assert_allclose((low + high) / 2, 0.5, atol=1 / 1024)
    np.testing.assert_allclose((high - low).max(), 15 / 16, atol=1 / 1024)


def test_every_listed_body_fill_occurs():
  for noun, body in sprites.BODIES.items():
    used = {path[0] for path in sprites.load()['sprites'][noun]}
    assert set(body) <= used, noun


def test_main_fill_becomes_the_colour_and_details_stay():
  for noun, colour in itertools.product(sprites.BODIES, sprites.COLOURS):
    natural = sprites.fills(noun, None)
    painted = sprites.fills(noun, colour)
    body = sprites.BODIES[noun]
    for before, after, path in zip(
      natural, painted, sprites.load()['sprites'][noun], strict=True
    ):
      if path[0] == body[0]:
        target = sprites.hex_to_rgb(sprites.COLOURS[colour])
        np.testing.assert_allclose(after, target, atol=1 / 255)
      elif path[0] not in body:
        np.testing.assert_array_equal(after, before)


def test_recolouring_keeps_light_and_dark():
  shades = [
    sprites.rgb_to_oklab(sprites.recolour(fill, '#f8312f', 'blue'))[0]
    for fill in ('#ca0b4a', '#f8312f', '#f37366')
  ]
  assert shades == sorted(shades)
  assert shades[2] - shades[0] > 0.1


def test_colours_differ_from_one_another_at_64_px():
  # Sprites of 24 px, a usual size in a picture of 64: mean distance where
  # they show (measured: 80/255 for the closest pair).
  for noun in LITE:
    shown = visible(noun, 'red') - visible(noun, 'blue')
    area = np.abs(shown).max(axis=-1) > 0.2
    images = {c: visible(noun, c)[area] for c in sprites.COLOURS}
    for a, b in itertools.combinations(images, 2):
      distance = np.linalg.norm(images[a] - images[b], axis=-1).mean()
      assert 255 * distance > 60, (noun, a, b, 255 * distance)


def test_oklab_reference_values_and_inverse():
  # Published values for white and sRGB red.
  white = sprites.rgb_to_oklab(np.ones(3))
  np.testing.assert_allclose(white, [1, 0, 0], atol=1e-4)
  red = sprites.rgb_to_oklab(np.array([1.0, 0.0, 0.0]))
  np.testing.assert_allclose(red, [0.6280, 0.2249, 0.1258], atol=1e-3)
  rgb = np.array([0.2, 0.5, 0.9])
  again = sprites.oklab_to_rgb(sprites.rgb_to_oklab(rgb))
  np.testing.assert_allclose(again, rgb, atol=1e-9)


@pytest.mark.parametrize(
  'noun, colour, words',
  [
    ('unicorn', None, "no sprite 'unicorn'"),
    ('fox', 'teal', "no colour 'teal'"),
    ('panda', 'red', "'panda' has its natural colour only"),
  ],
)
def test_unknown_sprites_are_refused(noun, colour, words):
  with pytest.raises(ValueError, match=words):
    sprites.fills(noun, colour)
