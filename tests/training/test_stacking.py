"""Updates of equal leaves stacked are those of each leaf alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from imagen_jax.parallel import partitioning
from imagen_jax.planning import collectives
from imagen_jax.training import optimizers, stacking, state

RATE = optimizers.LearningRate(peak=1e-2, warmup=2)
SHAPES = {  # the large ones are factored by Adafactor
  'a': (128, 160), 'b': (7,), 'c': (128, 160), 'd': (3, 3, 128, 160),
  'e': (7,), 'f': (160, 128), 'g': (128, 160),
}  # fmt: skip


def _tree(seed):
  keys = jax.random.split(jax.random.key(seed), len(SHAPES))
  # Each leaf on a scale of its own: an RMS over several would show.
  return {
    name: {'kernel': 10.0**i * jax.random.normal(key, shape)}
    for i, (key, (name, shape)) in enumerate(zip(keys, SHAPES.items()))
  }


def _close(a, b):
  np.testing.assert_allclose(b, a, rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize(
  'optimizer',
  [
    optimizers.Adafactor(),
    optimizers.Adafactor(multiply_by_parameter_scale=True),
    optimizers.Adam(),
  ],
)
def test_updates_and_state_are_those_of_each_leaf(optimizer):
  plain, stacked = (
    optimizers.make(optimizer, RATE, clip=1.0, stacked=s) for s in (False, True)
  )
  params = _tree(0)
  stacks = stacking.of_equal_leaves(params)
  assert len(stacks.groups) == 4

  def together(grads, state, params):
    found = stacked.update(*stacks.join((grads, state, params)))
    return stacks.split(found, like=(grads, state))

  expected_state = plain.init(params)
  state = stacked.init(params)
  assert jax.tree.structure(state) == jax.tree.structure(expected_state)
  for step in range(3):
    grads = _tree(step + 1)
    expected = jax.jit(plain.update)(grads, expected_state, params)
    found = jax.jit(together)(grads, state, params)
    jax.tree.map(_close, expected, found)
    (updates, state), expected_state = found, expected[1]
    params = optax.apply_updates(params, updates)
  assert all(np.any(x != 0) for x in jax.tree.leaves(updates))


@pytest.mark.parametrize('keep', [True, False])
@pytest.mark.parametrize(
  'optimizer',
  [
    optimizers.Adafactor(),
    optimizers.Adafactor(multiply_by_parameter_scale=True),
    optimizers.Adam(),
  ],
)
def test_a_step_with_large_leaves_apart_is_that_of_each_leaf(optimizer, keep):
  """The small ones are averaged together; a step that is skipped is none."""
  plain, stacked = (
    optimizers.make(optimizer, RATE, clip=1.0, stacked=s) for s in (False, True)
  )
  params = _tree(0)
  before = state.TrainState(
    step=jnp.int32(5), params=params, ema=_tree(9), opt=plain.init(params)
  )
  mesh = partitioning.make_mesh(partitioning.MeshConfig(), jax.devices()[:1])
  shardings = jax.tree.map(lambda _: partitioning.replicated(mesh), before)
  stacks = stacking.of_equal_leaves(params)
  small = stacking.of_equal_leaves(params, below=1000)
  assert sorted(map(len, small.groups)) == [1, 1, 1, 1, 1, 2]

  @jax.jit
  def together(before, grads, keep):
    updating = stacking.apart(stacked, stacks, shardings)
    return state.apply_gradients(
      before, stacks.join(grads), updating, 0.9, keep=keep, stacks=small
    )

  @jax.jit
  def each(before, grads, keep):
    return state.apply_gradients(before, grads, plain, 0.9, keep=keep)

  grads = _tree(1) if keep else jax.tree.map(lambda x: x * jnp.nan, _tree(1))
  given = before, grads, jnp.bool_(keep)
  found, expected = together(*given), each(*given)
  assert jax.tree.structure(found) == jax.tree.structure(before)
  jax.tree.map(_close, expected, found)
  assert int(found.step) == 6
  moved = [
    np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (found.ema, _tree(9))))
  ]
  assert all(moved) if keep else not any(moved)


def test_equal_leaves_are_one_computation():
  """Square roots in the program: one for each shape, not for each leaf."""
  params = {str(i): jnp.ones(7) for i in range(20)}
  stacks = stacking.of_equal_leaves(params)

  def roots(stacked):
    transform = optimizers.make(optimizers.Adam(), RATE, None, stacked=stacked)
    given = params, transform.init(params), params
    given = stacks.join(given) if stacked else given
    return str(jax.make_jaxpr(transform.update)(*given)).count(' sqrt ')

  assert (roots(False), roots(True)) == (20, 1)


def test_equal_leaves_go_where_they_belong_together():
  """Adafactor's small sums of parameters that are cut: whole, at the end."""
  config = partitioning.MeshConfig(data=2, fsdp=4, replicate_below=2048)
  mesh = partitioning.make_mesh(config)
  adafactor = optimizers.make(optimizers.Adafactor(), RATE, None, stacked=True)
  params = {
    str(i): jax.ShapeDtypeStruct((128, 160), jnp.float32) for i in range(6)
  }
  stacks = stacking.of_equal_leaves(params)
  given = params, jax.eval_shape(adafactor.init, params)
  shardings = partitioning.state_shardings(given, mesh, config)
  shapes = partitioning.with_shardings(given, shardings)

  def gathers(wanted):
    def update(grads, state):
      found = adafactor.update(*stacks.join((grads, state, grads)))
      return stacks.split(found, given, wanted)

    step = jax.jit(update, out_shardings=shardings)
    text = step.trace(*shapes).lower().compile().as_text()
    found = {c.kind: c.count for c in collectives.read(text)}
    return found.get('all-gather', 0)

  assert gathers(None) >= len(params)
  assert gathers(shardings) == 1
