"""What instructions cost, by their shapes, is what XLA says of them."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest

from imagen_jax.parallel import accelerators
from imagen_jax.planning import costs

# A byte a second, and four operations: what is slower is seen at once.
CHIP = accelerators.Accelerator(
  name='slow', peak_flops=4.0, memory=1, memory_rate=1.0, link_rate=1.0
)

# A loop of seven turns takes a slice of eight rows, adds to it and writes one
# of eight rows in place; before it stands a copy.
LOOP = """\
%cut (rows: f32[8,16], more: f32[16], i: s32[]) -> f32[16] {
  %rows = f32[8,16]{1,0} parameter(0)
  %i = s32[] parameter(2)
  %row = f32[1,16]{1,0} dynamic-slice(%rows, %i, %i), dynamic_slice_sizes={1,16}
  %flat = f32[16]{0} bitcast(%row)
  %more = f32[16]{0} parameter(1)
  ROOT %sum = f32[16]{0} add(%flat, %more)
}

%put (all: f32[8,16], one: f32[16], i.1: s32[]) -> f32[8,16] {
  %all = f32[8,16]{1,0} parameter(0)
  %one = f32[16]{0} parameter(1)
  %i.1 = s32[] parameter(2)
  %part = f32[1,16]{1,0} bitcast(%one)
  ROOT %in_place = f32[8,16]{1,0} dynamic-update-slice(%all, %part, %i.1, %i.1)
}

%body (p: (s32[], f32[8,16], f32[16])) -> (s32[], f32[8,16], f32[16]) {
  %p = (s32[], f32[8,16]{1,0}, f32[16]{0}) parameter(0)
  %n = s32[] get-tuple-element(%p), index=0
  %kept = f32[8,16]{1,0} get-tuple-element(%p), index=1
  %x = f32[16]{0} get-tuple-element(%p), index=2
  %y = f32[16]{0} fusion(%kept, %x, %n), kind=kLoop, calls=%cut
  %z = f32[8,16]{1,0} fusion(%kept, %y, %n), kind=kLoop, calls=%put
  ROOT %t = (s32[], f32[8,16]{1,0}, f32[16]{0}) tuple(%n, %z, %y)
}

%condition (q: (s32[], f32[8,16], f32[16])) -> pred[] {
  %q = (s32[], f32[8,16]{1,0}, f32[16]{0}) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %bound = s32[] constant(7)
  ROOT %lt = pred[] compare(%j, %bound), direction=LT
}

ENTRY %main (a: (s32[], f32[8,16], f32[16]), b: f32[100]) -> f32[100] {
  %a = (s32[], f32[8,16]{1,0}, f32[16]{0}) parameter(0)
  %b = f32[100]{0} parameter(1)
  %loop = (s32[], f32[8,16]{1,0}, f32[16]{0}) while(%a), \
condition=%condition, body=%body
  ROOT %copy = f32[100]{0} copy(%b)
}
"""
_ROW, _INDEX = 4 * 16, 4
# The first fusion reads a row of eight, the other and an index, and writes one;
# the second reads no row of what it updates.
_TURN = (_ROW + _ROW + _INDEX + _ROW) + (_ROW + _INDEX + _ROW)


def test_a_loop_counts_as_often_as_it_turns_and_a_slice_as_what_it_takes():
  found = costs.repetition(LOOP, CHIP)
  copied = 2 * 4 * 100
  assert found.moved == pytest.approx((copied + 7 * _TURN) / (copied + _TURN))
  assert found.seconds == pytest.approx(found.moved), 'nothing is multiplied'


def test_a_program_without_loops_is_counted_once():
  text = LOOP.replace('constant(7)', 'constant(1)')
  assert costs.repetition(text, CHIP) == (1.0, 1.0)
  assert costs.repetition('', CHIP) == (1.0, 1.0)


def test_products_in_a_loop_count_as_often_as_it_turns():
  """Plain and in a fusion, beside one convolution that runs once."""
  product = 'window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f'
  once, turned = 2 * 10 * 10 * 4 * 4, 2 * 10 * 10 * 4 * 4
  text = f"""\
%fused (v: f32[1,4,4,4], u: f32[3,3,4,4]) -> f32[1,4,4,4] {{
  %v = f32[1,4,4,4]{{3,2,1,0}} parameter(0)
  %u = f32[3,3,4,4]{{3,2,1,0}} parameter(1)
  ROOT %inner = f32[1,4,4,4]{{3,2,1,0}} convolution(%v, %u), {product}
}}

%body (p: (f32[1,4,4,4], f32[3,3,4,4])) -> (f32[1,4,4,4], f32[3,3,4,4]) {{
  %p = (f32[1,4,4,4]{{3,2,1,0}}, f32[3,3,4,4]{{3,2,1,0}}) parameter(0)
  %x = f32[1,4,4,4]{{3,2,1,0}} get-tuple-element(%p), index=0
  %k = f32[3,3,4,4]{{3,2,1,0}} get-tuple-element(%p), index=1
  %y = f32[1,4,4,4]{{3,2,1,0}} fusion(%x, %k), kind=kOutput, calls=%fused
  ROOT %t = (f32[1,4,4,4]{{3,2,1,0}}, f32[3,3,4,4]{{3,2,1,0}}) tuple(%y, %k)
}}

%condition (q: (f32[1,4,4,4], f32[3,3,4,4])) -> pred[] {{
  %q = (f32[1,4,4,4]{{3,2,1,0}}, f32[3,3,4,4]{{3,2,1,0}}) parameter(0)
  %bound = s32[] constant(7)
  ROOT %lt = pred[] compare(%bound, %bound), direction=LT
}}

ENTRY %main (a: f32[1,4,4,4], b: f32[3,3,4,4]) -> f32[1,4,4,4] {{
  %a = f32[1,4,4,4]{{3,2,1,0}} parameter(0)
  %b = f32[3,3,4,4]{{3,2,1,0}} parameter(1)
  %c = f32[1,4,4,4]{{3,2,1,0}} convolution(%a, %b), {product}
  %init = (f32[1,4,4,4]{{3,2,1,0}}, f32[3,3,4,4]{{3,2,1,0}}) tuple(%c, %b)
  %loop = (f32[1,4,4,4]{{3,2,1,0}}, f32[3,3,4,4]{{3,2,1,0}}) while(%init), \
condition=%condition, body=%body
  ROOT %d = f32[1,4,4,4]{{3,2,1,0}} get-tuple-element(%loop), index=0
}}
"""
  quick_memory = dataclasses.replace(CHIP, memory_rate=1e9)
  found = costs.repetition(text, quick_memory)
  assert found.seconds == pytest.approx((once + 7 * turned) / (once + turned))


@pytest.mark.parametrize(
  ('there', 'here'),
  [
    ('%sum = f32[16]{0} add', '%sum = f32[16]{0:N(8)} ?add'),  # no such kind
    ('ROOT %in_place', '%in_place'),  # a computation without a result
    ('calls=%cut', 'calls=%gone'),
    ('copy(%b)', 'copy(%gone)'),
    ('%rows = f32[8,16]{1,0} parameter(0)', '%rows = f32[8,16]{1,0} argument'),
  ],
)
def test_what_cannot_be_read_costs_nothing_and_loses_no_plan(there, here):
  assert there in LOOP
  found = costs.repetition(LOOP.replace(there, here), CHIP)
  assert 1.0 <= found.moved <= 7.0


def test_operands_may_stand_without_their_mark():
  assert costs.repetition(LOOP.replace('%', ''), CHIP) == costs.repetition(
    LOOP, CHIP
  )


def test_the_slower_of_products_and_memory_is_what_counts():
  assert costs.Cost(operations=40, moved=3).seconds(CHIP) == 10
  assert costs.Cost(operations=40, moved=30).seconds(CHIP) == 30


@pytest.mark.parametrize(
  'window',
  [
    {'padding': 'SAME'},
    {'padding': 'VALID'},
    {'padding': 'SAME', 'window_strides': (2, 2)},
    {'padding': [(2, 1), (0, 3)], 'lhs_dilation': (2, 2)},  # of a gradient
    {'padding': 'SAME', 'rhs_dilation': (2, 3)},
    {'padding': [(-1, 2), (1, 1)]},
    {'padding': 'SAME', 'feature_group_count': 4},
  ],
)
def test_operations_of_convolutions_are_those_that_xla_counts(window):
  groups = window.get('feature_group_count', 1)

  def convolve(x, kernel):
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      **{'window_strides': (1, 1), **window},
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )

  operands = jnp.zeros([2, 9, 12, 8]), jnp.zeros([3, 4, 8 // groups, 16])
  lowered = jax.jit(convolve).lower(*operands)
  text = lowered.compiler_ir('hlo').as_hlo_module().to_string()
  (line,) = (x for x in text.splitlines() if ' convolution(' in x)
  names = re.search(r'convolution\(%([\w.]+), %([\w.]+)\)', line).groups()
  shapes = dict(zip(names, (x.shape for x in operands)))
  assert costs.operations(line, shapes) == lowered.cost_analysis()['flops']
