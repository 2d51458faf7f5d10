"""Training from files: stopped and resumed, the losses are the same."""

import dataclasses
import json
import sys

import pytest

from imagen_jax import train
from imagen_jax.data import index, loading, photographs, sources
from imagen_jax.text import encoders
from tests.data import test_sequential
from tests.support import sets, tiny_cascade, tiny_job, zoo

pytestmark = pytest.mark.slow  # three runs of the trainer for each source

READING = dataclasses.replace(
  sets.LOOSE, keep=index.Filter(min_side=8, max_rejected=0.3)
)


@pytest.fixture(scope='module')
def text(tmp_path_factory):
  directory = tmp_path_factory.mktemp('text')
  encoders.save(directory / 'text', tiny_cascade.encoder(directory))
  return directory / 'text'


def _folder(root):
  sets.folder(root, 30)
  (root / '004.jpg').write_bytes(zoo.bad()['cut_late.jpg'][0])
  (root / '005.jpg').write_bytes(b'')
  return sources.Folder(directory=str(root), reading=READING)


def _shards(root):
  return sources.Shards(files=str(sets.shards(root)), reading=READING)


def _mixture(root):
  parts = _folder(root / 'folder'), _shards(root / 'shards')
  return sources.Mixture(sources=parts, weights=(0.75, 0.25))


def _seqio(root):
  return sources.SeqioTask(task='pictures', reading=READING)


def _losses(workdir):
  rows = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [
    {k: v for k, v in json.loads(row).items() if 'loss' in k or k == 'step'}
    for row in rows
  ]


@pytest.mark.parametrize(
  'make',
  [_folder, _shards, _mixture, _seqio],
)
def test_resumed_losses_are_those_of_one_run(text, make, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'seqio', test_sequential.stand_in())
  job = tiny_job.config(
    text,
    data=make(tmp_path / 'data'),
    log_every=1,
    loading=loading.Loading(threads=2, max_bad=0.5),
  )
  train.train(job, tmp_path / 'whole')
  train.train(dataclasses.replace(job, steps=3), tmp_path / 'parts')
  train.train(job, tmp_path / 'parts')
  whole, parts = _losses(tmp_path / 'whole'), _losses(tmp_path / 'parts')
  assert whole == parts and len(whole) == 8
  if make is _folder:
    listed = (tmp_path / 'whole' / 'quarantine.jsonl').read_text()
    assert {json.loads(x)['id'] for x in listed.splitlines()} == {
      '004.jpg',
      '005.jpg',
    }
    _another_set_is_refused(job, tmp_path)


def _another_set_is_refused(job, tmp_path):
  """So is the same folder with another picture, until that is gone."""
  reading = photographs.Reading(keep=READING.keep, validation=0.2)
  changed = dataclasses.replace(job.data, reading=reading)
  with pytest.raises(ValueError, match='belongs to another run: data.reading'):
    train.train(dataclasses.replace(job, data=changed), tmp_path / 'whole')
  fresh = tmp_path / 'data' / '030.jpg', tmp_path / 'data' / '030.txt'
  for path, content in zip(fresh, (sets.jpeg(30), b'number 30')):
    path.write_bytes(content)
  with pytest.raises(ValueError, match='run: pictures or captions of its data'):
    train.train(job, tmp_path / 'whole')
  for path in fresh:
    path.unlink()
  train.train(job, tmp_path / 'whole')
