"""Programs are walked as they run, and what they repeat is known."""

import pytest

from imagen_jax.planning import hlo

BODY = """\
%body (p: (s32[])) -> (s32[]) {
  %a = f32[8] fusion(%x), kind=kLoop, calls=%inner, \
backend_config={"window_config":{"estimated_cycles":"100"}}
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
  %before = f32[8] copy(%x), backend_config={"estimated_cycles":"50"}
  ROOT %loop = (s32[]) while(%init), condition=%condition, body=%body
}
"""


def test_a_loop_runs_to_the_bound_of_its_condition():
  times = [i.times for i in hlo.instructions(BODY) if i.fusion == 'inner']
  assert times == [7]


@pytest.mark.parametrize(
  ('text', 'times'),
  [
    (BODY, (50 + 7 * 100) / 150),
    (BODY.replace('constant(7)', 'get-tuple-element(%p)'), 1.0),
    (BODY.replace('estimated_cycles', 'other'), 1.0),  # another compiler's
  ],
)
def test_time_of_a_run_over_what_is_counted_once(text, times):
  assert hlo.repetition(text) == pytest.approx(times)
