"""Frozen descriptions: their ids, what changes them, and tables."""

import dataclasses
import types

import pytest

from imagen_jax import stages
from imagen_jax.evaluation import picture_sets, protocols


def _cascade(*sizes):
  return types.SimpleNamespace(
    stages=tuple(types.SimpleNamespace(resolution=size) for size in sizes)
  )


def test_the_frozen_ones_are_frozen():
  """Whoever changes one has to give it another version, and this test."""
  ids = {
    name: picture_sets.identity(protocol.describe())
    for name, protocol in protocols.PROTOCOLS.items()
  }
  assert ids == IDS
  coco = protocols.PROTOCOLS['coco30k']
  assert coco.num == 30_000 and coco.reference_num == 40_504
  assert [s.guidance for s in coco.stages] == [1.35, 8.0]  # table 1
  assert [s.aug_level for s in coco.stages] == [0, 0]  # best FID, D.2


IDS = {
  'coco30k': '9f568ea76324',
  'coco10k': 'd87972c7430d',
  'scenes': 'c13d0562eba7',
  'scenes_64': 'aabf9a0dba6a',
}


def test_changes_change_the_id_and_the_title():
  cascade, coco = _cascade(64, 256, 1024), protocols.PROTOCOLS['coco30k']
  same = coco.with_changes(cascade, upto=256, num=30_000, seed=0, steps=None)
  assert same == coco and same.title == 'coco30k'
  found = coco.with_changes(cascade, num=10, guidance=[2.0])
  assert found.title == 'coco30k, num changed, guidance changed'
  assert [s.guidance for s in found.stages] == [2.0, 2.0]
  assert picture_sets.identity(found.describe()) != picture_sets.identity(
    coco.describe()
  )
  large = coco.with_changes(cascade, upto=1024)
  assert large.resolutions == (64, 256, 1024) and large.crop == 1024
  small = coco.with_changes(cascade, upto=64)
  assert small.stages == coco.stages[:1] and small.crop == 64
  with pytest.raises(ValueError, match='steps has 3 values, 2 stages'):
    coco.with_changes(cascade, steps=[1, 2, 3])
  rare = coco.with_changes(cascade, eta=[0.5], guidance_range=(-5.0, 5.0))
  assert rare.title == 'coco30k, guidance_range changed, eta changed'
  assert [s.guidance_range for s in rare.stages] == [(-5.0, 5.0)] * 2
  noisy = coco.with_changes(cascade, aug_level=[0.25])
  assert noisy.changed == ('aug_level',)
  # How fast it is drawn is no part of it.
  turned = coco.with_changes(cascade, in_turn=True)
  assert turned.stages[0].in_turn and turned.title == 'coco30k'
  assert turned.describe() == coco.describe()
  fast = dataclasses.replace(coco.stages[0], batch=64)
  fast = dataclasses.replace(coco, stages=(fast, coco.stages[1]))
  assert fast.describe() == coco.describe()


def test_whatever_decides_a_picture_is_told():
  free = {'batch', 'in_turn'}  # the same picture, but for rounding
  fields = {f.name for f in dataclasses.fields(stages.Sampling)} - free
  coco = protocols.PROTOCOLS['coco30k']
  wider = dataclasses.replace(coco.stages[1], margin=4)
  wider = dataclasses.replace(coco, stages=(coco.stages[0], wider))
  told = wider.describe()['stages'][1]
  assert told.keys() == fields | {'resolution'}
  assert 'margin' not in coco.describe()['stages'][1]


def test_stages_keep_what_is_their_own():
  """How many at a time, and the margin; all else is the protocol's."""
  cascade, scenes = _cascade(64, 256), protocols.PROTOCOLS['scenes']
  own = stages.Sampling(steps=99, guidance=9.0, batch=7, margin=4)
  for stage in cascade.stages:
    stage.sampling = own
  for drawn, frozen in zip(scenes.plan(cascade), scenes.stages):
    assert drawn == dataclasses.replace(frozen, batch=7, margin=4)
  with pytest.raises(ValueError, match='by stages of 64, 256 px, the cascade'):
    scenes.plan(_cascade(32, 256))


def test_a_smaller_choice_is_the_start_of_a_larger():
  ids = list(range(1000, 3000, 7))
  chosen = protocols.ranked(ids, 0)
  assert sorted(chosen) == ids and chosen != ids
  assert protocols.ranked(ids[::-1], 0) == chosen
  assert protocols.ranked(ids, 1) != chosen


def _result(num=1, **more):
  protocol = dataclasses.replace(protocols.PROTOCOLS['scenes'], num=num)
  return protocols.result(
    'scenes', protocol.describe(), 'abc', {'scene_fid': 1.5 + num}, **more
  )


def test_tables_of_one_protocol_alone():
  text = protocols.table({'a': _result(), 'b': _result(clip={'sha256': 'x'})})
  assert text.count('2.5') == 2 and _result()['protocol_id'] in text
  with pytest.raises(ValueError, match='num is 1 there and 2 here; scores of'):
    protocols.table({'a': _result(), 'b': _result(2)})
  clips = [_result(clip={'sha256': x * 64}) for x in 'xy']
  with pytest.raises(ValueError, match='of different models do not belong'):
    protocols.table(dict(zip('ab', clips)))
  theirs = {
    'protocol': {'network': 'n'},
    'protocol_id': picture_sets.identity({'network': 'n'}),
    'fid': 3.25,
    'kid': 0.5,
  }
  assert '3.25' in protocols.table({'fid': theirs, 'again': theirs})
  with pytest.raises(ValueError, match='do not belong in one table'):
    protocols.table({'fid': theirs, 'a': _result()})
  for value in ([], {'fid': 3}, {'protocol': 3}):
    with pytest.raises(ValueError, match='holds no score with its protocol'):
      protocols.read('x.json', value)
  for name in ('scores', 'clip'):
    with pytest.raises(ValueError, match=f'x.json is damaged: {name} is '):
      protocols.read('x.json', _result() | {name: [1]})
