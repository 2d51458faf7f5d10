"""A form becomes an order, or one line about what is wrong with it."""

import pytest

from imagen_jax.serving import orders
from tests import tiny_cascade

FOX = tiny_cascade.CAPTIONS[0]


def read(**fields):
  return orders.read(fields, tiny_cascade.load(), {'there': 'a picture'}.get)


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
  )
  assert (order.seed, order.negative) == (7, 'blue')
  assert (order.picture, order.strength) == ('a picture', 0.3)


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
    ({'upto': '9'}, 'upto is 9, the stages of this cascade end at 8, 16, 32'),
    ({'upto': '1'}, 'upto is 1, the stages'),
    ({'upto': 'x'}, "upto is 'x'"),
    ({'strength': 'nan'}, 'strength is nan; it must lie in'),
    ({'strength': '1.5'}, 'strength is 1.5; it must lie in'),
    ({'picture': '../../etc/passwd'}, 'the picture to start from is gone'),
    ({'out': '/tmp'}, "there is no field 'out'"),
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
