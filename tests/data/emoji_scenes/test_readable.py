"""Readability: what the checker cannot read is drawn again."""

import pytest

from imagen_jax.data.emoji_scenes import (
  checker,
  drawing,
  grammar,
  layouts,
  readable,
  scenes,
  source,
  splits,
)


@pytest.mark.parametrize('name', ['lite', 'full'])
def test_table_is_of_the_vocabulary(name):
  words = splits.vocabulary(name)
  for noun, colour, background, side, height in readable._table(name):
    assert noun in words.nouns
    assert colour in (None, *words.colours)
    assert background in words.backgrounds
    assert side in readable.SIDES
    assert height in readable.HEIGHTS


def test_unreadable_scenes_are_drawn_again(monkeypatch):
  data = source.EmojiScenes('train', 'lite')
  before = [data.scene(index) for index in range(300)]
  row = readable.key(before[7].items[0], before[7].background)
  monkeypatch.setattr(readable, '_table', lambda name: frozenset([row]))
  after = [data.scene(index) for index in range(300)]
  assert after[7] != before[7]
  for old, new in zip(before, after, strict=True):
    rows = {readable.key(item, old.background) for item in old.items}
    assert (new == old) == (row not in rows)


def test_the_checker_reads_what_is_drawn():
  # The whole circle on a few scenes of every split: draw, read, compare.
  for split in splits.SIZES:
    data = source.EmojiScenes(split, 'lite')
    for index in (3, 11, 150):
      scene = data.scene(index)
      verdict = checker.check(drawing.draw(scene, 64), scene, 'lite')
      assert verdict.all, (split, index, grammar.plain(scene))


def test_sides_of_every_layout_have_a_class():
  for side in (0.2, layouts.LONE_SIDES['big'][1]):
    item = scenes.Item(
      noun='fox', colour=None, x=0.5, y=0.99, side=side, group=0
    )
    assert readable.key(item, 'white')[4] == 'bottom'
