"""Collectives are read from HLO text, loops and halves counted rightly."""

import pytest

from imagen_jax.planning import collectives

HLO = """\
HloModule jit_step, is_scheduled=true, entry_computation_layout={()->f32[]}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%body (p: (s32[], bf16[8,16])) -> (s32[], bf16[8,16]) {
  %p = (s32[], bf16[8,16]{1,0}) parameter(0)
  %w = bf16[4,16]{1,0} get-tuple-element(%p), index=1
  %gathered = bf16[8,16]{1,0:T(8,128)(2,1)} all-gather(%w), channel_id=1, \
replica_groups=[8,2]<=[16], dimensions={0}, use_global_device_ids=true
  %cut = f32[4,16]{1,0} reduce-scatter(%big), channel_id=2, \
replica_groups={{0,1},{2,3}}, dimensions={0}, to_apply=%add
  ROOT %t = (s32[], bf16[8,16]{1,0}) tuple(%i, %gathered)
}

%fused (q: f32[64]) -> f32[32] {
  %q = f32[64]{0} parameter(0)
  ROOT %inner = f32[64]{0} all-reduce(%q), channel_id=9, \
replica_groups=[1,16]<=[16], to_apply=%add
}

ENTRY %main.7 (x: bf16[4,16]) -> f32[] {
  %x = bf16[4,16]{1,0} parameter(0)
  %loop = (s32[], bf16[8,16]{1,0}) while(%init), condition=%cond, body=%body, \
backend_config={"known_trip_count":{"n":"5"}}
  %start = (bf16[4,16]{1,0}, bf16[64,16]{1,0}) all-gather-start(%x), \
replica_groups=[1,16]<=[16], dimensions={0}
  %done = bf16[64,16]{1,0} all-gather-done(%start)
  %moved = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%y), \
source_target_pairs={{0,1},{1,0}}
  %f = f32[32]{0} fusion(%z), kind=kCustom, calls=%fused
  %g = f32[32]{0} fusion(%f), kind=kCustom, calls=%fused
  %many = (f32[], f32[6]{0}) all-reduce(%l, %m), \
replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %name-all-reduce.3 = f32[] get-tuple-element(%many), index=0
}
"""


@pytest.fixture(scope='module')
def found():
  return {(c.kind, c.group): c for c in collectives.read(HLO)}


def test_every_collective_is_counted_once_for_each_turn_of_its_loop(found):
  assert {key: c.count for key, c in found.items()} == {
    ('all-gather', 2): 5,
    ('reduce-scatter', 2): 5,
    ('all-gather', 16): 1,
    ('collective-permute', 2): 1,
    ('all-reduce', 16): 1,
    ('all-reduce', 4): 1,
  }


def test_a_loop_without_a_count_runs_to_the_bound_of_its_condition():
  told = ', backend_config={"known_trip_count":{"n":"5"}}'
  condition = """
%cond (p: (s32[])) -> pred[] {
  %bound = s32[]{:T(128)} constant(7)
  ROOT %lt = pred[] compare(%i, %bound), direction=LT
}
"""
  found = collectives.read(HLO.replace(told, '') + condition)
  counts = {(c.kind, c.group): c.count for c in found}
  assert told in HLO and counts['all-gather', 2] == 7


def test_sizes_are_those_of_the_whole_array(found):
  assert found['all-gather', 2].size == 5 * 8 * 16 * 2
  assert found['reduce-scatter', 2].size == 5 * 8 * 16 * 4
  assert found['all-gather', 16].size == 64 * 16 * 2
  assert found['collective-permute', 2].size == 8 * 4
  assert found['all-reduce', 4].size == 7 * 4


def test_bytes_sent_are_those_of_a_ring(found):
  assert found['all-gather', 2].sent == 5 * 8 * 16 * 2 / 2
  assert found['all-reduce', 4].sent == 2 * 28 * 3 / 4
  assert found['collective-permute', 2].sent == 32


def test_groups_named_by_axes_of_a_mesh():
  line = (
    '  %g = bf16[8,4]{1,0:T(8,128)(2,1)} all-gather(%x), channel_id=451, '
    "replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={0}"
  )
  assert collectives._collective(line) == ('all-gather', 4, 64)
  both = line.replace("{'axis_1'}", "{'axis_0','axis_1'}")
  assert collectives._collective(both) == ('all-gather', 8, 64)
  ordered = line.replace(
    "4] {'axis_1'}", "4], device_ids=([2,4]T(1,0)) {'axis_1'}"
  )
  assert collectives._collective(ordered) == ('all-gather', 4, 64)


def test_a_permutes_group_is_what_its_pairs_connect():
  line = (
    '  %p = f32[4] collective-permute(%x), channel_id=1, '
    'source_target_pairs={{0,1},{1,2},{2,3},{4,5},{6,7},{5,6}}'
  )
  assert collectives._collective(line) == ('collective-permute', 4, 16)


def test_programs_of_one_chip_exchange_nothing():
  text = (
    'ENTRY %main (x: f32[2]) -> f32[2] {\n  ROOT %x = f32[2] parameter(0)\n}'
  )
  assert collectives.read(text) == []


def test_exchanges_of_one_channel_all_count():
  """Those that a program asks for inside `shard_map` share theirs."""
  text = """
ENTRY %main (x: bf16[4]) -> bf16[8] {
  %a = bf16[8] all-gather(%x), channel_id=1, replica_groups=[8,2]<=[16]
  %b = bf16[8] all-gather(%y), channel_id=1, replica_groups=[8,2]<=[16]
  ROOT %c = bf16[4] reduce-scatter(%z), channel_id=1, replica_groups=[8,2]<=[16]
}
"""
  counts = {c.kind: c.count for c in collectives.read(text)}
  assert counts == {'all-gather': 2, 'reduce-scatter': 1}


def test_an_all_reduce_of_which_each_chip_keeps_its_part_is_a_scatter():
  text = """
%all-reduce-scatter.2 (x: bf16[32]) -> bf16[4] {
  %all = bf16[32] all-reduce(%x), channel_id=7, replica_groups=[2,8]<=[16]
  ROOT %part = bf16[4] dynamic-slice(%all, %i), dynamic_slice_sizes={4}
}

ENTRY %main (x: bf16[32]) -> bf16[4] {
  ROOT %f = bf16[4] fusion(%x), kind=kCustom, calls=%all-reduce-scatter.2
}
"""
  (found,) = collectives.read(text)
  assert (found.kind, found.group, found.size) == ('reduce-scatter', 8, 64)
  assert found.sent == 64 * 7 / 8
