"""CLIP's vectors are those of Transformers; a score is their cosine."""

import json

import jax
import numpy as np
import PIL.Image
import pytest

from imagen_jax.evaluation import clip_score
from imagen_jax.parallel import partitioning
from tests.support import tiny_clip

EXPECTED = np.load(tiny_clip.DATA / 'expected.npz')


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
  directory = tiny_clip.directory(tmp_path_factory.mktemp('clip') / 'tiny')
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  return clip_score.load(directory, batch=4, mesh=mesh)


@pytest.fixture(scope='module')
def eight(clip, tmp_path_factory):
  directory = tiny_clip.directory(tmp_path_factory.mktemp('clip') / 'tiny')
  return clip_score.load(directory, batch=5)


def test_vectors_are_those_of_transformers(clip):
  tokens, mask = EXPECTED['tokens'], EXPECTED['mask']
  pixels = EXPECTED['pixel_values'].transpose(0, 2, 3, 1)
  text = clip_score.text_vectors(
    clip.text_config, clip.text_params, tokens, mask
  )
  image = clip_score.image_vectors(clip.image_config, clip.image_params, pixels)
  assert np.abs(text - EXPECTED['text_embeds']).max() < 1e-5
  assert np.abs(image - EXPECTED['image_embeds']).max() < 1e-5
  cosine = np.asarray(image) @ np.asarray(text).T
  assert np.abs(cosine - EXPECTED['cosine']).max() < 1e-5
  logits = EXPECTED['logit_scale'] * cosine
  assert np.abs(logits - EXPECTED['logits_per_image']).max() < 1e-5 * 15


def test_eight_devices_score_as_one(clip, eight):
  assert eight.batch == 8 and eight.sha256 == clip.sha256
  rng = np.random.default_rng(0)
  pictures = [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(4)]
  captions = ['a red fox', 'two foxes', '', 'a fox and 1 owl!']
  one, many = (c.cosines(captions, pictures) for c in (clip, eight))
  assert np.abs(one - many).max() < 1e-5
  alone = clip.cosines(captions[1:2], pictures[1:2])
  assert np.abs(alone - one[1]).max() < 1e-6
  assert np.abs(one - clip.cosines(captions[::-1], pictures)).max() > 1e-3


def test_pictures_are_prepared_as_for_clip(clip):
  """Short side to the tower's, bicubic; the middle of the long one."""
  rng = np.random.default_rng(1)
  same = rng.integers(0, 256, (32, 32, 3), np.uint8)
  assert np.array_equal(clip.prepare(same), same)
  wide = rng.integers(0, 256, (32, 50, 3), np.uint8)
  assert np.array_equal(clip.prepare(wide), wide[:, 9:41])
  tall = rng.integers(0, 256, (100, 64, 3), np.uint8)
  resized = PIL.Image.fromarray(tall).resize((32, 50), PIL.Image.BICUBIC)
  assert np.array_equal(clip.prepare(tall), np.asarray(resized)[9:41])
  gray = np.full((1, 2, 2, 3), 128, np.uint8)
  expected = (128 / 255 - 0.4578275) / 0.26130258
  found = clip_score.normalised(gray, clip_score.MEAN, clip_score.STD)
  assert abs(found[0, 0, 0, 1] - expected) < 1e-6


def test_a_score_is_the_mean_of_what_is_above_zero():
  found = clip_score.summary([0.3, 0.1, -0.2, 0.4])
  assert abs(found['clip_score'] - 20) < 1e-12
  assert abs(found['cosine'] - 0.15) < 1e-12
  assert abs(found['standard_error'] - np.std([30, 10, 0, 40], ddof=1) / 2) < (
    1e-12
  )
  assert clip_score.summary([0.3])['standard_error'] == 0


def _damaged(tmp_path, change):
  directory = tiny_clip.directory(tmp_path / 'clip')
  path = directory / 'config.json'
  fields = json.loads(path.read_text())
  change(directory, fields)
  path.write_text(json.dumps(fields))
  return directory


@pytest.mark.parametrize(
  'change, words',
  [
    (lambda d, f: f.update(model_type='bert'), "model_type is 'bert'"),
    (lambda d, f: f.pop('vision_config'), 'vision_config is None'),
    (
      lambda d, f: f['vision_config'].update(patch_size=5),
      'no multiple of the patch of 5',
    ),
    (
      lambda d, f: f['vision_config'].update(num_hidden_layers=3),
      'missing layers_2',
    ),
    (
      lambda d, f: f['vision_config'].update(num_hidden_layers=1),
      'left over vision_model.encoder.layers.1',
    ),
    (lambda d, f: f['vision_config'].update(num_channels=1), 'channels is 1'),
    (lambda d, f: f.update(projection_dim='x'), "projection_dim is 'x'"),
    (lambda d, f: (d / 'vocab.json').unlink(), 'has no tokenizer'),
    (lambda d, f: (d / 'model.safetensors').unlink(), 'no safetensors'),
  ],
)
def test_damaged_directories_are_refused(tmp_path, change, words):
  with pytest.raises(ValueError, match=words):
    clip_score.load(_damaged(tmp_path, change))


def test_other_preprocessing_is_read_or_refused(tmp_path, clip):
  half = [0.5, 0.5, 0.5]
  found = clip_score.load(
    tiny_clip.directory(tmp_path / 'a', image_mean=half, crop_size=32)
  )
  assert tuple(found.mean) == tuple(half) and found.sha256 != clip.sha256
  for i, (fields, words) in enumerate(
    (
      ({'image_std': [1, 2]}, 'image_std is'),
      ({'resample': 2}, 'resample is 2'),
      ({'crop_size': {'height': 336}}, 'crop_size is 336'),
    )
  ):
    with pytest.raises(ValueError, match=words):
      clip_score.load(tiny_clip.directory(tmp_path / str(i), **fields))


def test_unequal_numbers_are_refused(clip):
  picture = np.zeros((32, 32, 3), np.uint8)
  with pytest.raises(ValueError, match='2 captions and 1 pictures'):
    clip.cosines(['a', 'b'], [picture])
