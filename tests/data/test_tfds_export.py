"""Folders and shards as TFDS data, read back as a source."""

import copy
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from imagen_jax import build_tfds
from imagen_jax.data import (
  captions,
  images,
  photographs,
  sources,
  tfds_export,
  tfds_streams,
)
from tests.data import test_colours
from tests.support import sets, zoo

COLOURED = ('alpha.png', 'orientation_6.jpg', 'cmyk.jpg', 'animated.gif')


@pytest.mark.parametrize('name', zoo.good())
def test_normal_pictures_look_the_same_and_are_plain(name):
  data = zoo.good()[name][0]
  made = tfds_export.normal(data)
  if name in ('plain.jpg', 'gray.jpg', 'progressive.jpg'):
    assert made == data  # JPEG is not encoded a second time
  with PIL.Image.open(io.BytesIO(made)) as found:
    assert found.format in ('JPEG', 'PNG') and found.mode in ('RGB', 'L')
    seen = np.asarray(found.convert('RGB'))
  np.testing.assert_array_equal(seen, np.asarray(images.decode(data)))
  if name in COLOURED:
    assert made != data


def test_wide_colours_are_built_as_srgb():
  """TensorFlow's decoders know no profiles."""
  image = PIL.Image.new('RGB', (16, 16), (200, 40, 40))
  for profile, kept in ((test_colours.WIDE, False), (test_colours.SAME, True)):
    out = io.BytesIO()
    image.save(out, 'PNG', icc_profile=profile)
    made = tfds_export.normal(out.getvalue())
    assert (made == out.getvalue()) == kept
    with PIL.Image.open(io.BytesIO(made)) as found:
      seen = np.asarray(found.convert('RGB'))
    np.testing.assert_array_equal(
      seen, np.asarray(images.decode(out.getvalue()))
    )


def test_what_cannot_be_built(tmp_path, capsys):
  for argv, said in [
    (['--source=nowhere'], 'nowhere does not exist'),
    (['--source=scenes:lite'], 'the embedded scenes are drawn'),
    (['--source=tfds:coco'], 'tfds:coco is no folder and no shards'),
  ]:
    code = build_tfds.main([*argv, '--name=x', f'--out={tmp_path}'])
    assert code == 2 and said in capsys.readouterr().err
  with pytest.raises(ValueError, match="'My set' is no name of a data set"):
    tfds_export.prepare(None, 'My set', str(tmp_path))


def test_without_tensorflow(tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  root = sets.folder(tmp_path / 'set', size=(80, 70))
  flags = [f'--source={root}', '--name=x', f'--out={tmp_path}']
  assert build_tfds.main(flags) == 2
  assert "needs tensorflow: pip install 'imagen-jax[data]'" in (
    capsys.readouterr().err
  )


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  """A folder with two bad files, and the data set made of it."""
  pytest.importorskip('tensorflow')
  pytest.importorskip('tensorflow_datasets')
  base = tmp_path_factory.mktemp('tfds')
  root = sets.folder(base / 'set', 20)
  for i in (2, 11):
    (root / f'{i:03d}.jpg').write_bytes(zoo.bad()['cut_late.jpg'][0])
  build_tfds.main(
    [
      f'--source={root}',
      '--name=few_pictures',
      f'--out={base}',
      '--min_side=8',
      '--validation=0.2',
      '--max_bad=0.5',
    ]
  )
  return base


def _open(base, split='train', **changes):
  fields = {
    'name': 'few_pictures',
    'caption': 'captions',
    'data_dir': str(base),
    'reading': sets.LOOSE,
  }
  return sources.Tfds(**(fields | changes)).open(split)


def test_what_was_built_is_a_source(built):
  train, held = _open(built), _open(built, 'validation')
  assert isinstance(train, photographs.Photographs)
  assert len(train) + len(held) == 18
  reading = photographs.Reading(keep=sets.LOOSE.keep, validation=0.2)
  files = sources.Folder(directory=str(built / 'set'), reading=reading)
  apart = {*files.open('validation').captions()} - {'number 2', 'number 11'}
  assert {*held.captions()} == apart and len(apart) > 1
  lines = (built / 'few_pictures_quarantine.jsonl').read_text().splitlines()
  assert {json.loads(x)['id'] for x in lines} == {'002.jpg', '011.jpg'}
  for i in range(len(train)):
    example = train.example(i, 8)
    number = int(example['caption'].split()[1])
    expected = sets.colour_of(number)
    assert np.abs(example['image'][4, 4].astype(int) - expected).max() < 6
  first = sets.batches(_open(built)).batch(6)
  again = sets.batches(train).batch(6)
  np.testing.assert_array_equal(first['image'], again['image'])


def test_a_set_that_is_there_is_kept_and_said_to_be(built, tmp_path, capsys):
  other = sets.folder(tmp_path / 'other', 9)
  flags = [f'--source={other}', '--name=few_pictures', f'--out={built}']
  assert build_tfds.main([*flags, '--min_side=8']) == 0
  assert '1.0.0 is there already and is kept; delete' in capsys.readouterr().err
  assert len(_open(built)) + len(_open(built, 'validation')) == 18


def test_reading_needs_no_tensorflow(built):
  program = (
    'import sys\n'
    'from imagen_jax.data import sources\n'
    "s = sources.Tfds(name='few_pictures', caption='captions', "
    f'data_dir={str(built)!r}).open_index()\n'
    "print(len(s), 'tensorflow' in sys.modules)"
  )
  result = subprocess.run(
    [sys.executable, '-c', program], check=True, capture_output=True, text=True
  )
  assert result.stdout.split()[1] == 'False'


def test_missing_features_and_splits_are_listed(built):
  with pytest.raises(ValueError, match="no feature 'caption'; there are: cap"):
    _open(built, caption='caption')
  with pytest.raises(ValueError, match="no split 'test'; there are: train, va"):
    _open(built, train='test')
  with pytest.raises(ValueError, match='tfds:none: .*prepare it first: tfds b'):
    _open(built, name='none')


def test_records_that_are_cut_or_go_while_they_are_read(built, tmp_path):
  """ArrayRecord itself would say that a type is None, or worse."""
  shutil.copytree(built / 'few_pictures', tmp_path / 'few_pictures')
  batches = sets.batches(_open(tmp_path), 14)
  before = batches.batch(0)
  [path] = (tmp_path / 'few_pictures').rglob('*-train.array_record*')
  whole = path.read_bytes()
  path.unlink()
  said = 'few_pictures/train, example .* cannot be read .* put the files back'
  with pytest.raises(ValueError, match=said):
    sets.batches(_open(tmp_path), 14).batch(0)
  path.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(ValueError, match=said):
    sets.batches(_open(tmp_path), 14).batch(0)
  path.write_bytes(whole)
  after = sets.batches(_open(tmp_path), 14).batch(0)
  np.testing.assert_array_equal(before['image'], after['image'])


@pytest.fixture(scope='module')
def like_coco(tmp_path_factory):
  """A set whose captions are a sequence of dicts, and keys have slashes."""
  tfds = pytest.importorskip('tensorflow_datasets')
  pytest.importorskip('tensorflow')
  base = tmp_path_factory.mktemp('coco')

  class LikeCoco(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version('1.0.0')
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name='2014')]

    def _info(self):
      captions = {'text': tfds.features.Text(), 'id': np.int64}
      return self.dataset_info_from_configs(
        features=tfds.features.FeaturesDict(
          {
            'captions': tfds.features.Sequence(captions),
            'image': tfds.features.Image(),
            'image/filename': tfds.features.Text(),
            'image/whole': tfds.features.Image(),
          }
        )
      )

    def _split_generators(self, dl_manager):
      return {'train': self._generate_examples()}

    def _generate_examples(self):
      for i in range(9):
        texts = [{'text': f'number {i}', 'id': 1}, {'text': ' b\n', 'id': 2}]
        picture = io.BytesIO(sets.jpeg(i))
        yield (
          i,
          {
            'captions': texts,
            'image': picture,
            'image/filename': f'{i}.jpg',
            'image/whole': io.BytesIO(sets.jpeg(i)),
          },
        )

  made = LikeCoco(data_dir=str(base), file_format='array_record')
  made.download_and_prepare()
  return base


@pytest.mark.parametrize('image', ['image', 'image/whole'])
def test_features_within_features(image, like_coco, tmp_path):
  fields = {
    'name': 'like_coco',
    'data_dir': str(like_coco),
    'reading': sets.LOOSE,
    'train': 'train[2:]',
    'image': image,
    'index_dir': str(tmp_path),
  }
  opened = sources.Tfds(caption='captions/text', **fields).open('train')
  seen = [opened.entry(i)[1].captions for i in range(len(opened))]
  assert {first for first, _ in seen} <= {f'number {i}' for i in range(9)}
  assert len(seen) == 7 and {second for _, second in seen} == {'b'}
  number = int(seen[0][0].split()[1])
  expected = sets.colour_of(number)
  found = opened.example(0, 8)['image'][4, 4].astype(int)
  assert np.abs(found - expected).max() < 6
  name = f'tfds:{fields["name"]}'
  told = captions.parse(name, feature='captions/text', data_dir=like_coco)
  assert sorted(set(told)) == ['b', *(f'number {i}' for i in range(9))]
  said = "no feature 'captions/words'; there are: captions/id, captions/text, i"
  with pytest.raises(ValueError, match=said):
    sources.Tfds(caption='captions/words', **fields).open('train')


def test_reading_needs_no_code_of_the_builder(built, monkeypatch):
  """That of most sets imports TensorFlow."""
  import tensorflow_datasets as tfds

  def builder(*arguments, **options):
    raise ImportError('tensorflow')

  monkeypatch.setattr(tfds, 'builder', builder)
  assert len(_open(built))
  said = (
    'none is not prepared in .*; preparing it needs tensorflow: pip .* tfds'
  )
  with pytest.raises(ValueError, match=said):
    _open(built, name='none')


def test_tfrecord_needs_tensorflow(monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  with pytest.raises(ValueError, match='x is not stored as ArrayRecord: readi'):
    tfds_streams.forward_items('x', None, 'train', 'image', 'caption')


def test_tfrecord_is_read_forward_with_a_note(tmp_path, capsys):
  tfds = pytest.importorskip('tensorflow_datasets')
  pytest.importorskip('tensorflow')
  from imagen_jax.data.emoji_scenes import tfds_builder

  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(tfds_builder.TRAIN_SIZES, 64, 6)
    made = tfds_builder.builder('lite_64', data_dir=str(tmp_path))
    made.download_and_prepare(
      download_config=tfds.download.DownloadConfig(max_examples_per_split=6)
    )
  fields = {'name': 'emoji_scenes/lite_64', 'reading': sets.LOOSE}
  source = sources.Tfds(data_dir=str(tmp_path), **fields)
  whole = sets.batches(source.open('train'))
  assert 'is stored as tfrecord: it is read forward' in capsys.readouterr().err
  expected = [whole.batch(k) for k in range(4)]
  resumed = sets.batches(source.open('train')).batch(3)
  np.testing.assert_array_equal(resumed['image'], expected[3]['image'])
  words = {w for batch in expected[:3] for w in batch['words'].tolist()}
  assert len(words) > 4
  told = captions.parse(f'tfds:{fields["name"]}', data_dir=str(tmp_path))
  assert words <= {caption.encode()[:40] for caption in told}
  [path] = tmp_path.rglob('*-train.tfrecord*')
  for content in (path.read_bytes()[:-9], None):
    path.unlink() if content is None else path.write_bytes(content)
    said = 'lite_64/train cannot be read .* put the files back'
    with pytest.raises(ValueError, match=said):
      sets.batches(source.open('train')).batch(3)


def test_entries_travel_without_the_index(tmp_path):
  """What a worker of Beam gets: the index need not be where it is."""
  root = sets.shards(tmp_path / 'set', 2, 10)
  reading = photographs.Reading(keep=sets.LOOSE.keep, validation=0.2)
  opened = sources.Shards(files=str(root), reading=reading).open('train')
  sent = copy.deepcopy((tfds_export.entries(opened, range(3, 6)), opened.fetch))
  shutil.rmtree(root / '.imagen_jax_index')
  made = list(tfds_export.examples(*sent))
  assert [key for key, _ in made] == [3, 4, 5]
  for key, features in made:
    assert features['captions'] == list(opened.entry(key)[1].captions)
    number = int(features['captions'][0].split()[1])
    assert features['image'] == sets.jpeg(number)


def test_by_beam(tmp_path):
  pytest.importorskip('apache_beam')
  pytest.importorskip('tensorflow')
  root = sets.shards(tmp_path / 'set', 2, 10)
  reading = photographs.Reading(keep=sets.LOOSE.keep, validation=0.2)
  shard = root / '00000.tar'
  cut = sets.sample(3)
  cut[0] = (cut[0][0], zoo.bad()['cut_late.jpg'][0])
  sets.shard(shard, [m for n in range(9) for m in sets.sample(n + 20)] + cut)
  source = sources.Shards(files=str(root), reading=reading)
  arguments = source, 'by_beam', str(tmp_path)
  made = tfds_export.prepare(*arguments, beam_flags=[], max_bad=0.3)
  counts = [split.num_examples for split in made.info.splits.values()]
  assert sum(counts) == 19
  with pytest.raises(ValueError, match='1 of .* pictures could not be decoded'):
    tfds_export.prepare(*arguments, beam_flags=[])
  read = _open(tmp_path, name='by_beam')
  assert {c.split()[0] for c in read.captions()} == {'number'}
