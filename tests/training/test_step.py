"""The jitted step: in parts as at once, cut parameters as whole ones."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imagen_jax import stages
from imagen_jax.parallel import compilation, partitioning
from imagen_jax.training import compute, jobs, noise_levels, optimizers
from imagen_jax.training import lora as lora_lib
from imagen_jax.training import state as state_lib
from imagen_jax.training import step as step_lib
from tests.support import tiny_cascade

BATCH = 16
RATE = 1000.0  # so high that rounding the parameters hides nothing
WHOLE = partitioning.MeshConfig(data=4)
CUT = partitioning.MeshConfig(data=2, fsdp=2, replicate_below=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """What of a job the step looks at."""

  stage: object
  compute: compute.Compute
  seed: int = 3
  caption_dropout: float = 0.25
  max_aug_level: float = 1.0
  layout_dropout: float = 0.0
  low_res_blur: float = 0.0
  ema_decay: float = 0.9
  lora: lora_lib.LoRA | None = None
  freeze: str | None = None
  max_skipped: int = 0
  is_frozen = jobs.TrainConfig.is_frozen
  stacked: bool = False


@functools.cache
def _stage():
  stage = tiny_cascade.stage(16)
  model = dataclasses.replace(stage.model, blocks=(1, 2))
  return dataclasses.replace(stage, model=model)


def _batch(stage):
  rng = np.random.default_rng(0)
  text = rng.normal(size=[BATCH, stage.max_length, stage.text_width])
  batch = {
    'text': text.astype(np.float32),
    'mask': np.arange(stage.max_length) < rng.integers(2, 9, [BATCH, 1]),
  }
  for name, side in (('image', stage.resolution), ('low_res', stage.low_res)):
    if side is not None:
      pixels = rng.integers(0, 256, [BATCH, side, side, 3])
      batch[name] = pixels.astype(np.uint8)
  return batch


@functools.cache
def _stepped(how, mesh_config, stacked=False):
  """(state, metrics) after one step of SGD from random weights."""
  stage = _stage()
  mesh = partitioning.make_mesh(mesh_config, jax.devices()[:4])
  rate = optimizers.LearningRate(peak=RATE, warmup=0)
  transform = optimizers.make(
    optimizers.SGD(), rate, clip=None, stacked=stacked
  )
  params = tiny_cascade.random_params(stage)
  state = state_lib.TrainState(
    step=jnp.zeros([], jnp.int32),
    params=params,
    ema=jax.tree.map(np.copy, params),
    opt=transform.init(params),
  )
  shardings = partitioning.state_shardings(state, mesh, mesh_config)
  state = jax.device_put(state, shardings)
  config = Config(stage=stage, compute=how, stacked=stacked)
  step = step_lib.make_train_step(
    config, transform, lambda _, batch: batch, mesh, shardings
  )
  return step(state, {}, partitioning.put_batch(_batch(stage), mesh))


def _farthest(a, b):
  """Largest difference of two trees' leaves, relative to the norm of each."""
  norms = [
    np.linalg.norm(np.asarray(x) - np.asarray(y)) / np.linalg.norm(y)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  ]
  return max(norms)


def _as_one(tree):
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def _moved(state):
  """What SGD moved the parameters by: the gradients."""
  params = tiny_cascade.random_params(_stage())
  return jax.tree.map(lambda a, b: np.asarray(a) - b, state.params, params)


PLAIN = compute.Compute()


def test_a_batch_in_parts_is_the_batch():
  state, metrics = _stepped(compute.Compute(micro_batches=2), WHOLE)
  expected, expected_metrics = _stepped(PLAIN, WHOLE)
  for name in ('loss', 'grad_norm', 'by_noise'):
    np.testing.assert_allclose(
      metrics[name], expected_metrics[name], rtol=1e-6, err_msg=name
    )
  assert float(metrics['grad_norm']) > 1e-3
  found, expected = _moved(state), _moved(expected)
  assert _farthest(found, expected) < 1e-5
  assert _farthest(*map(_as_one, (found, expected))) < 1e-6


def test_cut_parameters_in_scanned_blocks_learn_what_whole_ones_do():
  """All at once: gathered where used, recomputed, in parts, leaves stacked."""
  how = compute.Compute(micro_batches=2, scan=True, remat='blocks')
  state, metrics = _stepped(how, CUT, stacked=True)
  expected, expected_metrics = _stepped(PLAIN, WHOLE)
  cut = [x for x in jax.tree.leaves(state.params) if 'fsdp' in x.sharding.spec]
  assert len(cut) > 10, 'the test must cut parameters'
  for name in ('loss', 'grad_norm'):
    np.testing.assert_allclose(
      metrics[name], expected_metrics[name], rtol=1e-5, err_msg=name
    )
  assert _farthest(_moved(state), _moved(expected)) < 1e-5


@pytest.mark.slow  # one more mesh
def test_attention_cut_over_tensor_devices_too_learns_the_same():
  cut = dataclasses.replace(
    CUT, data=1, tensor=2, overrides=(('query/kernel$', (None, 'tensor')),)
  )
  state, metrics = _stepped(PLAIN, cut)
  expected, expected_metrics = _stepped(PLAIN, WHOLE)
  specs = [x.sharding.spec for x in jax.tree.leaves(state.params)]
  assert any('tensor' in spec for spec in specs)
  assert any('fsdp' in spec for spec in specs)
  loss = metrics['loss']
  np.testing.assert_allclose(loss, expected_metrics['loss'], rtol=1e-5)
  assert _farthest(*map(_as_one, (_moved(state), _moved(expected)))) < 1e-5


def test_weights_are_gathered_in_the_backward_pass_again():
  """Kept whole they would be all of the model on every device."""
  mesh = partitioning.make_mesh(CUT, jax.devices()[:4])
  params = tiny_cascade.random_params(_stage())
  shardings = partitioning.state_shardings(params, mesh, CUT)
  apply = compute.make_apply(_stage(), PLAIN, shardings)
  inputs = stages.example_inputs(_stage(), 4)

  def kept(params):
    _, backward = jax.vjp(lambda p: apply({'params': p}, **inputs), params)
    return backward

  shapes = {p.shape for p in jax.tree.leaves(params) if p.ndim == 4}
  jaxpr = jax.make_jaxpr(kept)(params).jaxpr
  (forward,) = [e for e in jaxpr.eqns if e.primitive.name == 'shard_map']
  inner = forward.params['jaxpr']
  made = {id(v): eqn.primitive.name for eqn in inner.eqns for v in eqn.outvars}
  gathered = [name for name in made.values() if name == 'all_gather']
  whole = [v for v in inner.outvars if v.aval.shape in shapes]
  assert gathered  # by the layers outside the blocks
  # Those of these few layers alone are kept.
  assert len(whole) <= 6, whole


def test_rows_stay_on_their_devices():
  mesh = partitioning.make_mesh(CUT, jax.devices()[:4])
  x = jax.device_put(jnp.arange(16), partitioning.batch_sharding(mesh))
  split = jax.jit(lambda x: partitioning.split_batch(x, 2, mesh))(x)
  np.testing.assert_array_equal(
    split, [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]
  )
  for shard in split.addressable_shards:
    before = next(
      s.data for s in x.addressable_shards if s.device == shard.device
    )
    np.testing.assert_array_equal(np.ravel(shard.data), before)


def test_table_counts_and_sums_by_noise_and_caption():
  logsnr = jnp.array([-11.0, -1.0, -0.5, 0.0, 20.0])
  losses = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0])
  drop = jnp.array([False, False, True, True, False])
  table = np.asarray(noise_levels.table(losses, logsnr, drop))
  assert table.shape == (2, len(noise_levels.NAMES), 2)
  assert table[..., 1].sum() == 5 and table[..., 0].sum() == 31
  at = noise_levels.NAMES.index('-3_0')
  np.testing.assert_array_equal(table[:, at], [[2.0, 1.0], [4.0, 1.0]])
  assert table[1, at + 1, 0] == 8


def test_gap_compares_within_a_noise_level():
  """Examples without captions that are noisier are no gap by themselves."""
  table = np.zeros([2, len(noise_levels.NAMES), 2])
  table[0, 2] = 10 * 1.0, 10  # told: mean 1
  table[0, 5] = 90 * 5.0, 90  # told: mean 5
  table[1, 2] = 9 * 1.5, 9  # dropped: mean 1.5
  table[1, 5] = 1 * 5.0, 1  # dropped: mean 5
  scalars = noise_levels.summary(table)
  np.testing.assert_allclose(scalars['caption_gap'], 0.45)
  np.testing.assert_allclose(scalars['loss_logsnr_-6_-3'], 23.5 / 19)
  assert len(scalars) == 3
  table[1] /= 2  # too few without
  assert 'caption_gap' not in noise_levels.summary(table)


def test_micro_batches_that_do_not_divide():
  mesh = partitioning.make_mesh(WHOLE, jax.devices()[:4])
  partitioning.check_batch(24, mesh, 3)
  with pytest.raises(ValueError, match='16 .* 4 devices .* 3 micro.*12 or'):
    partitioning.check_batch(16, mesh, 3)
  with pytest.raises(ValueError, match='micro_batches is 0; it must be at'):
    compute.Compute(micro_batches=0)


def test_step_is_compiled_with_the_options_of_its_devices(monkeypatch):
  asked = {'xla_cpu_that_is_gone': '1'}
  monkeypatch.setattr(compilation, 'options', lambda mesh: asked)
  with pytest.raises(jax.errors.JaxRuntimeError, match='xla_cpu_that_is_gone'):
    _stepped.__wrapped__(compute.Compute(), WHOLE)
