"""Stages that follow one another, and their one text encoder."""

import types

import pytest

from imagen_jax.stages import chains


def _stages(*sizes, width=256, length=128):
  """Of (low_res, resolution) each."""
  return [
    types.SimpleNamespace(
      name=f'to_{resolution}',
      low_res=low_res,
      resolution=resolution,
      text_width=width,
      max_length=length,
      model=None,  # of no kind that asks for more
    )
    for low_res, resolution in sizes
  ]


def test_the_paper_s_three_are_a_chain_and_so_is_its_start():
  chain = _stages((None, 64), (64, 256), (256, 1024))
  for n in (1, 2, 3):
    chains.check(chain[:n])
  chains.check_text(chain, 256, 128)


@pytest.mark.parametrize(
  ('sizes', 'said'),
  [
    ((), '0 stages given, a cascade has 1 to 3'),
    (((None, 8), (8, 16), (16, 32), (32, 64)), '4 stages given'),
    (((64, 256),), 'to_256 starts from 64 px, the stages before it give noth'),
    (((None, 64), (128, 256)), 'starts from 128 px, .* give 64 px; order'),
    (((None, 64), (None, 256)), 'starts from nothing, .* give 64 px; order'),
    (((None, 64), (64, 64)), 'gives 64 px, .* 64 px; leave out one'),
  ],
)
def test_what_is_no_chain(sizes, said):
  with pytest.raises(ValueError, match=said):
    chains.check(_stages(*sizes))


@pytest.mark.parametrize(('width', 'length'), [(512, 128), (256, 77)])
def test_another_encoder_than_it_was_trained_with(width, length):
  said = f'width 256 and 128 tokens, the encoder gives {width} and {length}'
  with pytest.raises(ValueError, match=said):
    chains.check_text(_stages((None, 64)), width, length)
