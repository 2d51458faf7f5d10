"""What the checker cannot read is found by drawing every object alone."""

from imagen_jax.data.emoji_scenes import readable
from tools import derive_readable


def test_derive_asks_of_all_that_may_be_hard_to_see(monkeypatch):
  asked = []

  def reads(scene):
    asked.append(scene)
    return scene.background != 'beach'

  monkeypatch.setattr(derive_readable, 'CLEAR', 2.0)
  rows = derive_readable.derive('lite', reads, nouns=('fox', 'key'))
  # 2 nouns x (natural and 6 colours) x 8 backgrounds x 3 sides x 3 heights.
  assert len(asked) == 2 * 7 * 8 * 9
  assert len(rows) == 2 * 7 * 9
  assert {row[2] for row in rows} == {'beach'}
  keys = {readable.key(s.items[0], s.background) for s in asked}
  assert len(keys) == len(asked)
  for scene in asked:
    item = scene.items[0]
    for middle in (item.x, item.y):
      assert 2 / 64 <= middle - item.side / 2
      assert middle + item.side / 2 <= 62 / 64


def test_what_melts_into_its_background_is_less_visible():
  # A mushroom has a stem of the colour of the lower sunset.
  low = derive_readable.alone('mushroom', 'blue', 'sunset', 24, 1.0)
  high = derive_readable.alone('mushroom', 'blue', 'sunset', 24, 0.0)
  assert derive_readable.visible(low) < 0.9 < derive_readable.visible(high)
  key = readable.key(low.items[0], 'sunset')
  assert key == ('mushroom', 'blue', 'sunset', 'middle', 'bottom')


def test_a_pale_rabbit_in_the_snow_is_not_asked_for():
  pale = derive_readable.alone('rabbit', None, 'snow', 24, 0.0)
  green = derive_readable.alone('rabbit', 'green', 'snow', 24, 0.0)
  assert not readable.readable(pale, 'full')
  assert readable.readable(green, 'full')
