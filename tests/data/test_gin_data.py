"""Each overlay of gin/data gives a leaf its source, by one more --gin_file."""

import pathlib

import pytest

import gin
from imagen_jax import train
from imagen_jax.data import sources
from imagen_jax.training import gin_jobs

GIN = pathlib.Path(__file__).parents[2] / 'gin'
FOLDER, SHARDS = "Folder.directory = 'a'", "Shards.files = 'b'"
OVERLAYS = {
  'folder': (sources.Folder, [FOLDER]),
  'shards': (sources.Shards, [SHARDS]),
  'tfds': (sources.Tfds, ["Tfds.name = 'coco_captions'"]),
  'seqio': (sources.SeqioTask, ["SeqioTask.task = 't'"]),
  'mixture': (sources.Mixture, [FOLDER, SHARDS]),
}


@pytest.fixture(autouse=True)
def _clean():
  yield
  gin.clear_config(clear_constants=True)


def _configure(name, bindings):
  files = [GIN / 'scenes_64.gin', GIN / 'data' / f'{name}.gin']
  return gin_jobs.configure(files, bindings, train.TrainConfig)


def test_every_overlay_is_tested():
  assert {path.stem for path in (GIN / 'data').glob('*.gin')} == set(OVERLAYS)


@pytest.mark.parametrize('name', OVERLAYS)
def test_overlay(name):
  kind, bindings = OVERLAYS[name]
  config = _configure(name, [*bindings, 'Filter.min_side = 200'])
  assert isinstance(config.data, kind)
  parts = getattr(config.data, 'sources', [config.data])
  assert all(part.reading.keep.min_side == 200 for part in parts)
  assert config.stage.resolution == 64


def test_loading_and_reading_are_settings():
  config = _configure('folder', [FOLDER, 'Loading.workers = 3'])
  assert config.loading.workers == 3
  gin.clear_config(clear_constants=True)
  with pytest.raises(ValueError, match="place is 'left': choose 'random'"):
    _configure('folder', [FOLDER, "Reading.place = 'left'"])
