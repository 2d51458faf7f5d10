"""Fine-tuning: what is frozen stays bit for bit; factors merge into weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax.training import lora, optimizers, state
from tests.support import tiny_cascade, tiny_job

LORA = lora.LoRA(rank=2, scale=0.5)


def _with_factors():
  stage = tiny_cascade.stage(8)
  params = tiny_cascade.random_params(stage)
  return stage, params, lora.with_factors(LORA, params, jax.random.key(0))


def test_new_factors_change_nothing_and_old_ones_add_their_product():
  _, params, both = _with_factors()
  merged = lora.merged(LORA, both)
  assert jax.tree.structure(merged) == jax.tree.structure(params)
  jax.tree.map(np.testing.assert_array_equal, merged, params)
  factors = both['lora']['middle_attention']['query']['kernel']
  factors['b'] = jnp.ones_like(factors['b'])
  kernel = lora.merged(LORA, both)['middle_attention']['query']['kernel']
  expected = params['middle_attention']['query']['kernel'] + 0.5 * (
    factors['a'].sum(axis=1, keepdims=True)
  )
  np.testing.assert_allclose(kernel, expected, rtol=1e-5)


def test_attention_alone_has_factors():
  _, params, both = _with_factors()
  adapted = set(both['lora'])
  assert adapted == {n for n in params if '_attention' in n or '_text' in n}
  assert 'text_pool' in params and 'text_pool' not in adapted
  with pytest.raises(ValueError, match="paths 'none' matches no matrix"):
    lora.with_factors(lora.LoRA(paths='none'), params, jax.random.key(0))
  with pytest.raises(ValueError, match='rank is 0; it must be at least 1'):
    lora.LoRA(rank=0)


@pytest.mark.parametrize(
  'kind', [optimizers.Adam, optimizers.Adafactor, optimizers.Muon]
)
@pytest.mark.parametrize('freeze', ['^down_', None])
def test_what_is_frozen_stays_bit_for_bit(freeze, kind):
  """By path, or all of the network where factors are trained."""
  given = {'freeze': freeze} if freeze else {'lora': LORA}
  job = tiny_job.config('text', **given)
  params = {
    name: {
      'query': {'kernel': jnp.full([128, 160], 0.3), 'bias': jnp.ones(160)}
    }
    for name in ('down_4_attention', 'middle_attention')
  }
  if not freeze:
    params = lora.with_factors(LORA, params, jax.random.key(0))
  rate = optimizers.LearningRate(peak=0.1, warmup=0)
  optimizer = optimizers.make(kind(), rate, 1.0, job.is_frozen)
  frozen = optimizers.frozen_leaves(job.is_frozen, params)

  @jax.jit
  def step(params):
    before = state.TrainState(
      step=jnp.int32(5), params=params, ema=params, opt=optimizer.init(params)
    )
    grads = jax.tree.map(jnp.ones_like, params)
    return state.apply_gradients(before, grads, optimizer, 0.3, frozen)

  after = step(params)
  for tree in (after.params, after.ema):
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), tree, params)
    assert moved == jax.tree.map(lambda f: not f, frozen)


def test_freezing_twice_is_refused():
  with pytest.raises(ValueError, match="freeze 'x' and lora are both given"):
    dataclasses.replace(tiny_job.config('text', lora=LORA), freeze='x')


def test_factors_learn_by_the_chain_rule():
  params = {'middle_attention': {'key': {'kernel': jnp.eye(4)}}}
  both = lora.with_factors(LORA, params, jax.random.key(0))
  target = jnp.arange(16.0).reshape(4, 4)

  def loss(params):
    return jnp.sum(target * params['middle_attention']['key']['kernel'])

  grads = jax.grad(lambda b: loss(lora.merged(LORA, b)))(both)
  factors, found = (
    tree['lora']['middle_attention']['key']['kernel'] for tree in (both, grads)
  )
  expected = LORA.scale * factors['a'].T @ target
  np.testing.assert_allclose(found['b'], expected, rtol=1e-5)
