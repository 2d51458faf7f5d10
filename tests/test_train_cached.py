"""Training from a cache: the losses of inline encoding, or a clear error."""

import dataclasses

import jax
import numpy as np
import pytest

from imagen_jax import embed, stages, train
from imagen_jax.parallel import partitioning
from imagen_jax.text import cache, cache_reader, encoders, feeds
from imagen_jax.training import inputs, jobs, objective, optimizers, validation
from imagen_jax.training import state as state_lib
from tests.support import tiny_cascade, tiny_job

# Of the loss, relative: what rounding the text does to it.
BOUNDS = {'bfloat16': 2e-3, 'int8': 1e-2}


@pytest.fixture(scope='module')
def text(tmp_path_factory):
  """A text directory and a cache of its embeddings for each type."""
  directory = tmp_path_factory.mktemp('text')
  encoders.save(directory / 'text', tiny_cascade.encoder(directory))
  for dtype in BOUNDS:
    embed.embed(
      encoders.load(directory / 'text'),
      [tiny_cascade.CAPTIONS],
      directory / dtype,
      dtype=dtype,
      shards=2,
      batch_tokens=64,
    )
  return directory


def _job(text, dtype=None, **changes):
  directory = text / dtype if dtype else None
  return tiny_job.config(
    text / 'text', cache=dtype and str(directory), **changes
  )


def _losses(job):
  """Losses [b] of the first batch, with fixed noise and no caption dropped."""
  mesh = partitioning.make_mesh(job.mesh)
  feed = inputs.open_feed(job)
  encoder = inputs.frozen_encoder(feed, mesh)
  batch = inputs.open_batches(job, feed, 'train').batch(0)
  batch = jobs.with_text(batch, *encoder)
  noise = validation.fixed_noise(batch, 0)
  params = tiny_cascade.random_params(job.stage)
  apply = stages.network(job.stage).apply
  return np.asarray(
    objective.example_losses(job.stage, apply, params, batch, noise)
  )


@pytest.mark.parametrize('dtype', BOUNDS)
def test_losses_are_those_of_inline_encoding(text, dtype):
  inline, cached = _losses(_job(text)), _losses(_job(text, dtype))
  difference = np.abs(cached / inline - 1).max()
  print(f'{dtype}: losses differ by at most {difference:.1e}')
  assert 0 < difference < BOUNDS[dtype]


@pytest.mark.slow  # the losses above are in every run
def test_a_run_from_the_cache_is_that_of_inline_encoding(text, tmp_path):
  """The whole job, previews and validation included, resumed from inline."""
  runs = []
  for name, job in (('a', _job(text)), ('b', _job(text, 'bfloat16'))):
    job = dataclasses.replace(job, optimizer=optimizers.SGD(), steps=3)
    runs.append(train.train(job, tmp_path / name))
  for a, b in zip(*(jax.tree.leaves(run.params) for run in runs)):
    np.testing.assert_allclose(a, b, atol=1e-5)
  job = dataclasses.replace(
    _job(text, 'bfloat16'), optimizer=optimizers.SGD(), steps=4
  )
  assert int(train.train(job, tmp_path / 'a').step) == 4


def test_null_condition_is_zeros_not_the_empty_caption(text):
  job = _job(text, 'bfloat16')
  reader = cache_reader.Reader(job.cache)
  assert (reader.read([''])[0] != 0).any()
  batch = inputs.open_batches(job, inputs.open_feed(job), 'train').batch(0)
  batch = jobs.with_text(batch, None, {})
  dropped = objective.draw_noise(jax.random.key(0), batch, 1.0)
  text, mask = objective.conditioning.drop_text(
    batch['text'], batch['mask'], dropped.drop
  )
  assert not np.asarray(text).any()


def test_caption_that_the_cache_lacks(text, tmp_path):
  embed.embed(
    encoders.load(text / 'text'), [tiny_cascade.CAPTIONS[:2]], tmp_path / 'few'
  )
  job = dataclasses.replace(_job(text), cache=str(tmp_path / 'few'))
  feed = inputs.open_feed(job)
  with pytest.raises(ValueError, match='a blue car .* is not in the cache'):
    inputs.open_batches(job, feed, 'train').batch(0)


def test_cache_of_another_encoder(text, tmp_path):
  encoder = encoders.load(text / 'text')
  shifted = jax.tree.map(lambda x: x + 1e-3, encoder.params)
  other = dataclasses.replace(encoder, params=shifted)
  encoders.save(tmp_path / 'other', other)
  job = _job(text, 'int8')
  wrong = dataclasses.replace(job, text=str(tmp_path / 'other'))
  with pytest.raises(ValueError, match='int8 was made by .* weights is .* the'):
    inputs.open_feed(wrong)
  # With the id at hand, no encoder is read at all.
  found = cache.encoder_id(encoder.fingerprint())
  known = dataclasses.replace(job, encoder_id=found, text='nowhere')
  assert isinstance(inputs.open_feed(known), feeds.Cached)
  with pytest.raises(ValueError, match='encoder_id asks for 0123'):
    inputs.open_feed(dataclasses.replace(job, encoder_id='0123'))


def test_cache_of_another_length(text):
  job = _job(text, 'bfloat16')
  stage = dataclasses.replace(job.stage, max_length=7)
  with pytest.raises(ValueError, match='length 7, .*bfloat16 gives 16 and 12'):
    inputs.open_feed(dataclasses.replace(job, stage=stage))


def test_no_encoder_is_on_the_devices(text):
  job = _job(text, 'bfloat16')
  mesh = partitioning.make_mesh(job.mesh)
  config, params = inputs.frozen_encoder(inputs.open_feed(job), mesh)
  assert config is None and state_lib.count(params) == 0
