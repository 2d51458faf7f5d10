"""The corpus: captions and meanings, nothing held out spelt out."""

import re

from imagen_jax.data.emoji_scenes import corpus, grammar, source, splits


def test_lines_follow_from_the_seed():
  assert corpus.lines(1, 20) == corpus.lines(1, 40)[:20]
  assert corpus.lines(1, 20) != corpus.lines(2, 20)


def test_held_out_wordings_are_explained():
  text = set(corpus.lines(0, 8000, 'lite'))
  for line in (
    'beneath means below',
    'a toadstool is a mushroom',
    'kittens are cats',
    'at dusk means at sunset',
    'three is one more than two',
    'a fox is orange',
  ):
    assert line in text


def test_held_out_compositions_stay_unsaid():
  text = '\n'.join(corpus.lines(0, 5000, 'lite'))
  held = splits.HELD_OUT['lite']
  for noun, colour in held['binding']:
    for way in grammar.TRAIN.nouns.get(noun, (noun,)):
      for word in (way, grammar.plural(way)):
        assert not re.search(rf'\b{colour} {word}\b', text)
  for noun, count in held['count']:
    words = rf'{grammar.NUMBERS[count]} (\w+ )?{grammar.plural(noun)}\b'
    assert not re.search(words, text)


def test_captions_are_three_of_four():
  lines = corpus.lines(0, 400, 'lite')
  data = source.EmojiScenes('train', 'lite')
  captions = {data.caption((1 << 40) + index) for index in range(400)}
  assert 270 <= sum(line in captions for line in lines) <= 340
