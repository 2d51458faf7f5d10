"""Scores come into one table where they compare, and nowhere else."""

import json

import pytest

from imagen_jax.evaluation import picture_sets
from imagen_jax.pages.run_report import score_files

SPLITS = {
  'validation': {
    'n': 200,
    'all': {'right': 16, 'asked': 200, 'share': 0.08, 'interval': [0.05, 0.13]},
    'relation': {'right': 0, 'asked': 0, 'share': None, 'interval': None},
  }
}


def write(directory, found, settings=None):
  directory.mkdir(parents=True, exist_ok=True)
  (directory / 'scores.json').write_text(json.dumps(found))
  if settings is not None:
    (directory / 'settings.json').write_text(json.dumps(settings))
  return str(directory)


def of_protocol(protocol, **more):
  return {
    'protocol': protocol,
    'protocol_id': picture_sets.identity(protocol),
    'scores': {'fid': 12.3456789, 'n': 30_000, 'passed': True},
    **more,
  }


def test_results_of_one_protocol_share_a_table(tmp_path):
  a = write(tmp_path / 'a', of_protocol({'crop': 256}, title='coco'))
  b = write(tmp_path / 'b', of_protocol({'crop': 256}, title='coco'))
  c = write(tmp_path / 'c', of_protocol({'crop': 64}, title='coco'))
  tables, remarks = score_files.read([a, b, c])
  assert remarks == [] and len(tables) == 2
  first, second = tables
  assert first.protocol != second.protocol and first.title == 'coco'
  assert first.columns == ('fid', 'n')
  assert first.rows == (
    ('a', ('12.3457', '30,000')),
    ('b', ('12.3457', '30,000')),
  )
  assert first.description == {'crop': 256}


def test_all_below_a_directory(tmp_path):
  write(tmp_path / 'x' / 'y', of_protocol({'a': 1}))
  write(tmp_path / 'x', of_protocol({'a': 1}))
  (table,), _ = score_files.read([str(tmp_path)])
  assert [whose for whose, _ in table.rows] == ['x', 'x/y']


def test_a_file_is_called_after_its_directory(tmp_path):
  given = write(tmp_path / 'x', of_protocol({'a': 1}))
  (table,), remarks = score_files.read([f'{given}/scores.json'])
  assert [whose for whose, _ in table.rows] == ['x'] and remarks == []


def test_fid_and_clip_score(tmp_path):
  protocol = {'network': 'abc', 'reference': 'def'}
  fid = {
    'fid': 1.5,
    'protocol': protocol,
    'protocol_id': picture_sets.identity(protocol),
    'images': {'source': 'samples', 'count': 5000},
  }
  clip = {
    'clip_score': 27.5,
    'standard_error': 0.125,
    'cosine': 0.275,
    'n': 40,
    'model': 'vit <l>',
    'sha256': 'f' * 64,
  }
  tables, _ = score_files.read(
    [write(tmp_path / 'fid', fid), write(tmp_path / 'clip', clip)]
  )
  assert tables[0].columns == ('fid', 'images')
  assert tables[0].rows[0][1] == ('1.5', '5,000')
  assert tables[1].title == 'CLIP score by vit <l>'
  assert tables[1].protocol == 'f' * 12
  assert tables[1].rows[0][1] == ('27.5', '0.125', '0.275', '40')


def test_splits_of_the_scenes_by_their_settings(tmp_path):
  same = {'seed': 0, 'vocabulary': 'lite'}
  a = write(tmp_path / 'a', SPLITS, {'cascade': 'aaa', **same})
  b = write(tmp_path / 'b', SPLITS, {'cascade': 'bbb', **same})
  c = write(tmp_path / 'c', SPLITS, {'cascade': 'aaa', 'seed': 1})
  tables, _ = score_files.read([a, b, c])
  assert len(tables) == 2
  assert tables[0].columns == ('cascade', 'n', 'all', 'relation')
  assert tables[0].rows == (
    ('a, validation', ('aaa', '200', '8.0 [5.0, 13.0]', '-')),
    ('b, validation', ('bbb', '200', '8.0 [5.0, 13.0]', '-')),
  )


def test_what_is_no_score_is_told(tmp_path):
  altered = of_protocol({'a': 1}) | {'protocol_id': '0' * 12}
  write(tmp_path / 'altered', altered)
  write(tmp_path / 'other', {'loss': 1})
  write(tmp_path / 'lost', SPLITS)
  write(tmp_path / 'odd', of_protocol({'a': 1}, scores=[1, 2]))
  (tmp_path / 'broken').mkdir()
  (tmp_path / 'broken' / 'scores.json').write_text('{"a')
  tables, remarks = score_files.read([str(tmp_path)])
  assert tables == [] and len(remarks) == 5
  for said in (
    'was altered',
    'is damaged (Unterminated',
    'known here',
    'settings.json',
    'Error(',  # of a row that is a list
  ):
    assert sum(said in remark for remark in remarks) == 1, said


def test_no_such_directory(tmp_path):
  with pytest.raises(ValueError, match='nowhere does not exist; give'):
    score_files.read(['nowhere'])
  with pytest.raises(ValueError, match='has no scores.json; give'):
    score_files.read([str(tmp_path)])
  assert score_files.read([]) == ([], [])
