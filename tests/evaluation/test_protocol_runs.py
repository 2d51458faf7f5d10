"""Protocols run from captions to scores, on tiny networks and a tiny COCO."""

import json
import shutil

import jax
import numpy as np
import pytest

from imagen_jax import evaluate
from imagen_jax.data import coco
from imagen_jax.evaluation import (
  feature_statistics,
  inception_features,
  picture_sets,
)
from imagen_jax.files import pictures, weights
from imagen_jax.models import inception
from imagen_jax.sampling import cascade as cascade_lib
from tests.support import tiny_cascade, tiny_clip, tiny_coco

SMALL = (
  '--partial', '--upto=8', '--steps=2', '--num=5', '--minimum=3',
)  # fmt: skip


class Means:
  """Stands in for Inception: means of the three colours."""

  width, batch, network = 3, 4, 'abc'

  def __init__(self, resize, layer):
    self.resize, self.layer, self.asked = resize, layer, 0

  def about(self):
    return {'network': 'abc', 'resize': self.resize, 'features': self.layer}

  def __call__(self, images):
    self.asked += len(images)
    return images.mean((1, 2)).astype(np.float32)


@pytest.fixture
def cascade(monkeypatch):
  """The tiny cascade, loaded once, and what it was asked to draw."""
  found, drawn = tiny_cascade.load(), []
  monkeypatch.setattr(cascade_lib, 'load_cascade', lambda path: found)
  monkeypatch.setattr(evaluate.compilation, 'enable_cache', lambda: None)
  draw = cascade_lib.Cascade.draw

  def watched(self, requests, plan, **more):
    drawn.extend((r.caption, r.index) for r in requests)
    return draw(self, requests, plan, **more)

  monkeypatch.setattr(cascade_lib.Cascade, 'draw', watched)
  return drawn


@pytest.fixture
def network(monkeypatch):
  made = []

  def load(path, *, resize, layer):
    made.append(Means(resize, layer))
    return made[-1]

  monkeypatch.setattr(inception_features, 'load', load)
  return made


@pytest.fixture(scope='module')
def small(tmp_path_factory):
  return tiny_coco.directory(tmp_path_factory.mktemp('coco') / 'coco')


def _run(small, out, *more, protocol='coco10k'):
  return evaluate.main(
    [f'--protocol={protocol}', f'--coco={small}', f'--out={out}', *more]
  )


def _error(capsys):
  error = capsys.readouterr().err
  assert error.startswith('error: ') and error.count('\n') == 1, error
  return error


def test_coco_is_drawn_measured_and_resumed(
  cascade, network, small, tmp_path, capsys
):
  clip = tiny_clip.directory(tmp_path / 'clip')
  out = tmp_path / 'out'
  command = [*SMALL, f'--clip={clip}', '--inception=x']
  assert _run(small, out, *command) == 0
  printed = capsys.readouterr().out
  found = json.loads((out / 'scores.json').read_text())
  assert len(cascade) == 5 and len(set(cascade)) == 5
  # The distance is that of the pictures' means, against all photographs.
  paths = sorted((out / 'images').rglob('*.png'))
  drawn = np.stack([pictures.read_png(p)[0] for p in paths]).mean((1, 2))
  a = feature_statistics.of(drawn.astype(np.float32), 0)
  b, about = feature_statistics.load(out / 'reference.npz')
  assert b.count == 6 and about['protocol']['size'] == [8, 8]
  assert abs(found['scores']['fid'] - picture_sets.distance(a, b)['fid']) < 1e-3
  assert found['protocol_id'] in printed and 'upto changed' in printed
  for key, value in (
    ('num', 5),
    ('reference_num', 6),
    ('network', 'abc'),
    ('resize', 'torch-fidelity'),
    ('crop', 8),
    ('seed', 0),
  ):
    assert found['protocol'][key] == value
  (stage,) = found['protocol']['stages']
  assert (stage['sampler'], stage['steps']) == ('ddpm', 2)
  assert stage['guidance'] == 1.35 and found['clip']['n'] == 5
  # The same command draws nothing again, and says the same.
  path = out / 'images' / '000' / '000002.png'
  path.write_bytes(path.read_bytes()[:50])  # as a kill leaves it elsewhere
  cascade.clear()
  assert _run(small, out, *command) == 0 and len(cascade) == 1
  assert capsys.readouterr().out == printed
  assert network[-1].asked == 0
  # Statistics of the reference serve another run, of the same protocol alone.
  kept = f'--reference={out / "reference.npz"}'
  assert _run(small, tmp_path / 'two', *command, kept) == 0
  again = json.loads((tmp_path / 'two' / 'scores.json').read_text())
  assert again['protocol_id'] == found['protocol_id']
  assert again['scores'] == found['scores'] and network[-1].asked == 5
  capsys.readouterr()
  assert evaluate.main(['--table', *_files(out, tmp_path / 'two')]) == 0
  assert capsys.readouterr().out.count(tiny_cascade.load().id) == 2


def _files(*directories):
  return [str(directory / 'scores.json') for directory in directories]


def test_different_protocols_are_in_no_table(
  cascade, network, small, tmp_path, capsys
):
  for name, more in (('a', []), ('b', ['--guidance=2']), ('c', ['--seed=3'])):
    assert _run(small, tmp_path / name, *SMALL, '--inception=x', *more) == 0
  capsys.readouterr()
  for other, words in (('b', 'changed is'), ('c', 'seed is 0 there and 3')):
    files = _files(tmp_path / 'a', tmp_path / other)
    assert evaluate.main(['--table', *files]) == 2
    error = _error(capsys)
    assert words in error and 'do not belong in one table' in error
  # Nor is a directory continued by another protocol.
  assert _run(small, tmp_path / 'a', *SMALL, '--seed=3') == 2
  assert 'holds pictures of protocol' in _error(capsys)
  # Nor a file whose protocol was changed by hand.
  path = tmp_path / 'c' / 'scores.json'
  path.write_text(path.read_text().replace('"seed": 3', '"seed": 0'))
  assert evaluate.main(['--table', str(path)]) == 2
  assert 'was altered' in _error(capsys)


def test_hosts_share_the_drawing(cascade, network, small, tmp_path, capsys):
  out = tmp_path / 'out'
  command = [*SMALL, '--inception=x', '--hosts=2']
  assert _run(small, out, *command, '--host=1') == 0
  assert len(cascade) == 2 and not (out / 'scores.json').exists()
  assert '3 of 5 pictures are missing' in capsys.readouterr().out
  assert _run(small, out, *command, '--host=0') == 0
  assert len(cascade) == 5 and (out / 'scores.json').exists()


def test_bad_input_is_one_line(cascade, small, tmp_path, capsys, monkeypatch):
  def refused(*flags, words):
    before = len(cascade)
    assert evaluate.main([f'--out={tmp_path / "out"}', *flags]) == 2
    error = _error(capsys)
    assert words in error, error
    assert len(cascade) == before  # it is told before anything is drawn

  coco30k = ('--protocol=coco30k', f'--coco={small}', '--upto=8')
  monkeypatch.chdir(tmp_path)  # no inception.safetensors there
  refused(*coco30k, words='imagen_jax.convert_inception')
  refused(
    *coco30k, words='them: python -m imagen_jax.evaluate --protocol=scenes'
  )
  load = lambda path, *, resize, layer: Means(resize, layer)  # noqa: E731
  monkeypatch.setattr(inception_features, 'load', load)
  refused(*coco30k, words='6 photographs and 12 captions, val2014 40,504')
  refused(*coco30k, '--partial', words='12 captions, coco30k draws 30,000')
  refused(*coco30k, *SMALL, '--minimum=9', words='5 pictures, at least 9')
  refused('--protocol=coco30k', '--upto=8', words='needs --coco=DIR')
  refused(
    '--protocol=coco30k',
    '--upto=8',
    f'--coco={tmp_path}',
    words='captions_val2014.json does not exist',
  )
  refused(*coco30k[:2], words='stages of 64, 256 px, the cascade has 8, 16, 32')
  refused(*coco30k, '--upto=9', words='upto is 9')
  refused(*coco30k, *SMALL, '--steps=2,3', words='steps has 2 values, 1 stage')
  refused(*coco30k, '--split=prompts', words='a protocol has its own captions')
  refused(*coco30k, '--judge=x', words='--judge is of the scenes protocols')
  refused(f'--coco={small}', words='--coco is of --protocol')
  refused(*coco30k, '--host=2', words='--host=2 of --hosts=1')
  refused('--table', f'{tmp_path}/no.json', words='no.json does not exist')
  other = tmp_path / 'other.npz'
  about = {
    'protocol': {
      'network': 'abc',
      'resize': 'pytorch-fid',
      'features': '2048',
      'crop': 8,
      'size': [8, 8],
    },
    'count': 6,
    'pictures': 'p',
  }
  ones = feature_statistics.of(np.ones((6, 3), np.float32), 0)
  feature_statistics.save(other, ones, about)
  flags = [*coco30k, *SMALL, f'--reference={other}', f'--out={tmp_path / "o"}']
  assert evaluate.main(flags) == 2
  assert 'made with resize pytorch-fid, not torch-fid' in _error(capsys)


def test_a_layout_that_is_not_coco(small, tmp_path):
  whole = shutil.copytree(small, tmp_path / 'coco')
  assert len(coco.read(whole).photographs) == 6
  ids = [caption.id for caption in coco.read(whole).captions]
  assert ids == sorted(ids) and coco.read(whole).captions[0].text[0] == 'a'
  next(whole.glob('val2014/*49.jpg')).unlink()
  with pytest.raises(ValueError, match='1 of 6 photographs are missing'):
    coco.read(whole)
  (whole / 'val2014').rename(whole / 'elsewhere')
  with pytest.raises(ValueError, match='is in none of val2014'):
    coco.read(whole)
  path = whole / coco.ANNOTATIONS
  path.write_text('{"images": []}')
  with pytest.raises(ValueError, match='not the captions of COCO .KeyError'):
    coco.read(whole)
  path.write_text('{"images": ')
  with pytest.raises(ValueError, match='is damaged'):
    coco.read(whole)


def test_tfds_becomes_the_same_set(small, tmp_path, monkeypatch):
  """Captions as TFDS gives them, and the very bytes of the photographs."""
  there = coco.read(small)

  def rows(name, data_dir, splits, image):
    assert (name, splits, image) == (
      'coco_captions',
      ('val', 'test', 'restval'),
      'image',
    )
    for path in there.photographs:
      number = int(path.stem[-12:])
      own = [c for c in there.captions if c.image == number]
      yield {
        'image': np.array(path.read_bytes(), object),
        'image/filename': path.name.encode(),
        'image/id': np.int64(number),
        'captions': {
          'id': np.array([c.id for c in own]),
          'text': np.array([c.text.encode() for c in own], object),
        },
      }

  monkeypatch.setattr(coco.tfds_streams, 'stored_rows', rows)
  found = coco.read(coco.from_tfds('coco_captions', None, tmp_path / 'out'))
  assert found.captions == there.captions
  assert [p.name for p in found.photographs] == [
    p.name for p in there.photographs
  ]
  for ours, theirs in zip(found.photographs, there.photographs):
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.slow
def test_coco_with_inception(small, tmp_path, monkeypatch):
  """The same with FID's own network, its weights random."""
  rng = np.random.default_rng(0)
  flat = {
    name: (rng.standard_normal(shape) / np.prod(shape[:-1]) ** 0.5).astype(
      np.float32
    )
    for name, shape in weights.flatten(inception.param_shapes()).items()
  }
  path = tmp_path / 'inception.safetensors'
  weights.save(path, weights.unflatten(flat))
  found = tiny_cascade.load()
  monkeypatch.setattr(cascade_lib, 'load_cascade', lambda path: found)
  out = tmp_path / 'out'
  assert _run(small, out, *SMALL, f'--inception={path}') == 0
  result = json.loads((out / 'scores.json').read_text())
  assert 0 < result['scores']['fid'] < np.inf
  network = inception_features.load(
    path, mesh=inception_features.partitioning.make_mesh(devices=jax.devices())
  )
  assert result['protocol']['network'] == network.network
