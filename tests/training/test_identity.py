"""Which runs are one run: what may change on resuming and what may not."""

import dataclasses
import json
import types

import pytest

from imagen_jax import stages
from imagen_jax.training import identity
from tests.support import tiny_job


class Feed:
  def fingerprint(self):
    return {'kind': 't5', 'weights': 'a0b1'}


ENDLESS = types.SimpleNamespace(fingerprint=None)


def _json(fields):
  return json.loads(json.dumps(fields))


@pytest.fixture(scope='module')
def job():
  return tiny_job.config('text')


def test_a_set_of_examples_is_part_of_it(job):
  listed = types.SimpleNamespace(fingerprint='c2d3')
  assert 'examples' not in identity.of(job, Feed(), ENDLESS)
  assert identity.of(job, Feed(), listed)['examples'] == 'c2d3'


def test_data_that_changed_is_said_in_words():
  said = identity.changes({'examples': 'a1'}, {'examples': 'b2'})
  assert said.startswith('pictures or captions of its data were added, removed')
  assert 'a1 there and b2 here; put the files back' in said
  assert (
    identity.changes({'seed': 1}, {'seed': 2}) == 'seed is 1 there and 2 here'
  )


def test_rates_and_the_way_of_sampling_are_not(job):
  sampling = dataclasses.replace(job.stage.sampling, steps=3, guidance=2.0)
  stage = dataclasses.replace(job.stage, name='other', sampling=sampling)
  changed = dataclasses.replace(job, stage=stage, caption_dropout=0.2, clip=9.0)
  same = identity.of(changed, Feed(), ENDLESS)
  assert same == identity.of(job, Feed(), ENDLESS)
  other = dataclasses.replace(job, batch_size=16)
  assert identity.of(other, Feed(), ENDLESS) != same


def test_checkpoints_of_older_releases_have_the_defaults(job):
  now = _json(identity.of(job, Feed(), ENDLESS))
  old = {k: v for k, v in now.items() if k != 'text'}
  model = {k: v for k, v in now['stage']['model'].items() if k != 'fold'}
  old['stage'] = {**_json(stages.to_json(job.stage)), 'model': model}
  old['pictures'] = {'resolution': 8}
  old['data'] = {'name': 'two colours'}
  read = _json(identity.read(old, job))
  assert read == {k: v for k, v in now.items() if k != 'text'}
