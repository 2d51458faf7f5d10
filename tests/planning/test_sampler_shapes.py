"""The sampler that is planned is the one that draws."""

import jax
import numpy as np

from imagen_jax.parallel import accelerators, partitioning
from imagen_jax.planning import compiling, sampler_shapes
from imagen_jax.sampling import bundles, stage_programs, stage_sampler
from tests.support import tiny_cascade


def test_programs_take_what_the_sampler_gives_them(monkeypatch):
  """Shapes and types of all that a real drawing passes to its programs."""
  stage = tiny_cascade.stage(16)
  planned = sampler_shapes.trace(stage, jax.devices()[:1])
  real, seen = stage_programs.make, {}

  def noting(name, program):
    def call(*args):
      seen[name] = jax.tree.map(lambda x: (np.shape(x), x.dtype), args)
      return program(*args)

    return call

  def make(*args):
    programs = real(*args)
    return type(programs)(
      *[noting(n, p) for n, p in programs._asdict().items()]
    )

  monkeypatch.setattr(stage_programs, 'make', make)
  n = stage.sampling.batch
  low_res = np.zeros([n, stage.low_res, stage.low_res, 3], np.uint8)
  stage_sampler.draw(
    stage,
    tiny_cascade.random_params(stage),
    stage.sampling,
    bundles.Conditions(
      text=np.zeros([n, stage.max_length, stage.text_width], np.float32),
      mask=np.ones([n, stage.max_length], bool),
      low_res=low_res,
    ),
    bundles.Seeds(seed=1, index=range(n)),
  )
  assert planned.pictures == n
  for name, traced in planned.programs.items():
    shapes = jax.tree.map(
      lambda x: (x.shape, x.dtype), traced.args_info[0], is_leaf=_is_info
    )
    assert jax.tree.leaves(seen[name], is_leaf=_is_pair) == jax.tree.leaves(
      shapes, is_leaf=_is_pair
    ), name


def _is_info(x):
  return hasattr(x, 'dtype')


def _is_pair(x):
  return isinstance(x, tuple) and len(x) == 2 and isinstance(x[0], tuple)


def test_devices_draw_alone_or_share_rows():
  """Whole pictures need no exchange; rows of a picture do."""
  stage = tiny_cascade.stage(16, batch=1)
  devices = jax.devices()[:2]
  alone, cut = (
    sampler_shapes.trace(stage, devices, cut=cut) for cut in (False, True)
  )
  assert (alone.pictures, cut.pictures) == (2, 1)
  size = sum(4 * x.size for x in jax.tree.leaves(alone.params))
  assert partitioning.bytes_each(alone.params) == size
  run = compiling.compile_traced(alone.programs['run'], accelerators.V5E)
  assert run.collectives == []
  run = compiling.compile_traced(cut.programs['run'], accelerators.V5E)
  assert {c.kind for c in run.collectives} & {'collective-permute'}
