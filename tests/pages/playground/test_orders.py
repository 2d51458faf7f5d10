"""A form becomes an order, or one line about what is wrong with it."""

import pytest

from imagen_jax.pages.playground import orders, sources
from tests.support import tiny_cascade

FOX = tiny_cascade.CAPTIONS[0]


def picture(id, width=40, height=20, **more):
  return sources.Picture(
    id=id, name=f'{id}.png', data=b'', width=width, height=height, small=b'',
    **more,
  )  # fmt: skip


SENT = {
  'there': picture('there'),
  'mask': picture('mask'),
  'dark': picture('dark', bright=False),
  'small': picture('small', 20, 20),
  'huge': picture('huge', 4000, 10),
}


def read(**fields):
  return orders.read(fields, tiny_cascade.load(), SENT.get)


def test_what_is_left_empty_is_the_stages_own():
  order = read(prompt=f'  {FOX}\n', preset='', seed=' ', steps_8='')
  assert order.prompt == FOX and order.negative is None
  assert order.plan == tiny_cascade.load().plan()
  assert order.fields == {'prompt': FOX}
  assert order.remarks == () and order.source(32) is None
  assert orders.settings(tiny_cascade.load(), order.plan) == {}


def test_every_field_says_something():
  order = read(
    prompt=FOX,
    negative='blue',
    seed='7',
    upto='16',
    preset='draft',
    sampler='heun',
    threshold='static',
    guidance_8='2.5',
    steps_16='4',
    aug_level_16='0.25',
    guidance_range='-5:5',
    cap='2,off',
    steps_32='of a stage that is not drawn',
    picture='there',
    strength='0.3',
  )
  assert order.plan == tiny_cascade.load().plan(
    upto=16,
    preset='draft',
    sampler='heun',
    threshold='static',
    guidance=[2.5, None],
    steps=[None, 4],
    aug_level=[None, 0.25],
    guidance_range=(-5.0, 5.0),
    cap=[2.0, 'off'],
  )
  assert (order.seed, order.negative) == (7, 'blue')
  assert (order.picture.id, order.strength) == ('there', 0.3)


def test_what_becomes_of_a_picture():
  plain = read(prompt=FOX, picture='there')
  assert (plain.change, plain.strength) == ('', 0.6)
  part = read(prompt=FOX, picture='there', change='mask', mask='mask')
  assert (part.mask.id, part.strength) == ('mask', 1.0)
  around = read(prompt=FOX, picture='there', change='outpaint')
  assert (around.outpaint, around.strength) == (0.2, 1.0)
  for order in (plain, part, around):
    assert [*order.sizes(tiny_cascade.load()).values()] == [
      (8, 8), (16, 16), (32, 32),
    ]  # fmt: skip


def test_enlarging_needs_no_sentence():
  order = read(picture='there', change='upscale')
  assert (order.prompt, order.title) == ('', 'there.png, enlarged')
  # 40 px are too many for the first of the two.
  assert order.sizes(tiny_cascade.load()) == {'tiny_32': (40, 80)}
  assert order.source(32) is None


def test_shapes():
  order = read(prompt=FOX, shape='wide')
  assert order.size == (32, 48)
  assert order.sizes(tiny_cascade.load()) == {
    'tiny_8': (8, 12),
    'tiny_16': (16, 24),
    'tiny_32': (32, 48),
  }
  assert read(prompt=FOX, shape='tall', upto='16').size == (24, 16)


def test_seeds_are_chosen_where_none_is_given():
  seeds = {read(prompt=FOX).seed for _ in range(20)}
  assert len(seeds) > 15 and all(0 <= seed < 1_000_000 for seed in seeds)


def test_strange_words_are_remarked_on():
  assert 'dragon' in read(prompt='a red dragon').remarks[0]


@pytest.mark.parametrize(
  ('fields', 'said'),
  [
    ({'prompt': ' \n'}, 'the prompt is empty'),
    ({'prompt': 'a' * 1001}, 'the prompt has 1001 characters'),
    ({'prompt': 'a\x07b'}, 'control character'),
    ({'prompt': 'a\udce9b'}, 'is not UTF-8 text'),
    ({'negative': 'a' * 1001}, 'the negative has 1001 characters'),
    ({'seed': '-1'}, 'seed is -1'),
    ({'seed': str(2**32)}, 'seed is 4294967296'),
    ({'seed': '1.5'}, "seed is '1.5'; give a whole number"),
    ({'seed': '9' * 5000}, 'give a whole number|must lie in'),
    ({'steps_8': '0'}, '8 px: steps is 0; it must be a whole number'),
    ({'steps_16': 'many'}, "16 px: steps is 'many'; give a whole number"),
    ({'steps_32': '1025'}, '32 px: steps is 1025; this page takes 1024'),
    ({'guidance_8': 'nan'}, '8 px: guidance is nan'),
    ({'guidance_8': '-1'}, '8 px: guidance is -1'),
    ({'guidance_8': 'inf'}, '8 px: guidance is inf'),
    ({'guidance_16': 'x'}, "16 px: guidance is 'x'; give a number"),
    ({'aug_level_32': '1.1'}, '32 px: aug_level is 1.1'),
    ({'aug_level_32': 'nan'}, '32 px: aug_level is nan'),
    ({'preset': 'best'}, "preset 'best' is not one of paper, fast, draft"),
    ({'sampler': 'magic'}, "sampler 'magic' is not one of"),
    ({'threshold': 'magic'}, "threshold 'magic' is not one of"),
    ({'eta': 'much'}, "eta: 'much' is no list of numbers"),
    ({'eta': '2'}, 'eta is 2.0; it must lie in'),
    ({'cap': '2,3'}, 'cap has 2 values, 3 stages are drawn'),
    ({'guidance_range': '5:-5'}, 'it must rise, from the noisier'),
    ({'in_turn': 'True'}, "there is no field 'in_turn'"),
    ({'upto': '9'}, 'upto is 9, the stages of this cascade end at 8, 16, 32'),
    ({'upto': '1'}, 'upto is 1, the stages'),
    ({'upto': 'x'}, "upto is 'x'"),
    ({'strength': 'nan'}, 'strength is nan; it must lie in'),
    ({'strength': '1.5'}, 'strength is 1.5; it must lie in'),
    ({'picture': '../../etc/passwd'}, 'the picture to start from is gone'),
    ({'out': '/tmp'}, "there is no field 'out'"),
    ({'shape': 'round'}, "shape 'round' is not one of"),
    ({'shape': 'wide', 'picture': 'there'}, 'has its own shape'),
    ({'change': 'mask'}, 'there is no picture to change; choose one'),
    ({'change': 'melt'}, "change 'melt' is not one of"),
    ({'change': 'mask', 'picture': 'there'}, 'the mask is empty; paint'),
    ({'mask': 'mask', 'picture': 'there'}, 'a mask changes a part'),
    (
      {'change': 'mask', 'picture': 'there', 'mask': 'gone'},
      'the mask is gone; choose it again',
    ),
    (
      {'change': 'mask', 'picture': 'there', 'mask': 'small'},
      'the mask small.png is 20 x 20, the picture 40 x 20; give a mask of',
    ),
    (
      {'change': 'mask', 'picture': 'there', 'mask': 'dark'},
      'the mask dark.png is dark everywhere',
    ),
    *(
      (
        {'change': 'outpaint', 'picture': 'there', 'outpaint': share},
        f'the border is {share} of the side; it must lie between 0 and 0.5',
      )
      for share in ('0', '0.5', 'nan')
    ),
    (
      {'change': 'upscale', 'picture': 'huge'},
      '4000 x 10, 2 times that is more than 4096 pixels a side',
    ),
    (
      {'change': 'upscale', 'picture': 'there', 'upto': '8'},
      'no super-resolution',
    ),
    (
      {'change': 'upscale', 'picture': 'there', 'negative': 'blue'},
      'enlarging leads away from nothing',
    ),
    (
      {'negative': 'blue', 'upto': '8', 'guidance_8': '1'},
      'what to avoid needs guidance',
    ),
  ],
)
def test_bad_input_is_one_line(fields, said):
  with pytest.raises(ValueError, match=said) as refused:
    read(**{'prompt': FOX, **fields})
  assert '\n' not in str(refused.value) and len(str(refused.value)) < 200
