"""Facts about the checker: what it accepts, what it rejects, and why."""

import dataclasses

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
import pytest

from imagen_jax.data.emoji_scenes import checker, drawing, scenes, source

NUM = 100


def item(noun, colour, x, y, side=0.4, group=0):
  return scenes.Item(noun=noun, colour=colour, x=x, y=y, side=side, group=group)


def scene(*items, relation=None, background='white'):
  """The scene of these items, a group for each number among them."""
  groups = []
  for number in sorted({i.group for i in items}):
    members = [i for i in items if i.group == number]
    groups.append(
      scenes.Group(
        noun=members[0].noun,
        colour=members[0].colour,
        size=None,
        count=len(members),
      )
    )
  return scenes.Scene(
    groups=tuple(groups), items=items, relation=relation, background=background
  )


FOX = item('fox', 'blue', 0.26, 0.5)
CAR = item('car', 'green', 0.74, 0.5, group=1)
ASKED = scene(FOX, CAR, relation='left', background='pale pink')


def noisy(image, sigma, seed=0):
  noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
  return np.rint(np.clip(image + noise, 0, 255)).astype(np.uint8)


def blurred(image, radius):
  blur = PIL.ImageFilter.GaussianBlur(radius)
  return np.asarray(PIL.Image.fromarray(image).filter(blur))


def wrong(drawn, asked=ASKED, resolution=64):
  """The parts of the verdict that are wrong, for the picture of a scene."""
  verdict = checker.check(drawing.draw(drawn, resolution), asked, 'lite')
  parts = dataclasses.asdict(verdict)
  assert verdict.all == (False not in list(parts.values())[:-1])
  return {part for part, right in parts.items() if right is False} - {'all'}


@pytest.fixture(scope='module')
def some():
  data = source.EmojiScenes('validation', 'lite')
  return [data.scene(index) for index in range(NUM)]


def test_reads_the_scenes_and_rejects_those_of_other_prompts(some):
  readings = [
    checker.read(noisy(drawing.draw(s, 64), 6, n), 'lite')
    for n, s in enumerate(some)
  ]
  right = [checker.compare(r, s).all for r, s in zip(readings, some)]
  other = [
    checker.compare(r, s).all for r, s in zip(readings, some[1:] + some[:1])
  ]
  assert sum(right) >= 0.99 * NUM
  assert sum(other) == 0


def test_reads_mildly_blurred_pictures(some):
  some = some[: NUM // 4]
  right = [
    checker.check(blurred(drawing.draw(s, 256), 4), s, 'lite').all for s in some
  ]
  assert np.mean(right) >= 0.9


@pytest.mark.parametrize('noun', ['banana', 'panda', 'sailboat', 'ghost'])
def test_reads_objects_of_the_full_vocabulary(noun):
  one = scene(item(noun, None, 0.5, 0.5, 0.5), background='pale blue')
  assert checker.check(drawing.draw(one, 64), one, 'full').all


def test_finds_nothing_wrong_with_the_right_picture():
  assert wrong(ASKED) == set()
  assert wrong(ASKED, resolution=256) == set()


def test_detects_a_wrong_colour():
  swapped = scene(
    dataclasses.replace(FOX, colour='green'),
    dataclasses.replace(CAR, colour='blue'),
    relation='left',
    background='pale pink',
  )
  assert wrong(swapped) == {'colours'}


def test_detects_a_wrong_count():
  three = [item('key', 'pink', x, 0.5, 0.27) for x in (0.18, 0.5, 0.82)]
  assert wrong(scene(*three), scene(*three)) == set()
  assert wrong(scene(*three[:2]), scene(*three)) == {'count'}
  assert wrong(scene(*three), scene(*three[:2])) == {'count'}


@pytest.mark.parametrize('relation', scenes.RELATIONS)
def test_detects_a_swapped_relation(relation):
  along = (0.26, 0.74) if relation in ('left', 'above') else (0.74, 0.26)
  places = [
    (p, 0.5) if relation in ('left', 'right') else (0.5, p) for p in along
  ]
  first, second = (
    dataclasses.replace(which, x=x, y=y)
    for which, (x, y) in zip((FOX, CAR), places)
  )
  asked = scene(first, second, relation=relation)
  assert wrong(asked, asked) == set()
  for other in set(scenes.RELATIONS) - {relation}:
    assert wrong(asked, dataclasses.replace(asked, relation=other)) == {
      'relation'
    }


def test_detects_a_wrong_object():
  cat = dataclasses.replace(FOX, noun='cat')
  drawn = scene(cat, CAR, relation='left', background='pale pink')
  assert 'objects' in wrong(drawn)
  assert 'place' not in wrong(drawn)


def test_detects_an_object_too_many():
  more = item('star', 'red', 0.5, 0.85, 0.25, group=2)
  assert wrong(scene(FOX, CAR, more, background='pale pink')) == {'objects'}


def test_detects_a_wrong_place():
  for background in ('white', 'pale yellow', 'sunset', 'beach'):
    drawn = dataclasses.replace(ASKED, background=background)
    assert wrong(drawn) == {'place'}


def test_next_to_leaves_the_arrangement_open():
  for relation in ('next', None):
    asked = dataclasses.replace(ASKED, relation=relation)
    swapped = scene(
      dataclasses.replace(FOX, x=0.74),
      dataclasses.replace(CAR, x=0.26),
      background='pale pink',
    )
    verdict = checker.check(drawing.draw(swapped, 64), asked, 'lite')
    assert verdict.relation is None and verdict.all


@pytest.mark.parametrize(
  ('drawn', 'asked', 'right'),
  [
    (None, 'red', True),  # an apple is a red apple, and the other way round
    ('red', None, True),
    ('pink', None, False),
    (None, 'green', False),
  ],
)
def test_natural_colours_count_as_the_named_ones(drawn, asked, right):
  apple = scene(item('apple', drawn, 0.5, 0.5))
  found = wrong(apple, scene(item('apple', asked, 0.5, 0.5)))
  assert found == (set() if right else {'colours'})


def test_blobs_and_blanks_have_no_name():
  canvas = PIL.Image.new('RGB', (64, 64), 'white')
  assert checker.read(np.asarray(canvas), 'lite').found == ()
  pen = PIL.ImageDraw.Draw(canvas)
  pen.ellipse((16, 12, 46, 50), (40, 110, 230))
  found = checker.read(np.asarray(canvas), 'lite').found
  assert [thing.noun for thing in found] == [None]
  static = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  found = checker.read(static, 'lite').found
  assert {thing.noun for thing in found} <= {None}


def test_a_severed_object_is_one_and_two_that_touch_are_two():
  one = scene(item('car', 'red', 0.5, 0.5, 0.5))
  image = drawing.draw(one, 64).copy()
  image[:, 33] = 255
  assert checker.check(image, one, 'lite').all
  two = scene(
    item('apple', 'blue', 0.26, 0.5), item('apple', 'blue', 0.74, 0.5)
  )
  image = drawing.draw(two, 64).copy()
  image[31:34, 24:40] = image[32, 16]
  assert checker.check(image, two, 'lite').all


def test_refuses_what_it_cannot_read():
  with pytest.raises(ValueError, match='float64'):
    checker.read(np.zeros((64, 64, 3)), 'lite')
  with pytest.raises(ValueError, match='32 x 32'):
    checker.read(np.zeros((32, 32, 3), np.uint8), 'lite')
  with pytest.raises(ValueError, match='vocabulary'):
    checker.read(np.zeros((64, 64, 3), np.uint8), 'heavy')


def test_stains_on_the_background_are_no_things():
  """A small network seldom draws a flat background."""
  one = scene(item('fox', 'blue', 0.5, 0.5, 0.5), background='pale yellow')
  image = drawing.draw(one, 64).astype(np.float32)
  y, x = np.mgrid[:64, :64]
  for left, top, depth in ((8, 8, 30), (55, 54, 26), (10, 50, -9)):
    away = (x - left) ** 2 + (y - top) ** 2
    image -= depth * np.exp(-away / 20)[..., None]
  assert checker.check(noisy(image, 3), one, 'lite').all


def test_a_part_in_the_colour_of_the_background_is_not_missed():
  """The stem of the mushroom has the colours of the sunset."""
  for x in (0.3, 0.7):
    one = scene(item('mushroom', 'blue', x, 0.55), background='sunset')
    assert checker.check(drawing.draw(one, 64), one, 'lite').all
