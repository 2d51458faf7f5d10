"""Programs are walked as they run; types tell shapes and sizes."""

from imagen_jax.planning import hlo

BODY = """\
%body (p: (s32[])) -> (s32[]) {
  %a = f32[8] fusion(%x), kind=kLoop, calls=%inner
  ROOT %t = (s32[]) tuple(%i)
}

%inner (q: f32[8]) -> f32[8] {
  ROOT %q = f32[8] parameter(0)
}

%condition (p: (s32[])) -> pred[] {
  %bound = s32[]{:T(128)} constant(7)
  ROOT %lt = pred[] compare(%i, %bound), direction=LT
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %before = f32[8] copy(%x)
  ROOT %loop = (s32[]) while(%init), condition=%condition, body=%body
}
"""


def test_a_loop_runs_to_the_bound_of_its_condition():
  times = [i.times for i in hlo.instructions(BODY) if i.fusion == 'inner']
  assert times == [7]


def test_types_tell_shapes_and_bytes():
  kind = '(bf16[2,3,4]{2,1,0:T(8,128)(2,1)}, f32[], s4[10]{0:T(128)})'
  assert hlo.shapes(kind) == [[2, 3, 4], [], [10]]
  assert hlo.sizes(kind) == [48, 4, 5]
