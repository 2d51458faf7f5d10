"""The TFDS builder writes what the source gives."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from imagen_jax.data.emoji_scenes import source, splits, tfds_builder


def test_records_are_the_sources():
  records = tfds_builder.records('lite', 64, 'test_count')
  data = source.EmojiScenes('test_count', 'lite')
  for key, features in itertools.islice(records, 5):
    example = data.example(key, 64)
    assert np.array_equal(features['image'], example['image'])
    assert features['caption'] == example['caption']
    assert json.loads(features['scene']) == example['scene']
  assert len(tfds_builder.CONFIGS) == 6
  assert sum(1 for _ in tfds_builder.records('lite', 64, 'prompts')) == 200


def test_unknown_config_is_named():
  with pytest.raises(ValueError, match="'lite_128': choose one of"):
    tfds_builder.builder('lite_128')


def test_import_brings_no_tensorflow():
  program = (
    'import sys; from imagen_jax.data.emoji_scenes import tfds_builder;'
    "assert not {'tensorflow', 'tensorflow_datasets'} & set(sys.modules)"
  )
  subprocess.run([sys.executable, '-c', program], check=True)


def assert_equal(row, example):
  """A row as tfds gives it is the example of the source."""
  assert np.array_equal(row['image'], example['image'])
  assert row['caption'].decode() == example['caption']
  assert row['id'].decode() == example['id']
  assert json.loads(row['scene']) == example['scene']


def test_build(tmp_path, monkeypatch):
  tfds = pytest.importorskip('tensorflow_datasets')
  pytest.importorskip('tensorflow')
  monkeypatch.setitem(tfds_builder.TRAIN_SIZES, 64, 6)
  builder = tfds_builder.builder('lite_64', data_dir=str(tmp_path))
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(max_examples_per_split=6)
  )
  assert set(builder.info.splits) == set(splits.SIZES)
  for split in ('train', 'test_both', 'prompts'):
    data = source.EmojiScenes(split, 'lite')
    rows = tfds.as_numpy(builder.as_dataset(split=split))
    number = 0
    for number, row in enumerate(rows, 1):
      assert_equal(row, data.example(number - 1, 64))
    assert number == 6


def test_build_of_array_records(tmp_path, monkeypatch):
  """Read back by index, in any order; without TensorFlow."""
  tfds = pytest.importorskip('tensorflow_datasets')
  pytest.importorskip('tensorflow')  # writing needs it
  pytest.importorskip('array_record')
  monkeypatch.setitem(tfds_builder.TRAIN_SIZES, 64, 6)
  builder = tfds_builder.builder(
    'lite_64', data_dir=str(tmp_path), file_format='array_record'
  )
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(max_examples_per_split=6)
  )
  assert list(builder.data_path.glob('*-train.array_record-*'))
  for split in ('train', 'test_both', 'prompts'):
    data = source.EmojiScenes(split, 'lite')
    rows = builder.as_data_source(split=split)
    assert len(rows) == 6
    for index in (5, 0, 3):
      assert_equal(rows[index], data.example(index, 64))
  read = (
    'import sys, tensorflow_datasets as tfds\n'
    f'builder = tfds.builder_from_directory({str(builder.data_path)!r})\n'
    "rows = builder.as_data_source(split='train')\n"
    "print(rows[5]['id'].decode(), 'tensorflow' in sys.modules)"
  )
  result = subprocess.run(
    [sys.executable, '-c', read], check=True, capture_output=True, text=True
  )
  assert result.stdout.split() == ['lite/train/5', 'False']
